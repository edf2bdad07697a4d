"""What is wrong with orders that a generator decides on: one that starts anew again and again, one that predictions come in."""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Severity
from trainlint.measurements import SampleOrder
from trainlint.rule import Verdict, failed

__all__ = ["mixed", "named", "reseeded"]

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
