"""The batch is neither too small for its layers nor as large as the data.

## What it checks

- **Warning**: a batch normalisation in training mode sees 4 samples or fewer and takes a channel's statistics from at
  most 256 values (samples times positions). A **note** when it has more values, as in segmentation: they come from so
  few pictures that they are much alike.
- **Note**: one batch holds at least half of a data set, so that an epoch makes one or two steps. A **warning** when the
  whole run makes fewer than 30.
- **Note**: the noise scale of the gradient (McCandlish et al.), measured over the recorded batches at the first
  weights, is more than a hundred times the batch: nearly all of each step is noise.

A batch far above the noise scale is not spoken of: the scale grows by orders of magnitude during training.

## Why it matters

Batch normalisation with the statistics of two samples trains one network and evaluates another. A batch that holds
everything gives an exact gradient and very few steps to use it in; one that is all noise needs a lower learning rate.

## Example

```python
loader = DataLoader(train_set, batch_size=2, shuffle=True)
model = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
```

## Fix

```python
loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
```

Where memory forbids it: `nn.GroupNorm`, `nn.SyncBatchNorm`, or batch normalisation in eval mode.

## Thresholds

- 4 samples: Wu and He, figure 1: the error of a ResNet-50 rises by 3.7 points at 4 pictures and by 11 at 2. 256 values:
  their deepest layers have 7 × 7 positions, so 4 pictures give 196.
- 30 steps in all: fewer than the 60 to 100 that small networks need to learn a single batch by heart.
- A hundred times: at B = scale / 100 a step makes 1 % of the progress of one with an exact gradient (McCandlish et al.,
  equation 2.7). The scale is taken at its least, with |G|² two standard errors above its estimate from six quarters of batches: of 141
  healthy runs one had been called noise without that.

## References

- Wu and He, Group Normalization: <https://arxiv.org/abs/1803.08494>
- McCandlish et al., An Empirical Model of Large-Batch Training: <https://arxiv.org/abs/1812.06162>
- Masters and Luschi, Revisiting Small Batch Training: <https://arxiv.org/abs/1804.07612>
"""

from __future__ import annotations

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import BatchSize, NormLayer
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint.wording import number

FEW_SAMPLES = 4
FEW_VALUES = 256
WHOLE = 0.5
FEW_STEPS = 30
NOISE = 100.0


class BatchSizeRule(Rule):
    """Judges the batch by its norms, its data and its gradient."""

    code = "TL507"
    name = "batch-size"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "The batch suits batch normalisation, the data and the gradient's noise"
    why = "Statistics of a few samples, or an epoch of a single step, hold training back whatever else is right."
    source = "Wu and He, Group Normalization, https://arxiv.org/abs/1803.08494"
    requires = (BatchSize,)

    def judge(self, batch: BatchSize) -> Verdict:
        """Norms first, then the data, then noise."""
        few = sorted((n for n in batch.norms if n.samples <= FEW_SAMPLES), key=lambda n: n.values)
        if few:
            return _tiny(batch, few)
        whole = _whole(batch)
        if whole is not None:
            return whole
        size, scale = batch.batch_size, batch.noise_scale
        if size and scale is not None and scale > NOISE * size:
            return _failure(
                batch,
                f"The gradient of a batch of {size} is nearly all noise: its noise scale is at least {scale:,.0f} samples (from {batch.gradients} batches, "
                "at the first weights).",
                Severity.NOTE,
                Fix(summary="Use a larger batch, accumulate gradients, or lower the learning rate.", code=_loader(min(size * 8, 1024))),
            )
        if not size and not batch.norms:
            return not_run("no training batch was seen whose size could be told")
        noise = f" The gradient's noise scale is at least {number(scale, 2)} samples at the first weights." if scale is not None else ""
        return passed(f"A batch of {size or 'unknown size'} suits its layers and its data.{noise}", evidence=_evidence(batch))


def _tiny(batch: BatchSize, few: list[NormLayer]) -> Verdict:
    worst = few[0]
    severe = worst.values <= FEW_VALUES
    name = f"{worst.module} ({worst.kind})" if worst.module else worst.kind
    return _failure(
        batch,
        f"{len(few)} batch normalisations take their statistics from {worst.samples} sample{'s' if worst.samples > 1 else ''}; "
        f"{name} has {worst.values} values a channel.",
        Severity.WARNING if severe else Severity.NOTE,
        Fix(
            summary="Use batches of 16 or more, or a norm that does not look across samples.",
            code=f"{_loader(32)}\n# or, where memory forbids it:\nnorm = nn.GroupNorm(num_groups=8, num_channels=channels)",
            edit=Edit(kind="batch-size", values={"size": 32}),
        ),
        few,
    )


def _whole(batch: BatchSize) -> Verdict | None:
    if not batch.batch_size or not batch.dataset_size or batch.batch_size < WHOLE * batch.dataset_size:
        return None
    total = (batch.steps_per_epoch or 1) * batch.epochs if batch.epochs else None
    few = total is not None and total < FEW_STEPS
    run = f", and the whole run {total} steps" if total is not None else ""
    return _failure(
        batch,
        f"One batch of {batch.batch_size:,} holds {min(batch.batch_size / batch.dataset_size, 1):.0%} of the {batch.dataset_size:,} samples, so that an "
        f"epoch makes {batch.steps_per_epoch or 1} step{'s' if (batch.steps_per_epoch or 1) > 1 else ''}{run}.",
        Severity.WARNING if few else Severity.NOTE,
        Fix(
            summary="Smaller batches take more steps from the same data.",
            code=_loader(max(min(32, batch.dataset_size // 8), 1)),
        ),
    )


def _loader(size: int) -> str:
    return f"loader = DataLoader(train_set, batch_size={size}, shuffle=True, drop_last=True)"


def _evidence(batch: BatchSize) -> dict[str, Json]:
    return {
        "measured": batch.batch_size,
        "dataset": batch.dataset_size,
        "noise_scale": batch.noise_scale,
        "smallest_norm_samples": min((n.samples for n in batch.norms), default=None),
        "smallest_norm_values": min((n.values for n in batch.norms), default=None),
        "threshold": FEW_SAMPLES,
    }


def _failure(batch: BatchSize, message: str, severity: Severity, fix: Fix, norms: list[NormLayer] | None = None) -> Verdict:
    rows = tuple((n.module or n.kind, n.samples, n.values) for n in (norms or [])[:20])
    table = Table(title="Batch normalisations", columns=("layer", "samples", "values a channel"), rows=rows)
    return failed(
        message,
        severity=severity,
        evidence=_evidence(batch),
        location=batch.where or (norms[0].where if norms else None),
        fix=fix,
        details=(table,) if rows else (),
    )
