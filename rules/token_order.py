"""A model with attention knows where its tokens stand.

## What it checks

Attention treats a row of tokens as a set: without positional encodings "dog bites man" and "man bites dog" are one input. The recorded step is run
again with the inner tokens of every row in another order, dropout off; the first and the last token stay.

- **Warning**: no prediction changes. Predictions for single tokens are compared in the new order. An **error** where they change with the place of a row in
  the batch instead: positions are there, and counted along the wrong axis.

Where targets are the next tokens of a table with a column for each stretch of one stream, with or without attention:

- **Warning**: the stream runs along the rows, and on into the next row, not down the columns, which are read as time: `data.view(rows, columns)` has put
  neighbours side by side, so that each column holds every so-manieth token. Counts of pairs in every other row tell a token's neighbour in the rest
  along the rows and around their ends, and much less along time.

Not judged: models without attention or given more than one tensor of tokens; rows that are padded or masked; tables, where each column has ids of its own;
positions that are learned from zero and still near it; causal models pass, since their mask tells the order.

## Why it matters

The model can count words but not read them. The loss falls to what the set of tokens tells and stays there, which looks like a hard problem. Where rows are
sets (a basket, a bag of tags), nothing is wrong: ignore the rule.

## Example

```python
h = self.encoder(self.tokens(ids))
```

## Fix

Add a learned or sinusoidal encoding of the position to the embeddings, or use rotary positions in attention.

```python
h = self.tokens(ids) + self.positions[: ids.size(1)]  # nn.Parameter(0.02 * torch.randn(max_length, width))
h = self.encoder(h)
```

A stream is cut into stretches before it is transposed: each column then holds one stretch.

```python
data = data.view(batch, -1).t().contiguous()  # not data.view(-1, batch)
```

## Thresholds

- A change by the order of 1e-5 of what another sample's tokens change. It is zero but for the rounding of sums in another order, 1e-7 to 1e-6, without
  positions, and 0.006 or more with encodings as they are usually drawn (0.02 beside embeddings of 1).
- A stream: neighbours along the rows tell 0.2 nats or more of each other beyond frequency, those around the ends of rows at least 0.8 of that by the same
  counts, beyond three standard errors, and those in time at most 0.6 of what these tell. What runs beside each other, as sensors do, tells more in time than
  around. Regular sentences told 2.4 nats along rows, 2.3 around, and 1.2 in time with 20 columns. 2,000 tokens and 32 ends of rows are the fewest judged.

## References

- Vaswani et al., Attention Is All You Need, section 3.5: <https://arxiv.org/abs/1706.03762>
- Lee et al., Set Transformer, attention without positions by design: <https://arxiv.org/abs/1810.00825>
"""

from __future__ import annotations

from math import prod

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import CutStream
from trainlint.measurements import TokenOrder as Order
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of the change by other tokens that rounding explains.
EQUAL = 1e-5


class TokenOrder(Rule):
    """Looks for attention without positions."""

    code = "TL110"
    name = "token-order"
    stage = Stage.WIRING
    severity = Severity.WARNING
    summary = "The order of tokens reaches the prediction"
    why = "Words can be counted but not read where attention has no positions, or where tokens that do not follow each other are put in a row."
    source = "Vaswani et al., Attention Is All You Need, section 3.5: https://arxiv.org/abs/1706.03762"
    requires = (Order,)

    def judge(self, order: Order) -> Verdict:
        """Compare what the order changes with what other tokens change."""
        if order.stream is not None:
            return _cut_across(order.stream)
        if not order.attends:
            return passed("No attention runs among tokens.")
        if not order.effect > 0:
            return not_run("no prediction depends on the tokens")
        share = order.change / order.effect
        evidence: dict[str, Json] = {
            "measured": share,
            "expected": "a change",
            "threshold": EQUAL,
            "tokens": order.tokens,
            "samples": order.samples,
        }
        if share > EQUAL:
            return passed(f"In another order, tokens change predictions by {share:.2g} of what other tokens do.", evidence=evidence)
        if order.by_sample is not None:
            return _counted_along_the_batch(order, evidence)
        return failed(
            f"The order of tokens does not reach the prediction: with the {order.tokens - 2} inner tokens of each of {order.samples} rows in another order, no "
            "prediction changes. Ignore this where rows are sets.",
            severity=Severity.WARNING,
            evidence=evidence,
            location=order.where,
            fix=Fix(
                summary="Add an encoding of the position to the embeddings.",
                code="h = self.tokens(ids) + self.positions[: ids.size(1)]  # nn.Parameter(0.02 * torch.randn(max_length, width))",
            ),
        )


def _counted_along_the_batch(order: Order, evidence: dict[str, Json]) -> Verdict:
    """Positions that tell rows apart, where they should tell tokens."""
    return failed(
        f"The order of tokens does not reach the prediction: with the {order.tokens - 2} inner tokens of each of {order.samples} rows in another order, no "
        "prediction changes. The place of the row in the batch does: positions are counted along the batch, so that all tokens of a row get the same.",
        severity=Severity.ERROR,
        evidence=evidence,
        location=order.by_sample,
        fix=Fix(
            summary="Count positions along the axis of the tokens, and not along that of the batch.",
            code="x = x + self.pe[: x.size(1)]  # x is (batch, time, features), pe is (time, features)",
        ),
    )


def _cut_across(stream: CutStream) -> Verdict:
    """A stream that is read in steps of a whole row."""
    place: dict[str, Json] = {
        "line": stream.where.line if stream.where is not None else 0,
        "before": [prod(stream.shape)],
        "after": list(stream.shape),
        "opened": list(reversed(stream.shape)),
        "order": [1, 0],
    }
    return failed(
        f"The stream of tokens is cut across: what is read as time skips {stream.columns} tokens at each step. A token tells "
        f"{max(stream.down, 0.0):.2g} nats of the next one in time, and {stream.across:.2g} of the one in the column beside it, on into the next row.",
        severity=Severity.WARNING,
        evidence={
            "measured": stream.down,
            "expected": stream.across,
            "around": stream.around,
            "tokens": stream.tokens,
            "columns": stream.columns,
        },
        location=stream.where,
        fix=Fix(
            summary="Cut the stream into one stretch for each column, then transpose.",
            code="data = data.view(batch, -1).t().contiguous()  # (time, batch)",
            edit=Edit(kind="swap-axes", values={"places": [place]}) if stream.shape else None,
        ),
    )
