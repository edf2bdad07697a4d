"""Ablation, search, several runs and advice: the recipe trained again and again."""

from __future__ import annotations

import math

import pytest

from trainlint.errors import UsageError
from trainlint.recipe import Recipe, ablate, advice, average_predictions, search, train, train_several
from trainlint.recipe.search import SPACE, Range

from .pictures import loaders, net, problem

SHORT = Recipe(epochs=2)


def test_ablation_leaves_one_ingredient_out_at_a_time() -> None:
    told = []
    trials = ablate(problem, SHORT, ingredients=("mixup", "ema"), seeds=2, on_trial=lambda t: told.append(t.name))
    assert [t.name for t in trials] == told == ["full recipe", "without mixup", "without ema"]
    assert [(t.recipe.mixup > 0, t.recipe.ema) for t in trials] == [(True, True), (False, True), (True, False)]
    assert all(len(t.accuracies) == 2 and t.seconds > 0 and not math.isnan(t.spread) for t in trials)


def test_an_ingredient_that_is_off_cannot_be_left_out() -> None:
    with pytest.raises(UsageError, match="ema: not part"):
        ablate(problem, SHORT.without("ema"), ingredients=("ema",))


def test_a_variant_that_diverges_is_counted_not_fatal() -> None:
    trial, _ = ablate(problem, Recipe.plain("sgd", 1e30, epochs=2, weight_decay=0.1), ingredients=("weight-decay",))
    assert trial.diverged == 1
    assert math.isnan(trial.mean)


def test_search_draws_coarsely_then_around_the_best() -> None:
    probes = search(problem, SHORT, 6)
    assert sorted(p.number for p in probes) == list(range(6))
    assert [p.stage for p in sorted(probes, key=lambda p: p.number)] == ["coarse"] * 3 + ["fine"] * 3
    done = [p.accuracy for p in probes if p.outcome == "complete"]
    assert done == sorted(done, reverse=True)
    assert all(SPACE["lr"].low <= p.settings["lr"] <= SPACE["lr"].high for p in probes)
    assert {p.settings["batch_size"] for p in probes} <= {16, 32, 64, 128}


def test_the_same_seed_searches_the_same_settings() -> None:
    one, two = (search(problem, SHORT.change(epochs=1), 2, space={"lr": SPACE["lr"]}) for _ in range(2))
    assert [p.settings for p in one] == [p.settings for p in two]


def test_the_fine_range_lies_within_the_coarse_one() -> None:
    coarse = Range(1e-4, 1e-1, log=True)
    fine = coarse.around([1e-3, 2e-3])
    assert coarse.low <= fine.low < 1e-3 < 2e-3 < fine.high <= coarse.high
    assert coarse.around([1e-4]).low == pytest.approx(1e-4)


def test_hopeless_runs_are_given_up() -> None:
    probes = search(problem, Recipe.plain("adam", epochs=4), 14, space={"lr": Range(1e-8, 1e-2, log=True)})
    pruned = [p for p in probes if p.outcome == "pruned"]
    assert pruned
    assert all(p.epochs < 4 for p in pruned)


def test_a_search_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        search(problem, SHORT, 1)


def test_runs_vote_by_their_mean_probabilities() -> None:
    ensemble, histories, _ = train_several(problem, SHORT, 3)
    assert len(histories) == len(ensemble.accuracies) == 3
    assert len(set(ensemble.accuracies)) > 1 or ensemble.accuracy == ensemble.accuracies[0]
    assert ensemble.probabilities.sum(1).allclose(ensemble.probabilities.new_ones(24))


def test_snapshots_vote_and_the_model_keeps_its_weights() -> None:
    model, recipe = net(), SHORT.change(epochs=4, schedule="cyclic", cycles=2)
    history = train(model, *loaders(), recipe)
    before = model[4].weight.clone()
    assert len(average_predictions(model, history.snapshots, loaders()[1]).accuracies) == 2
    assert bool((model[4].weight == before).all())
    with pytest.raises(UsageError, match="cyclic"):
        average_predictions(model, [], loaders()[1])


@pytest.mark.parametrize(
    ("samples", "similar", "tune"), [(300, True, "head"), (300, False, "progressive"), (9000, True, "all"), (9000, False, "all")]
)
def test_advice_goes_by_size_and_likeness(samples: int, similar: bool, tune: str) -> None:
    found = advice(samples, 10, similar=similar)
    assert found.apply(Recipe()).tune == tune
    assert f"{samples:,}" in found.reason


def test_the_closer_the_data_the_smaller_the_rate() -> None:
    near, far = (advice(9000, 10, similar=s).apply(Recipe()) for s in (True, False))
    assert near.lr < far.lr
    assert near.layer_decay < far.layer_decay
