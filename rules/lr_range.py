"""The configured learning rate lies in the band that trains this model.

## What it checks

The first steps are replayed from the same weights on the same batches over a logarithmic grid of learning rates, with
the optimizer's own settings. The rates that bring the loss down well form the **band**. The configured rate, the
highest that it reaches after warm-up, is compared with it; what a LambdaLR makes of it counts, its function played over a million calls. Where it is far outside, the classic range test is drawn
beside it for the eye, as a single one is too noisy to judge by.

- Zero is an error.
- A rate that `optimizer.load_state_dict()` brought back from an earlier run, ten times or more below the one the optimizer was built with, that no
  scheduler and no line of the script raises: a warning. Nothing is replayed then. A scheduler that begins anew is played from the rate it finds: most
  multiply it (cosine, step, exponential) and never raise it. One that goes on where it was saved, or an epoch loop that does, passes.
- More than 10 × above the band: an error when the replay diverges or ends no lower than it began while other rates
  train; else, and with a warm-up that was not replayed, a warning.
- More than 3 × above the band: a warning when the replays at that rate and at a third of it both diverge or end no lower than they
  began.
- A LambdaLR that stays below a hundredth of the optimizer's rate: where its highest factor is that rate itself, its function returns
  the rate and not a factor, an error more than 10 × below the band and else a warning; with any other factor a warning more than 3 × below the
  band. (An optimizer with a rate of 1 and a function that returns rates trains in the band, and passes.)
- More than 10 × below the band: a warning when the replay gains less than 1 % of what the best rate gains, or from
  100 × on, and an error from 1,000 × on without such gain; else a note.

When no rate brings the loss down, the learning rate is not what is wrong, and nothing is said. A rate that gets down by way of
leaps far above the first loss does not belong to the band when a lower one trains without them. A decade below and half a
decade above the configured rate are always tried; when the last rate tried still trains well, that end of the band is left open.
Where only two or three batches could be replayed, a rate above their band is not judged: they are soon learned by heart.

## Why it matters

The learning rate is the most important hyper-parameter. Ten times too high, the loss jumps or becomes NaN; ten times
too low, a run of an hour takes ten, and looks like a model that cannot learn.

## Example

```python
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
```

## Fix

Start from the suggested rate; with one cycle it is the peak, reached after a third of the steps and then lowered to
nothing.

```python
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=3e-3, total_steps=epochs * len(train_loader), cycle_momentum=False
)
```

## Thresholds

- 10 × outside the band: suggestions of single range tests vary by 2 to 100 times between seeds on small GPTs, ViTs and
  CNNs, and short runs favour high rates (Wu et al.), so that less than this is noise or opinion.
- 3 × above the band fails where the loss ends no lower than it began, at that rate and at the third of it alike: two replays then
  say the same. It is no error: the upper end itself moves by three times between seeds, and a run that starts badly may recover after hundreds
  of steps.
- Momentum: after n steps it has added up a share of 1 - mⁿ of what it does at last, 0.88 for 0.9 in 20 steps, 0.18 for 0.99. A rate
  that lies in the band and divided by this share more than 3 × above it is a warning.
- 1 % of the best gain: early on, the gain grows with the rate, so this is a rate about a hundred times too low.
- First rate below half of the configured one: a warm-up. OneCycle starts at 1/25, linear warm-ups lower.
- Low rates that gain something are a note below 100 ×: short runs flatter high ones. An LSTM at Adam 3e-3, which trains
  well, lay 12 × below; so did rates of public example programs.
- OneCycle settings: PyTorch's defaults, after Smith and Topin.
- Too low is an error from 1,000 times on, and then only without progress in the replays: a rate that is merely low trains slowly, and more
  steps make up for it.

- A hundredth of the optimizer's rate at all calls: warm-ups and decays touch the full rate once. A factor within 5 % of the rate: a function
  that takes its peak from the same setting; the calls that are played lie 2 % apart at most.

## Options

- `outside` (10): how many times above or below the band a learning rate may lie.

## References

- Smith, Cyclical Learning Rates for Training Neural Networks (the range test): <https://arxiv.org/abs/1506.01186>
- Smith and Topin, Super-Convergence (one cycle): <https://arxiv.org/abs/1708.07120>
- Wu et al., Understanding Short-Horizon Bias in Stochastic Meta-Optimization: <https://arxiv.org/abs/1803.02021>
- Bengio, Practical Recommendations for Gradient-Based Training of Deep Architectures: <https://arxiv.org/abs/1206.5533>
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from trainlint.details import Line, Series
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import LearningRate, Trial
from trainlint.rate_chart import rate_chart
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint.wording import number

OUTSIDE = 10.0
#: Above the band by so much, a rate is looked at that learns nothing, nor does the next lower one that was tried (half a decade, and rounding).
NEAR, HALF_DECADE = 3.0, 3.3
#: Fewer batches than this say little about others.
FEW_BATCHES = 4
HOPELESS = 1000.0
FAR = 10.0
NO_PROGRESS = 0.01
WARMING_UP = 0.5
SAME_RATE = 2.0
#: Of the optimizer's rate: a schedule that stays below this has lost it. How closely a factor is the rate itself.
LOST, ITSELF = 0.01, 0.05


@dataclass(frozen=True)
class Options:
    """How far outside the band a learning rate may lie."""

    outside: float = OUTSIDE


class LearningRateRange(Rule):
    """Compares the configured learning rate with those that train."""

    code = "TL401"
    name = "lr-range"
    stage = Stage.LEARNING_RATE
    severity = Severity.ERROR
    summary = "The configured learning rate trains this model"
    why = "Too high, the loss jumps or becomes NaN; too low, training takes many times as long and looks like a model that cannot learn."
    source = "Smith, Cyclical Learning Rates for Training Neural Networks, https://arxiv.org/abs/1506.01186"
    requires = (LearningRate,)
    Options = Options
    blocked_by = ("label-range", "overfit-batch", "output-activation", "loss-shape", "no-gradient", "non-finite", "train-mode")

    def judge(self, rates: LearningRate) -> Verdict:
        """Zero first, then how far outside the band."""
        if rates.restored_where is not None:
            return _restored(rates)
        if rates.configured <= 0:
            return _zero(rates) if rates.optimizer else not_run("the configured learning rate is not known")
        trained = [t for t in rates.trials if not t.diverged and t.score < rates.initial]
        if not rates.progress or not trained or rates.low is None or rates.high is None:
            if _returns_rates(rates):
                return _lost(rates, f"No rate brought the loss down within {rates.steps} steps", Severity.WARNING)
            return not_run(f"no learning rate brought the loss down within {rates.steps} steps, so the rate is not what is wrong")
        best = min(trained, key=lambda t: t.score)
        above, below = rates.configured / rates.high, rates.low / rates.configured
        band = _band(rates)
        gain = f"{best.lr:.2g} brings it from {rates.initial:.3g} to {best.score:.3g} in {rates.steps} steps"
        own = _at(rates, rates.configured)
        warm_up = rates.first < WARMING_UP * rates.configured
        after = " (after a warm-up)" if warm_up else ""
        returned = _returns_rates(rates)
        if returned or (rates.configured <= LOST * rates.built and below > NEAR):
            grave = returned and below > self.options.outside
            effect = f"{_course(own, rates)[:1].upper()}{_course(own, rates)[1:]}, while {gain}"
            return _lost(rates, effect, Severity.ERROR if grave else Severity.WARNING, best)
        if above > self.options.outside:
            broken = own is not None and _broken(own, rates)
            message = (
                f"{rates.optimizer}'s learning rate of {_rate(rates)}{after} is {above:.0f} times above the band that trains here "
                f"({band}): {_course(own, rates)}, while {gain}."
            )
            return _failure(rates, best, message, Severity.ERROR if broken and not warm_up else Severity.WARNING)
        if below > self.options.outside:
            stuck = own is not None and not own.diverged and rates.initial - own.score <= NO_PROGRESS * (rates.initial - best.score)
            message = (
                f"{rates.optimizer}'s learning rate of {_rate(rates)} is {below:.0f} times below the band that trains here "
                f"({band}): {_course(own, rates)}, while {gain}."
            )
            # Short runs flatter high rates: a low one that moves is slow, not wrong.
            mild = Severity.WARNING if stuck or below > FAR * self.options.outside else Severity.NOTE
            return _failure(rates, best, message, Severity.ERROR if stuck and below > HOPELESS else mild)
        close = [t for t in rates.trials if own is not None and own.lr / HALF_DECADE <= t.lr <= own.lr]
        if above > NEAR and len(close) > 1 and all(_broken(t, rates) for t in close):
            message = (
                f"{rates.optimizer}'s learning rate of {_rate(rates)}{after} is {above:.1f} times above the band that trains here "
                f"({band}), and a third of it learns nothing either: {_course(own, rates)}, while {gain}."
            )
            return _failure(rates, best, message, Severity.WARNING)
        grown = _grown(rates)
        if above <= 1 and grown / rates.high > NEAR and not rates.open_high and not warm_up:
            message = (
                f"Momentum of {rates.momentum:g} adds up {1 / (1 - rates.momentum):.0f} steps: within the {rates.steps} steps of a replay "
                f"{rates.optimizer}'s learning rate of {_rate(rates)} lies in the band that trains here ({band}), but fully added up it acts like "
                f"{grown:.2g} does there."
            )
            return failed(
                message,
                severity=Severity.WARNING,
                evidence=_evidence(rates, best) | {"momentum": rates.momentum, "acts_like": grown, "threshold": NEAR},
                location=rates.where,
                fix=Fix(
                    summary="Use the usual momentum of 0.9, or lower the learning rate as the momentum rises.",
                    code=f"optimizer = torch.optim.SGD(model.parameters(), lr={rates.configured:g}, momentum=0.9)",
                ),
                details=_curves(rates),
            )
        few = f"only {rates.batches} batches could be replayed" if 1 < rates.batches < FEW_BATCHES else ""
        if few and above > 1:
            return not_run(
                f"{few}, which high rates learn by heart, and {rates.configured:g} {_where(above, below)} the band that trains on them ({band})"
            )
        beside = f": within the {self.options.outside:g} times that such short trials may be wrong by" if max(above, below) > 1 else ""
        return passed(
            f"{rates.optimizer}'s learning rate of {_rate(rates)} {_where(above, below)} the band that trains here ({band}){beside}{f'; {few}' if few else ''}.",
            evidence=_evidence(rates, best),
            details=_curves(rates),
        )


def _returns_rates(rates: LearningRate) -> bool:
    """Whether the factor that a schedule reaches is the optimizer's rate itself, and small."""
    return 0 < rates.built <= LOST and math.isclose(rates.configured, rates.built**2, rel_tol=ITSELF)


