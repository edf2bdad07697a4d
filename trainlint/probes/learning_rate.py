"""The configured learning rate against others, by short replayed runs from the same weights on the same batches.

A single range test is noise: its suggestion moves by one to two orders of magnitude between seeds and lengths. What is stable is
which learning rates, held for a few dozen steps after a short warm-up, bring the loss down about as far as the best one does.
"""

from __future__ import annotations

import math
import statistics
import time

from trainlint.measurements import LearningRate, Trial
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.replay import Rehearsal, configured_lr, rehearsal
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_learning_rate"]

#: Neighbouring trials are half a decade apart.
_STRIDE = math.sqrt(10.0)
#: Steps of a trial, and the least that says anything.
_STEPS, _LEAST_STEPS = 24, 9
#: Steps over which a trial's learning rate rises, so that a rate meant to be warmed up to is not blamed for its start.
_WARM_UP = 4
#: A learning rate belongs to the band when it makes at least this share of the best one's progress.
_BAND = 0.5
#: A search from outside these would not reach the band; it begins in the middle then.
_LOWEST, _HIGHEST = 1e-7, 1e3
#: The most trials in each direction.
_REACH = 8
#: A trial is given up when its loss is above the first by this factor.
_EXPLODED = 4.0


def measure_learning_rate(recording: Recording, deadline: float, settings: Settings) -> LearningRate:
    """Try the configured learning rate, then its neighbours upwards and downwards until they stop being useful."""
    configured = max(configured_lr(recording))
    with rehearsal(recording, batches=True) as trial:
        began = time.monotonic()
        seen = recording.main
        if seen is None or (any(s.closure for s in seen.steps) and type(seen.optimizer).__name__ == "LBFGS"):
            msg = "LBFGS chooses its own step length"
            raise CannotMeasureError(msg)
        initial = statistics.fmean(float(trial.loss(f, grad=False)) for f in trial.fills[:8])
        if not math.isfinite(initial):
            msg = "the first loss is not finite"
            raise CannotMeasureError(msg)
        steps = _affordable(recording, trial, deadline)
        start = configured if _LOWEST <= configured <= _HIGHEST else 1e-3
        trials = {start: _run(trial, start, initial, steps)}
        for direction in (_STRIDE, 1 / _STRIDE):
            _walk(trial, trials, start, direction, initial, steps, deadline)
        if configured > 0 and configured not in trials:
            trials[configured] = _run(trial, configured, initial, steps)
        low, high, best = _band(trials, initial)
        curve = _sweep(trial, initial, deadline) if time.monotonic() < deadline - 0.1 * (deadline - began) else ((), ())
        spent = time.monotonic() - began
        first = seen.settings[0].get("lr", configured) if seen.settings else configured
        return LearningRate(
            optimizer=type(seen.optimizer).__name__,
            configured=configured,
            first=float(first),
            where=recording.frames.location(seen.place),
            initial=initial,
            trials=tuple(trials[lr] for lr in sorted(trials)),
            low=low,
            high=high,
            suggestion=best,
            progress=best is not None,
            curve_lr=curve[0],
            curve_loss=curve[1],
            steps=steps,
            step_equivalents=spent / recording.step_time if recording.step_time else 0.0,
        )


def _affordable(recording: Recording, trial: Rehearsal, deadline: float) -> int:
    """Steps per trial that leave room for about ten trials."""
    began = time.monotonic()
    trial.step(trial.own_optimizer(1e-12), trial.fills[0])
    one = time.monotonic() - began
    steps = int((deadline - time.monotonic()) / (11 * max(one, 1e-4)))
    if steps < _LEAST_STEPS:
        msg = f"the budget allows only {max(steps, 0)} steps a learning rate; {_LEAST_STEPS} are needed"
        raise CannotMeasureError(msg)
    return min(steps, _STEPS)


