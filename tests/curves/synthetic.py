"""Curves of each shape, with noise, at any scale and length: what the names mean, written as formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainlint.curves.runs import Run, Trace

__all__ = ["HEALTHY", "SHAPES", "make"]

Numbers = np.ndarray


class Draw:
    """The random choices of one curve: ``n`` points, a place ``t`` from 0 to 1 of each, a scale, and noise."""

    def __init__(self, seed: int, n: int | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.n = n or int(self.rng.choice([12, 30, 60, 100, 300, 2000]))
        self.t = np.linspace(0, 1, self.n)
        self.scale = float(10 ** self.rng.uniform(-2, 2))
        self.sigma = float(self.rng.uniform(0.002, 0.02)) * (3 if self.n > 200 else 1)

    def u(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def noisy(self, y: Numbers, factor: float = 1.0) -> Numbers:
        """Noise in proportion to the level, as of batches."""
        return y * np.exp(factor * self.sigma * self.rng.standard_normal(self.n)) * self.scale

    def decay(self, floor: float | None = None, tau: float | None = None) -> Numbers:
        """An exponential fall from 1 to a floor."""
        floor = self.u(0.1, 0.5) if floor is None else floor
        return floor + (1 - floor) * np.exp(-self.t / (tau or self.u(0.04, 0.15)))

    def run(
        self,
        train: Numbers | None = None,
        val: Numbers | None = None,
        metric: Numbers | None = None,
        lr: Numbers | None = None,
        **more: object,
    ) -> Run:
        x = np.arange(self.n, dtype=float)
        given = {"train": train, "val": val, "metric": metric, "lr": lr}
        traces = {name: None if y is None else Trace(x, np.asarray(y, dtype=float)) for name, y in given.items()}
        return Run(x_label="epoch", higher_is_better=True, **traces, **more)


def sgd_to_zero(d: Draw) -> Run:
    """SGD with a cosine schedule until the training loss is zero; the validation loss settles."""
    train = np.exp(-d.t * d.u(6, 14)) + 1e-6
    lr = 0.1 * 0.5 * (1 + np.cos(np.pi * d.t))
    return d.run(d.noisy(train, 5), d.noisy(d.decay(0.3, 0.12)) if d.u(0, 1) > 0.3 else None, lr=lr)


def cosine_tail(d: Draw) -> Run:
    """Falls with the learning rate, then settles; noise dies down with the rate."""
    lr = 0.5 * (1 + np.cos(np.pi * d.t))
    floor = d.u(0.1, 0.4)
    level = floor + (1 - floor) * (0.7 * np.exp(-d.t / 0.08) + 0.3 * (1 + np.cos(np.pi * d.t)) / 2 * np.exp(-d.t))
    noise = np.exp(d.sigma * (0.1 + lr) * d.rng.standard_normal(d.n))
    return d.run(
        level * noise * d.scale, level * 1.1 * noise[::-1][::-1] * d.scale if d.u(0, 1) > 0.5 else None, lr=lr if d.u(0, 1) > 0.5 else None
    )


def warm_up(d: Draw) -> Run:
    """A short flat or rising stretch while the learning rate warms up, then an ordinary fall."""
    warm = d.u(0.02, 0.08)
    level = np.where(d.t < warm, 1 + d.u(-0.02, 0.1) * d.t / warm, d.decay(0.3, 0.1))
    level[d.t >= warm] = 0.3 + 0.7 * np.exp(-(d.t[d.t >= warm] - warm) / 0.1)
    return d.run(d.noisy(level))


def power_law(d: Draw) -> Run:
    """The long tail of a language model."""
    level = 0.3 + 0.7 * (1 + d.t * d.u(200, 2000)) ** -0.5
    lr = np.minimum(d.t / 0.02, 1) * 0.5 * (1 + np.cos(np.pi * d.t)) + 1e-3
    return d.run(d.noisy(level), d.noisy(level * 1.01, 0.3), lr=lr)


def step_decay(d: Draw) -> Run:
    """The learning rate is cut twice; each cut brings a drop."""
    level = np.where(d.t < 0.4, d.decay(0.4, 0.06), np.where(d.t < 0.75, 0.15 + 0.02 * np.exp(-(d.t - 0.4) / 0.03), 0.1))
    lr = np.where(d.t < 0.4, 0.1, np.where(d.t < 0.75, 0.01, 0.001))
    return d.run(d.noisy(level), d.noisy(level * 1.3 + 0.05), lr=lr)


def settled_gap(d: Draw) -> Run:
    """Validation settles above training and stays; training goes on a little."""
    return d.run(d.noisy(d.decay(0.12, 0.15)), d.noisy(d.decay(0.3, 0.1)))


def batch_noise(d: Draw) -> Run:
    """Single batches: noise of a third of the level around an ordinary fall, evaluations calm."""
    d = Draw(int(d.u(0, 1e6)), 2000)
    train = d.decay(0.2, 0.1) * np.exp(0.35 * d.rng.standard_normal(d.n))
    return d.run(train * d.scale)


def certain_of_its_errors(d: Draw) -> Run:
    """Zero training loss; the validation loss creeps up a little from its minimum, the accuracy does not fall."""
    d = Draw(int(d.u(0, 1e6)), 150)
    d.sigma *= 0.3
    accuracy = 0.97 - 0.3 * np.exp(-d.t / 0.05) + 0.001 * d.rng.standard_normal(d.n)
    return d.run(d.noisy(np.exp(-9 * d.t) + 1e-4), d.noisy(0.1 + 0.9 * np.exp(-d.t / 0.02) + 0.02 * d.t), metric=accuracy)


def warm_restarts(d: Draw) -> Run:
    """Cosine with restarts: the loss rises with the learning rate at each."""
    d = Draw(int(d.u(0, 1e6)), 120)
    phase = np.arange(d.n) % 30 / 30
    rate = 0.5 * (1 + np.cos(np.pi * phase))
    return d.run(d.noisy(d.decay(0.1, 0.1) + 0.25 * rate), lr=0.1 * rate + 1e-4)


def one_cycle(d: Draw) -> Run:
    """The validation loss is rough while the learning rate is high and ends best."""
    rate = np.sin(np.pi * np.clip(d.t, 0, 1)) ** 2
    val = 0.3 + 0.7 * np.exp(-d.t / 0.1) + 0.25 * rate
    return d.run(d.noisy(d.decay(0.05, 0.3) + 0.1 * rate), d.noisy(val * np.exp(0.15 * rate * d.rng.standard_normal(d.n))), lr=rate + 1e-4)


def fine_tuning(d: Draw) -> Run:
    """A pretrained model: a quick fall by a third, accuracy high from early on but not perfect."""
    d = Draw(int(d.u(0, 1e6)), 30)
    level = 0.6 + 0.4 * np.exp(-d.t / 0.1)
    accuracy = 0.93 - 0.13 * np.exp(-d.t / 0.1) + 0.003 * d.rng.standard_normal(d.n)
    return d.run(d.noisy(level), d.noisy(level * 1.05), metric=accuracy)


def small_classifier(d: Draw) -> Run:
    """Single batches of a small model that is soon nearly perfect: a shoulder of some steps, then noise that is large beside what is left."""
    rows, steps = int(d.u(25, 60)), d.u(150, 300)
    x = np.linspace(1, steps, rows).round()
    left = d.u(0.06, 0.13)
    level = left + (1 - left) / (1 + np.exp((x - d.u(30, 70)) / d.u(6, 12)))
    noise = np.exp(d.u(0.25, 0.5) * (1.1 - level) * d.rng.standard_normal(rows))
    lr = Trace(x, np.full(rows, 2e-3)) if d.u(0, 1) > 0.3 else None
    return Run(train=Trace(x, level * noise * d.scale), lr=lr, x_label="step")


def diverged_nan(d: Draw) -> Run:
    y = d.noisy(d.decay())
    y[int(d.n * d.u(0.3, 0.8)) :] = np.nan
    return d.run(y)


def diverged_jump(d: Draw) -> Run:
    y = d.decay(0.3, 0.08)
    at = int(d.n * d.u(0.4, 0.7))
    y[at:] = d.u(0.75, 1.5)
    return d.run(d.noisy(y))


def diverged_at_once(d: Draw) -> Run:
    """A rate far too high: the first step throws the loss up, and it stays there, noisy."""
    y = d.u(3, 300) * np.exp(0.2 * d.rng.standard_normal(d.n))
    y[0] = 1
    return d.run(y * d.scale, lr=np.full(d.n, 0.4))


def diverged_slowly(d: Draw) -> Run:
    """Up the hill from the first step on, as with a wrong sign."""
    return d.run(d.noisy(1 + d.u(0.3, 4) * d.t))


def broken_constant(d: Draw) -> Run:
    return d.run(d.scale * (1 + 1e-5 * d.rng.standard_normal(d.n)))


def broken_noisy(d: Draw) -> Run:
    return d.run(d.noisy(np.ones(d.n)), d.noisy(np.ones(d.n), 0.3), metric=np.clip(0.1 + 0.003 * d.rng.standard_normal(d.n), 0, 1))


def overfit(d: Draw) -> Run:
    turn = d.u(0.2, 0.6)
    val = 0.5 + 0.5 * np.exp(-d.t / 0.07) + np.maximum(d.t - turn, 0) * d.u(0.4, 1.5)
    return d.run(d.noisy(d.decay(0.05, 0.2)), d.noisy(val), lr=None)


def too_good(d: Draw) -> Run:
    return d.run(d.noisy(d.decay(0.02, 0.05)), d.noisy(d.decay(0.02, 0.03)), metric=1 - 0.002 * d.rng.random(d.n))


def oscillating(d: Draw) -> Run:
    swing = (
        np.exp(d.u(0.5, 0.8) * d.rng.standard_normal(d.n))
        if d.n <= 100
        else np.exp(0.6 * np.repeat(d.rng.standard_normal(d.n), d.n // 30)[: d.n])
    )
    return d.run(d.noisy(0.6 + 0.4 * np.exp(-d.t / 0.05)) * swing)


def spikes(d: Draw) -> Run:
    d = Draw(int(d.u(0, 1e6)), 100)
    y = d.decay(0.3, 0.1)
    for at in d.rng.choice(np.arange(d.n // 4, d.n - 3), size=3, replace=False):
        y[at] *= d.u(2.5, 5)
    return d.run(d.noisy(y))


def flat_then_drop(d: Draw) -> Run:
    start = d.u(0.3, 0.5)
    return d.run(d.noisy(np.where(d.t < start, 1.0, 0.3 + 0.7 * np.exp(-(d.t - start) / 0.1)), 0.5))


def early_decay(d: Draw) -> Run:
    cut = d.u(0.25, 0.45)
    level = 1 - 0.9 * np.minimum(d.t, cut)
    return d.run(d.noisy(level, 0.4), lr=np.where(d.t < cut, 1e-3, 2e-5))


def underfit(d: Draw) -> Run:
    y = 1 - 0.06 * (1 - np.exp(-d.t / 0.1))
    return d.run(d.noisy(y, 0.2), d.noisy(y * 1.01, 0.2))


def plateau(d: Draw) -> Run:
    level = d.decay(d.u(0.3, 0.6), 0.04)
    return d.run(d.noisy(level), lr=np.full(d.n, 0.1) if d.u(0, 1) > 0.5 else None)


def val_better(d: Draw) -> Run:
    level = d.decay(0.4, 0.15)
    return d.run(d.noisy(level), d.noisy(level * d.u(0.4, 0.75)))


def still_improving(d: Draw) -> Run:
    return d.run(d.noisy(1 - 0.7 * d.t ** d.u(0.8, 1.1), 0.5), lr=np.full(d.n, 0.1))


HEALTHY: tuple[Callable[[Draw], Run], ...] = (
    small_classifier,
    sgd_to_zero,
    cosine_tail,
    warm_up,
    power_law,
    step_decay,
    settled_gap,
    batch_noise,
    certain_of_its_errors,
    warm_restarts,
    one_cycle,
    fine_tuning,
)
#: Formula -> the shapes that name it rightly, the first being the one it is meant to show.
SHAPES: dict[Callable[[Draw], Run], tuple[str, ...]] = {
    diverged_nan: ("diverged",),
    diverged_jump: ("diverged",),
    diverged_at_once: ("diverged",),
    diverged_slowly: ("diverged",),
    broken_constant: ("broken",),
    broken_noisy: ("broken",),
    overfit: ("overfit",),
    too_good: ("too-good",),
    oscillating: ("oscillating", "spikes"),
    spikes: ("spikes",),
    flat_then_drop: ("flat-then-drop",),
    early_decay: ("early-decay",),
    underfit: ("underfit",),
    plateau: ("plateau",),
    val_better: ("val-better",),
    still_improving: ("still-improving",),
}


def make(formula: Callable[[Draw], Run], seed: int) -> Run:
    """One run of a formula."""
    return formula(Draw(seed))