def _lost(rates: LearningRate, effect: str, severity: Severity, best: Trial | None = None) -> Verdict:
    """A schedule that leaves next to nothing of the rate, at all its calls."""
    factor = rates.configured / rates.built
    returned = _returns_rates(rates)
    highest = rates.built if returned else float(f"{factor:.3g}")
    seen: dict[str, Json] = _evidence(rates, best) if best is not None else {"measured": rates.configured}
    itself = f"which is {rates.built:g} itself, a rate and not a factor" if returned else f"at most {factor:.2g}"
    return failed(
        f"LambdaLR multiplies {rates.optimizer}'s learning rate of {rates.built:g} by what its function returns, {itself}: the rate that trains "
        f"never gets beyond {rates.configured:.2g}. {effect}.",
        severity=severity,
        evidence=seen | {"built": rates.built, "factor": factor, "threshold": LOST, "suggestion": rates.built},
        location=rates.schedule_where or rates.where,
        fix=Fix(
            summary="Return a factor of the optimizer's rate, 1 at the peak: divide what the function returns by its highest value.",
            code=f"scheduler = LambdaLR(optimizer, lr_lambda=lambda step: rate_at(step) / {highest:g})",
            edit=Edit(kind="schedule-factor", at=rates.schedule_where, values={"highest": highest}),
        ),
        details=_curves(rates),
    )