def _run(trial: Rehearsal, lr: float, initial: float, steps: int, rival: Trial | None = None) -> Trial:
    """One trial; given up half-way when a rival has by then made more than four times its progress."""
    trial.rewind()
    optimizer = trial.own_optimizer(lr)
    full = [g["lr"] for g in optimizer.param_groups]
    losses: list[float] = []
    diverged = False
    for step in range(steps):
        for group, own in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = own * min(1.0, (step + 1) / _WARM_UP)
        losses.append(trial.step(optimizer, trial.fills[step % len(trial.fills)], max_norm=trial.max_norm))
        if not math.isfinite(losses[-1]) or (step >= _WARM_UP and initial > 0 and losses[-1] > _EXPLODED * max(initial, losses[0])):
            diverged = True
            break
        if rival is not None and step == steps // 2:
            rivals = initial - statistics.fmean(rival.losses[step - 3 : step + 1])
            if rivals > 0.05 * abs(initial) and initial - statistics.fmean(losses[-4:]) < 0.25 * rivals:
                break
    finite = [x for x in losses if math.isfinite(x)]
    tail = finite[-max(1, len(finite) // 2) :]
    score = math.inf if diverged or not finite else statistics.fmean(tail)
    return Trial(lr=lr, losses=tuple(losses), diverged=diverged, score=score if math.isfinite(score) else math.inf)


def _walk(
    trial: Rehearsal, trials: dict[float, Trial], start: float, direction: float, initial: float, steps: int, deadline: float
) -> None:
    """Go on in one direction until a trial falls out of the band."""
    lr = start
    for _ in range(_REACH):
        lr *= direction
        if not _LOWEST <= lr <= _HIGHEST or time.monotonic() > deadline:
            return
        # Only a low rate is given up early: it goes on as it began, while a high one may recover from its first leaps.
        full = (t for t in trials.values() if len(t.losses) == steps)
        leader = min(full, key=lambda t: t.score, default=None) if direction < 1 else None
        trials[lr] = _run(trial, lr, initial, steps, leader)
        best = max(initial - t.score for t in trials.values())
        made = initial - trials[lr].score
        # While nothing is learned anywhere the band may lie further on; below a rate that diverges it does.
        if (trials[lr].diverged and direction > 1) or (best > 0.05 * abs(initial) and made < _BAND * best):
            return


def _band(trials: dict[float, Trial], initial: float) -> tuple[float | None, float | None, float | None]:
    """Ends of the band, interpolated on the log scale, and its middle."""
    rates = sorted(trials)
    progress = [initial - trials[lr].score if math.isfinite(trials[lr].score) else -math.inf for lr in rates]
    top = max(progress)
    if top <= 0.02 * abs(initial) or not math.isfinite(top):
        return None, None, None
    share = [p / top for p in progress]
    best = share.index(max(share))
    low = high = best
    while low > 0 and share[low - 1] >= _BAND:
        low -= 1
    while high < len(share) - 1 and share[high + 1] >= _BAND:
        high += 1
    lower = _crossing(rates[low - 1], rates[low], share[low - 1], share[low]) if low > 0 else rates[low]
    upper = _crossing(rates[high + 1], rates[high], share[high + 1], share[high]) if high < len(rates) - 1 else rates[high]
    # Short runs flatter high rates, so the middle of the band, not its upper end, is suggested.
    return lower, upper, math.sqrt(lower * upper)


def _crossing(outer: float, inner: float, outer_share: float, inner_share: float) -> float:
    """Where the share falls through the band's limit between two trials."""
    outer_share = max(outer_share, -1.0)
    weight = (inner_share - _BAND) / (inner_share - outer_share) if inner_share > outer_share else 0.0
    return math.exp(math.log(inner) + weight * (math.log(outer) - math.log(inner)))


def _sweep(trial: Rehearsal, initial: float, deadline: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The classic range test (Smith 2015): one run whose learning rate grows from step to step, for the eye only."""
    trial.rewind()
    optimizer = trial.own_optimizer(1.0)
    own = [g["lr"] for g in optimizer.param_groups]
    count = 24
    rates: list[float] = []
    losses: list[float] = []
    for step in range(count):
        lr = 1e-6 * (10.0 / 1e-6) ** (step / (count - 1))
        for group, factor in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = lr * factor
        losses.append(trial.step(optimizer, trial.fills[step % len(trial.fills)], max_norm=trial.max_norm))
        rates.append(lr)
        if not math.isfinite(losses[-1]) or losses[-1] > _EXPLODED * max(abs(initial), 1e-12) or time.monotonic() > deadline:
            break
    return tuple(rates), tuple(losses)
