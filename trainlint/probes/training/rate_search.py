"""A search over learning rates: trials upwards and downwards from one, each a short run from the same weights."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field

import torch

from trainlint.measurements import ShortRun, Trial
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.training.short_training import FIRST_STEPS, WARM_UP, Bench, first_run
from trainlint.record.random_state import seed_torch

__all__ = ["BATCHES", "EXPLODED", "SCORED", "SWEEP", "RateSearch", "searched"]

#: Steps of a trial, and the least that says anything.
_STEPS, _LEAST_STEPS = FIRST_STEPS, 9

#: Batches that are fed in turn. A trial is scored by its last turn, or as many turns as make the least number of steps.
BATCHES, SCORED = 8, 4

#: The search walks by these factors.
_DECADE, _HALF = 10.0, math.sqrt(10.0)

#: Progress grows with the rate when it is multiplied by this, at the least.
_CLIMBS = 1.25

#: A learning rate belongs to the band when it makes at least this share of the best one's progress.
_BAND = 0.5

#: A share of the first loss that is progress, one that may be noise, and the standard errors above which it is none.
_PROGRESS, _NOISE, _ERRORS = 0.05, 0.02, 2.0

#: After these steps a low rate that has made less than this share of the leader's progress is given up; a high one that has made none.
_HOPELESS, _JUDGED = 0.25, (8, 12, 16)

#: A search from outside these would not reach the band; it begins in the middle then.
_LOWEST, _HIGHEST = 1e-7, 1e3

#: The most trials in each direction, and between two to refine an end until they are this factor apart.
_REACH, _REFINED, _FINE = 7, 3, 3.5

#: A trial is given up when its loss is above the first by this factor; it went astray when it was above by the other for a whole turn.
EXPLODED, ASTRAY = 4.0, 1.5

#: Steps of the range test, and how far below or above the band a rate is when it may be called wrong.
SWEEP, OUTSIDE, ABOVE = 24, 10.0, 3.0

#: Forward passes in the time of a training step: 3, and something for the optimizer.
_FORWARDS = 3.5


def searched(trial: Rehearsal, configured: float, deadline: float, *, shared: bool) -> RateSearch:
    """The search around the configured rate, which takes over the run that is shared with other probes."""
    search = _begun(trial, deadline)
    start = configured if _LOWEST <= configured <= _HIGHEST else 1e-3
    if shared and start == configured:
        search.adopt(first_run(Bench(trial, deadline)))
    search.around(start)
    if configured > 0 and configured not in search.trials:
        search.run(configured)
    return search


def _begun(trial: Rehearsal, deadline: float) -> RateSearch:
    """The search with the first loss of each batch, and as many steps a trial as leave room for eight."""
    trial.rewind()
    began = time.monotonic()
    firsts = [float(trial.loss(f, grad=False)) for f in trial.fills]
    if not all(map(math.isfinite, firsts)):
        msg = "the first loss is not finite"
        raise CannotMeasureError(msg)
    now = time.monotonic()
    one = _FORWARDS * (now - began) / len(firsts)
    steps = int((deadline - now) / (8 * max(one, 1e-4)))
    if steps < _LEAST_STEPS:
        msg = f"the budget allows only {max(steps, 0)} steps a learning rate; {_LEAST_STEPS} are needed"
        raise CannotMeasureError(msg)
    return RateSearch(trial, firsts, min(steps, _STEPS), deadline, torch.initial_seed())


@dataclass
class RateSearch:
    """Trials by learning rate, and what they have in common."""

    trial: Rehearsal
    firsts: list[float]
    """Loss of each batch at the first weights."""
    steps: int
    deadline: float
    seed: int
    trials: dict[float, Trial] = field(default_factory=dict)

    @property
    def initial(self) -> float:
        """Mean loss at the first weights."""
        return statistics.fmean(self.firsts)

    def gains(self, losses: tuple[float, ...] | list[float]) -> list[float]:
        """How far each step's loss lies below that of the same batch at the first weights."""
        return [self.firsts[i % len(self.firsts)] - loss for i, loss in enumerate(losses)]

    @property
    def turn(self) -> int:
        """Steps that see each batch equally often, and are not too few to be averaged."""
        return len(self.firsts) * math.ceil(SCORED / len(self.firsts))

    def progress(self, lr: float) -> float:
        """What a trial made of the first loss; -inf when it diverged, none when it went astray where a lower rate trains without that."""
        own = self.trials[lr]
        gain = self.initial - own.score
        if own.peak > ASTRAY and any(
            t.lr < lr and t.peak <= ASTRAY and self.initial - t.score >= _BAND * gain for t in self.trials.values()
        ):
            return min(gain, 0.0)
        return gain

    @property
    def most(self) -> float:
        """The best trial's progress."""
        return max((self.progress(lr) for lr in self.trials), default=-math.inf)

    @property
    def limit(self) -> float:
        """The loss at the share of the best progress that bounds the band."""
        return self.initial - _BAND * self.most

    @property
    def learns(self) -> bool:
        """Whether some rate makes progress: much, or so evenly over the batches that it is no chance."""
        best = max(self.trials, key=self.progress)
        tail = self.gains(self.trials[best].losses)[-self.turn :]
        error = statistics.stdev(tail) / math.sqrt(len(tail)) if len(tail) > 1 else math.inf
        return self.most > _PROGRESS * abs(self.initial) or self.most > max(_NOISE * abs(self.initial), _ERRORS * error)

    def adopt(self, run: ShortRun) -> None:
        """Take over a run at the configured rate as its trial, unless a warm-up might have spared it something."""
        losses, limit = list(run.losses[: self.steps]), EXPLODED * max(abs(self.initial), abs(run.losses[0]))
        calm = not run.diverged and len(losses) == self.steps and max(losses) <= limit and self._peak(losses, run.warm_up) <= ASTRAY
        if calm and max(self.gains(losses)[1:]) > 0:
            self._note(run.lr, losses, run.warm_up, diverged=False)

    def run(self, lr: float, leader: float | None = None) -> Trial:
        """One trial; given up half-way when it is hopeless beside the leader's."""
        trial = self.trial
        trial.rewind()
        seed_torch(self.seed)
        optimizer = trial.own_optimizer(lr)
        full = [g["lr"] for g in optimizer.param_groups]
        losses: list[float] = []
        diverged = False
        for step in range(self.steps):
            for group, own in zip(optimizer.param_groups, full, strict=True):
                group["lr"] = own * min(1.0, (step + 1) / WARM_UP)
            losses.append(trial.step(optimizer, trial.fills[step % len(trial.fills)], max_norm=trial.max_norm))
            limit = EXPLODED * max(self.initial, losses[0])
            if not math.isfinite(losses[-1]) or (step >= WARM_UP and self.initial > 0 and losses[-1] > limit):
                diverged = True
                break
            if leader is not None and step + 1 in _JUDGED and self._hopeless(losses, lr, leader):
                break
        return self._note(lr, losses, WARM_UP - 1, diverged=diverged)

    def _hopeless(self, losses: list[float], lr: float, leader: float) -> bool:
        """A low rate goes on as it began; a high one may recover from its first leaps, but hardly while it is worse than nothing."""
        own = statistics.fmean(self.gains(losses)[-4:])
        best = statistics.fmean(self.gains(self.trials[leader].losses)[len(losses) - 4 : len(losses)])
        if lr < leader:
            return best > _NOISE * abs(self.initial) and own < _HOPELESS * best
        return best > _PROGRESS * abs(self.initial) and own < 0.0

    def _note(self, lr: float, losses: list[float], warm_up: int, *, diverged: bool) -> Trial:
        finite = [gain for gain in self.gains(losses) if math.isfinite(gain)]
        tail = finite[-min(self.turn, max(SCORED, len(finite) // 2)) :]
        score = math.inf if diverged or not finite else self.initial - statistics.fmean(tail)
        self.trials[lr] = Trial(
            lr=lr,
            losses=tuple(losses),
            diverged=diverged,
            score=score if math.isfinite(score) else math.inf,
            peak=self._peak(losses, warm_up),
        )
        return self.trials[lr]

    def _peak(self, losses: list[float], warm_up: int) -> float:
        """Highest mean loss over a turn of the batches after the warm-up, over that at the first weights; 0 when there was no whole turn."""
        ratios = [
            statistics.fmean(losses[i : i + self.turn]) / self.initial
            for i in range(warm_up + 1, len(losses) - self.turn + 1)
            if self.initial > 0
        ]
        return max((r for r in ratios if math.isfinite(r)), default=0.0)

    def around(self, start: float) -> None:
        """Walk from a rate until both ends of the band are passed, and refine the upper one."""
        if start not in self.trials:
            self.run(start)
        self._up(start)
        self._down(start)
        for _ in range(_REFINED):
            rates = sorted(self.trials)
            high = self._inner(rates)[1] if self.most > _NOISE * abs(self.initial) else len(rates) - 1
            if high == len(rates) - 1 or rates[high + 1] < _FINE * rates[high] or time.monotonic() > self.deadline:
                return
            self.run(math.sqrt(rates[high] * rates[high + 1]), self._leader())

    def _leader(self) -> float | None:
        whole = [lr for lr, t in self.trials.items() if len(t.losses) == self.steps and not t.diverged]
        return max(whole, key=self.progress, default=None)

    def _up(self, start: float) -> None:
        """Half a decade first, then decades while progress grows; the best rate and the end of the band are then known to half a decade."""
        lr, factor = start, _HALF
        for _ in range(_REACH):
            before = self.progress(lr)
            if self.trials[lr].diverged or lr * factor > _HIGHEST or time.monotonic() > self.deadline:
                return
            lr *= factor
            self.run(lr, self._leader())
            if self._fell(lr):
                return
            # While nothing is learned anywhere the band may lie further on.
            climbs = not self.learns or self.progress(lr) > _CLIMBS * before
            factor = _DECADE if climbs else _HALF

    def _down(self, start: float) -> None:
        """By decades, until a trial falls out of the band."""
        lr = start
        for _ in range(_REACH):
            # Nothing better lies below a rate that higher ones leave behind while it learns.
            if lr == start and self._fell(lr) and self.progress(lr) > 0 and self._leader() not in (lr, None):
                return
            lr /= _DECADE
            if lr < _LOWEST or time.monotonic() > self.deadline:
                return
            self.run(lr, self._leader())
            if self._fell(lr):
                return

    def _fell(self, lr: float) -> bool:
        return self.learns and self.progress(lr) < _BAND * self.most

    def _inner(self, rates: list[float]) -> tuple[int, int]:
        """Positions of the lowest and the highest rate within the band."""
        share = [self.progress(lr) / self.most for lr in rates]
        low = high = share.index(max(share))
        while low > 0 and share[low - 1] >= _BAND:
            low -= 1
        while high < len(share) - 1 and share[high + 1] >= _BAND:
            high += 1
        return low, high

    def band(self) -> tuple[float | None, float | None, float | None]:
        """Ends of the band and its middle, where the share of the best progress falls through the limit between two trials.

        Below the band progress grows with the rate itself, above it falls on the log scale. An open end is the last rate tried.
        """
        top, rates = self.most, sorted(self.trials)
        if top <= _NOISE * abs(self.initial) or not math.isfinite(top):
            return None, None, None
        low, high = self._inner(rates)
        upper = self._crossing(rates[high + 1], rates[high]) if high < len(rates) - 1 else rates[high]
        lower = self._between(rates[low - 1], rates[low]) if low > 0 else rates[low]
        # Short runs flatter high rates, so the middle of the band, not its upper end, is suggested.
        return lower, upper, math.sqrt(lower * upper)

    def open_ends(self) -> tuple[bool, bool]:
        """Whether the lowest rate tried still trains well, and the highest; the band then goes on beyond it."""
        rates = sorted(self.trials)
        if self.band()[0] is None:
            return False, False
        low, high = self._inner(rates)
        return low == 0, high == len(rates) - 1

    def is_outside(self, lr: float) -> bool:
        """Whether a rate is so far from the band that it may be called wrong, or nothing trains at all."""
        low, high, _ = self.band()
        return low is None or high is None or not low / OUTSIDE <= lr <= high * ABOVE

    def _between(self, outer: float, inner: float) -> float:
        outside, inside = self.progress(outer) / self.most, self.progress(inner) / self.most
        return outer + (inner - outer) * (_BAND - outside) / (inside - outside) if math.isfinite(outside) else inner

    def _crossing(self, outer: float, inner: float) -> float:
        # How bad the outer one is depends on how it breaks down, and says little about where.
        inside, outside = self.progress(inner) / self.most, max(self.progress(outer) / self.most, 0.0)
        weight = (inside - _BAND) / (inside - outside) if inside > outside else 0.0
        return math.exp(math.log(inner) + weight * (math.log(outer) - math.log(inner)))