def _rate(rates: LearningRate) -> str:
    """The rate as the script states it, or as its schedule makes it."""
    return f"{rates.configured:.2g} (all that LambdaLR makes of {rates.built:g})" if rates.built else f"{rates.configured:g}"


def _grown(rates: LearningRate) -> float:
    """The rate that, in as few steps as a replay has, would act as strongly as the configured one does in the long run.

    After n steps momentum m has added up 1 - m^n of the 1 / (1 - m) steps that it does at last.
    """
    reached = 1 - min(rates.momentum, 0.9999) ** max(rates.steps, 1)
    return rates.configured / reached


def _band(rates: LearningRate) -> str:
    """Name the ends between which rates were tried; one beyond the last rate tried is left open."""
    if rates.open_low and rates.open_high:
        return f"{rates.low:.2g} to {rates.high:.2g} and beyond, as far as was tried"
    if rates.open_low:
        return f"up to {rates.high:.2g}"
    if rates.open_high:
        return f"from {rates.low:.2g} on; none that was tried is too high for these batches"
    return f"{rates.low:.2g} to {rates.high:.2g}"


def _where(above: float, below: float) -> str:
    if max(above, below) <= 1:
        return "lies in"
    return f"is {above:.2g} times above" if above > 1 else f"is {below:.2g} times below"


