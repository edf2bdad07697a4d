"""What is wrong with orders that a generator decides on: one that starts anew again and again, one that predictions come in.

And one that is drawn anew but sorted afterwards.
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Severity
from trainlint.measurements import SampleOrder
from trainlint.rule import Verdict, failed
from trainlint_rules._sample_orders import LABELS, evidence_of, picture_of

__all__ = ["mixed", "named", "reseeded", "sorted_anew"]

#: Rank correlation of the samples' places in two epochs from which on an order that is drawn anew is the same one but for ties: batches in random
#: order measure 0 +- 0.1, samples sorted by length over 0.9; the most stretches of equal labels, of those expected, that are sorting; and the
#: fewest batches, as of ten in random order the correlation is 0.9 by chance once in 2,000 times.
ALIKE, FEW_STRETCHES, TELLING = 0.9, 0.5, 10

#: What reads and gives back the state of a generator.
STATES = {"torch": "torch.{}_rng_state", "numpy": "np.random.{}_state", "random": "random.{}state"}


def mixed(order: SampleOrder) -> Verdict:
    """Predictions in another order than their samples."""
    return failed(
        "The validation loader is shuffled, and skorch predicts through it too: predict() and predict_proba() give their answers in another order than "
        "the samples that they were given, so that no score of them means anything.",
        severity=Severity.WARNING,
        evidence={"measured": "a random order", "expected": "the order of the samples", "threshold": "equal"},
        location=order.predictions_mixed,
        fix=Fix(
            summary="Leave the validation loader in order; training alone is shuffled.",
            code="net = NeuralNetClassifier(Model, iterator_train__shuffle=True)",
            edit=Edit(kind="predict-in-order"),
        ),
    )


def named(generators: tuple[str, ...]) -> str:
    """The generators by whose they are."""
    return "the generator of " + " and of ".join(generators)


def reseeded(order: SampleOrder) -> Verdict:
    """One seed again and again while training goes on."""
    what = "the same batches are drawn" if order.drawn else "batches come in the same order"
    state = STATES.get(order.reseeded, STATES["torch"])
    return failed(
        f"The generator of {order.reseeded} is seeded with the same number again and again in the loop that trains, and training goes on from there: {what} "
        "after each time.",
        severity=Severity.WARNING,
        evidence={
            "measured": "the same draws after each seed",
            "expected": "a state that runs on",
            "threshold": "equal",
            "reseeded": order.reseeded,
        },
        location=order.reseeded_where,
        fix=Fix(
            summary="Put the generator's state back after what is to be the same each time, or draw that from a generator of its own.",
            code=f"state = {state.format('get')}()\n...  # seed, and evaluate\n{state.format('set')}(state)",
            edit=Edit(kind="restore-generator", values={"generator": order.reseeded}),
        ),
    )


def sorted_anew(order: SampleOrder) -> Verdict | None:
    """Catch samplers that draw an order and then sort it, so that every epoch goes through the classes in the same order."""
    enough = len(order.labels) >= max(LABELS, TELLING * (order.batch_size or 1))
    stretched = enough and order.label_runs <= FEW_STRETCHES * order.expected_runs
    if not stretched or order.epochs_alike is None or order.epochs_alike < ALIKE:
        return None
    return failed(
        f"{order.sampler or 'The loader'} draws anew but sorts what it drew: each epoch goes through the samples in nearly the same order (rank correlation of "
        f"their places in two epochs {order.epochs_alike:.2f}), in which equal labels come together: {order.label_runs} stretches in "
        f"{len(order.labels):,} samples, where {order.expected_runs:.0f} are expected in random order.",
        severity=Severity.WARNING,
        evidence={
            **evidence_of(order),
            "measured": round(order.epochs_alike, 3),
            "expected": 0,
            "threshold": ALIKE,
        },
        location=order.handed_where or order.sampler_where or order.where,
        fix=Fix(
            summary="Shuffle the batches once they are cut: samples of like length may share a batch, but the batches must come in random order.",
            code="batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]\nrandom.shuffle(batches)",
        ),
        details=(picture_of(order),),
    )
