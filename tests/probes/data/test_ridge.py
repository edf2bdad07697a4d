"""The cheap probe that labels are judged by."""

from __future__ import annotations

import numpy as np
import pytest

from trainlint.probes.data.ridge import Ridge, targets_of


def data(samples: int = 40, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((samples, 6))
    return features, features[:, :columns] + 0.1 * generator.standard_normal((samples, columns))


def test_held_out_predictions_are_those_of_a_fit_without_the_sample() -> None:
    features, targets = data()
    ridge = Ridge(features)
    strength, held_out = ridge.fit(targets, np.random.default_rng(0)).strength, ridge.held_out(targets)
    kernel = ridge._kernel_centred.astype(np.float64)
    for left in (0, 17, 39):
        # Without its own error no other value of the target would change what is predicted for it.
        others = targets.copy()
        others[left] = held_out[left]
        alone = kernel @ np.linalg.solve(kernel + strength * np.eye(40), others - others.mean(0)) + others.mean(0)
        assert alone[left] == pytest.approx(held_out[left], abs=1e-3)


def test_targets_that_follow_inputs_score_far_above_permuted_ones_and_noise_does_not() -> None:
    features, targets = data(200)
    ridge = Ridge(features)
    assert ridge.fit(targets, np.random.default_rng(0)).z > 10
    noise = np.random.default_rng(1).integers(0, 3, 200).astype(float)
    assert abs(ridge.fit(targets_of(noise, np.arange(3.0)), np.random.default_rng(0)).z) < 4


def test_samples_of_the_training_set_are_predicted_as_their_targets_are() -> None:
    features, targets = data(200)
    ridge = Ridge(features)
    predicted = ridge.predict(features, targets, 0.1)
    assert np.corrcoef(predicted.ravel(), targets.ravel())[0, 1] > 0.95


def test_features_without_any_spread_are_refused() -> None:
    with pytest.raises(ValueError, match="the same features"):
        Ridge(np.ones((20, 4)))


def test_features_that_are_no_numbers_are_refused() -> None:
    features, targets = data()
    features[3, 2] = np.nan
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        Ridge(features).held_out(targets)
