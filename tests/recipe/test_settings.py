"""Settings are checked, named in errors, and switched by ingredient."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainlint.errors import UsageError
from trainlint.recipe import INGREDIENTS, Recipe


@pytest.mark.parametrize("name", INGREDIENTS)
def test_an_ingredient_left_out_is_no_longer_on(name: str) -> None:
    everything = Recipe(dropout=0.1, layer_decay=0.8, class_balanced=True, balanced_sampling=True, patience=3)
    assert name in everything.ingredients()
    assert name not in everything.without(name).ingredients()


def test_the_plain_recipe_has_no_ingredient() -> None:
    assert Recipe.plain("sgd", 0.1).ingredients() == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lr": 0}, "lr"),
        ({"epochs": 0}, "epochs"),
        ({"warmup": 1.5}, "from 0 to 1"),
        ({"schedule": "cosin"}, "cosine"),
        ({"mixup": -1}, "mixup"),
        ({"lr": float("nan")}, "lr"),
        ({"magnitude": 10}, "up to 9"),
        ({"crop": 0}, "above 0"),
        ({"clip_nrm": 1}, "clip_norm"),
    ],
)
def test_a_setting_that_cannot_be_is_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Recipe().change(**changes)


def test_an_unknown_ingredient_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'warm-up'"):
        Recipe().without("warmup")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("mixup=0.4", ("mixup", 0.4)), ("ema=off", ("ema", False)), ("batch-size=64", ("batch_size", 64)), ("schedule=linear", ("schedule", "linear"))],
)  # fmt: skip
def test_assignments_are_typed(text: str, parsed: tuple[str, object]) -> None:
    assert Recipe.parse(text) == parsed


@pytest.mark.parametrize("text", ["mixup", "mixup=much", "epochs=2.5", "ema=maybe", "mixxup=1", ""])
def test_bad_assignments_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError):
        Recipe.parse(text)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_parsed_or_a_usage_error(text: str) -> None:
    try:
        name, value = Recipe.parse(text)
        Recipe().change(**{name: value})
    except UsageError:
        pass


def test_settings_survive_json() -> None:
    recipe = Recipe(lr=3e-4, schedule="onecycle")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@settings(max_examples=50)
@given(st.integers(0, 10**9), st.integers(1, 500))
def test_regularisers_scale_down_for_small_data_and_never_up(samples: int, epochs: int) -> None:
    full = Recipe(epochs=epochs, dropout=0.2)
    scaled = full.scaled_to(samples)
    assert scaled.label_smoothing <= full.label_smoothing
    assert scaled.drop_path <= full.drop_path
    assert scaled.crop >= full.crop
    assert scaled.scaled_to(samples).lr == full.lr
    assert samples * epochs < 10**8 or scaled == full