def _restored(rates: LearningRate) -> Verdict:
    return failed(
        f"load_state_dict() brings back the learning rate of an earlier run: {rates.optimizer} was built with {rates.configured:g}, but steps with "
        f"{rates.first:g}, {rates.configured / max(rates.first, 1e-30):,.0f} times lower, and no scheduler raises it.",
        severity=Severity.WARNING,
        evidence={"measured": rates.first, "expected": rates.configured, "threshold": OUTSIDE},
        location=rates.restored_where,
        fix=Fix(
            summary="Set the rate again after loading, or load the weights alone, for a new run; to continue the old run, load its scheduler too.",
            code=f'optimizer.load_state_dict(state)\nfor group in optimizer.param_groups:\n    group["lr"] = {rates.configured:g}',
            edit=Edit(kind="restored-rate", values={"lr": rates.configured}),
        ),
    )


def _zero(rates: LearningRate) -> Verdict:
    suggestion = f"{rates.suggestion:.2g}" if rates.suggestion else "1e-3"
    return failed(
        f"{rates.optimizer}'s learning rate is 0{' at all calls of its schedule' if rates.built else ''}, so no step changes a weight.",
        severity=Severity.ERROR,
        evidence={"measured": 0.0, "suggestion": rates.suggestion},
        location=rates.schedule_where or rates.where,
        fix=Fix(
            summary=f"Give the optimizer a learning rate, such as {suggestion}.",
            code=_optimizer_line(rates, suggestion),
            edit=_edit(rates, suggestion),
        ),
        details=_curves(rates) if rates.trials else (),
    )


def _at(rates: LearningRate, lr: float) -> Trial | None:
    """Find the replay at this rate, or one within a factor of two."""
    nearest = min((t for t in rates.trials if t.lr > 0), key=lambda t: abs(math.log(t.lr / lr)))
    return nearest if max(nearest.lr / lr, lr / nearest.lr) <= SAME_RATE else None


def _broken(trial: Trial, rates: LearningRate) -> bool:
    return trial.diverged or trial.score >= rates.initial


def _course(own: Trial | None, rates: LearningRate) -> str:
    if own is None:
        return "it was not replayed"
    if own.diverged:
        return "with it the loss diverges"
    return f"with it the loss goes from {rates.initial:.3g} to {own.score:.3g}"


def _failure(rates: LearningRate, best: Trial, message: str, severity: Severity) -> Verdict:
    suggestion = f"{rates.suggestion or best.lr:.2g}"
    line = _optimizer_line(rates, suggestion)
    assigned = re.match(r"([\w.]+)\s*=[^=]", line)
    optimizer = assigned[1] if assigned else "optimizer"
    return failed(
        message,
        severity=severity,
        evidence=_evidence(rates, best),
        location=rates.where,
        fix=Fix(
            summary=f"Use {suggestion}; with one cycle it is the peak, and the schedule is stepped after every optimizer step.",
            code=f"{line}\n"
            "scheduler = torch.optim.lr_scheduler.OneCycleLR(\n"
            f"    {optimizer}, max_lr={suggestion}, total_steps={'epochs * len(train_loader)' if rates.has_loader else 'total_steps'}, cycle_momentum=False\n"
            ")",
            edit=_edit(rates, suggestion),
        ),
        details=_curves(rates),
    )


def _edit(rates: LearningRate, lr: str) -> Edit | None:
    if rates.built:  # what the optimizer is given is not what trains
        return None
    return Edit(kind="learning-rate", at=rates.where, values={"lr": float(lr), "configured": rates.configured})


def _optimizer_line(rates: LearningRate, lr: str) -> str:
    """Put the rate into the user's own line, where it states one."""
    text = re.sub(r"\s+#.*$", "", rates.where.text) if rates.where else ""
    line, changed = re.subn(r"\blr\s*=\s*[\w.+-]+(?=\s*[,)])", f"lr={lr}", text, count=1)
    return line if changed else f"optimizer = torch.optim.{rates.optimizer}(model.parameters(), lr={lr})"


def _evidence(rates: LearningRate, best: Trial) -> dict[str, Json]:
    suggestion = rates.suggestion or best.lr
    return {
        "measured": rates.configured,
        "expected": [None if rates.open_low else rates.low, None if rates.open_high else rates.high],
        "threshold": OUTSIDE,
        "suggestion": suggestion,
        "best_trial": best.lr,
        "onecycle": {"max_lr": suggestion, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "cycle_momentum": False},
    }


def _curves(rates: LearningRate) -> tuple[Series, ...]:
    ends = sorted((t for t in rates.trials if t.lr > 0), key=lambda t: t.lr)
    runs = tuple(
        Line(name=f"lr {number(t.lr, 2)}", x=tuple(float(i + 1) for i in range(len(t.losses))), y=t.losses) for t in ends if t.losses
    )
    return (rate_chart(rates), Series(title="Short runs from the same weights", x_label="step", y_label="loss", lines=runs))
