"""A model with attention knows where its tokens stand.

## What it checks

Attention treats a row of tokens as a set: without positional encodings "dog bites man" and "man bites dog" are one input. The recorded step is run
again with the inner tokens of every row in another order, dropout off; the first and the last token stay.

- **Warning**: no prediction changes. Predictions for single tokens are compared in the new order.

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

## Thresholds

- A change by the order of 1e-5 of what another sample's tokens change. It is zero but for the rounding of sums in another order, 1e-7 to 1e-6, without
  positions, and 0.006 or more with encodings as they are usually drawn (0.02 beside embeddings of 1).

## References

- Vaswani et al., Attention Is All You Need, section 3.5: <https://arxiv.org/abs/1706.03762>
- Lee et al., Set Transformer, attention without positions by design: <https://arxiv.org/abs/1810.00825>
"""

from __future__ import annotations

from trainlint.finding import Fix, Json, Severity, Stage
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
    why = "Attention without positions sees a row of tokens as a set: it can count words but not read them."
    source = "Vaswani et al., Attention Is All You Need, section 3.5: https://arxiv.org/abs/1706.03762"
    requires = (Order,)

    def judge(self, order: Order) -> Verdict:
        """Compare what the order changes with what other tokens change."""
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
