"""Checks that positions which only fill up short sequences are neither learned nor read.

## What it checks

Padding is found in the recorded batch: sequences that end (or begin) with different numbers of one id that stands nowhere else,
or a mask that says so. Then the recorded step is replayed.

- **Error**: half or more of the positions that a classification loss over tokens depends on are padding.
- **Warning**: a tenth or more of the positions that any loss depends on are padding. Or the predictions for real positions change when
  what stands at padded ones is exchanged: a recurrent layer that runs on over padding, attention without a mask, a mean over
  all positions, a last position that is padding.
- **Note**: the same where little changes.
- **Warning**: attention reads padding, however little it weighs yet, while a mask in the batch is not used.

- **Warning**: what is meant to leave out padding leaves out a class: `ignore_index` is the index of an output, and half or more of the targets
  at real positions have it (tokens, some of them between two that are scored; pixels outside of what pictures are filled up with).
- **Note**: a tenth or more of such tokens; half of all pixels where no picture is filled up.
- **Warning**: no end of a text is learned. By the batch's mask, half or more of the sequences of a language model end with the token that also fills them
  up, and the loss ignores it there: its labels were taken for padding's. Where one real end mark is scored, it passes.

- **Warning**: the collate function fills up with a token that is a tenth or more of what stands in the samples themselves, and the batch says by no mask
  and no lengths what is real.

Whether the loss counts a position is told by its gradient, so `ignore_index`, labels of -100, weights, and masks multiplied by
hand all count as masks. One end mark per sequence is never taken for padding, even where the same id fills up the rest.

Not judged: tables, what reads the border of pictures, convolutions and maxima that see padding at the edge, zeros that are summed up, batches whose
sequences are all of one length.

## Why it matters

Padding is the easiest thing to predict. When it counts, the loss falls quickly to a low value, most of the gradient is about
filler, and the text stays poor. When it is read, a sentence means something else in a batch with a longer one, and the model is
fed at test time what it never saw.

## Example

```python
ids = pad_sequence(lines, batch_first=True)  # filled up with 0
loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
```

## Fix

Leave padding out of the loss, and hand the model a mask.

```python
loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
hidden = encoder(embedded, src_key_padding_mask=ids == 0)
pooled = (hidden * keep).sum(1) / keep.sum(1)  # keep: 1 where real, of shape (batch, time, 1)
packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
```

Targets are filled up with an index that is no class, which is what the loss ignores by default. Where the index that fills them up is also the
class of real positions, this is what is advised: to ignore it would leave out that class.

```python
tags = pad_sequence(tags, batch_first=True, padding_value=-100)
criterion = nn.CrossEntropyLoss()
```

Where the end mark fills up as well (`tokenizer.pad_token = tokenizer.eos_token`), use labels of -100 at padded positions instead, so that the first end
mark is still learned; a collator that ignores labels by their token cannot tell them apart, and needs a token for padding alone.

```python
labels = input_ids.masked_fill(attention_mask == 0, -100)
tokenizer.add_special_tokens({"pad_token": "<pad>"})
model.resize_token_embeddings(len(tokenizer))
```

## Thresholds

- A half: most of what is learned is filler. In a small character model whose lines fill a quarter of their rows, counting the
  padding cost 2.37 instead of 1.41 bits a character. A tenth: below that, padding takes less than a tenth of the gradient.
- Read: the mean change of real predictions is 0.1 of the change when real positions are exchanged in the same way. Measured on
  small untrained models with 41 % padding: masked or packed 0, a mean over all positions 0.7 to 1.2, an encoder without a mask 0.14
  and 0.37, the last state of an LSTM 6 to 11. Recurrent layers are held to 0.5: padding at the start of an LSTM gave 0.02, and two
  bidirectional ones whose outputs at padding are masked, as is common, 0.05 and 0.18.

- Left out, a half: of a class that is never asked for, most targets are lost; unlabelled pixels are a tenth of ADE20K. Further pieces of words are
  told from a class by the beginning of sequences, which is the first piece of a word or a mark in all of them: a tenth of the rows must begin
  otherwise. Targets that are tokens of the input's own vocabulary, or asked for where one token hides them, are those of a language model.
  Pictures are filled up where whole rows or columns at the border have one value that at most 1 % of the others have, in three extents or more.
- 0.0001 where the batch's own mask is not used: masked, it is exactly 0. An untrained BERT without its mask gave 0.003, since attention
  weighs little beside the residual at first.

## References

- torch.nn.CrossEntropyLoss, ignore_index: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
- torch.nn.Transformer, key_padding_mask: https://docs.pytorch.org/docs/stable/generated/torch.nn.Transformer.html
- torch.nn.utils.rnn.pack_padded_sequence: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.pack_padded_sequence.html
- Hugging Face, Padding and truncation: https://huggingface.co/docs/transformers/pad_truncation
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import LeftOut, LostEnds, SharedToken
from trainlint.measurements import Padding as Facts
from trainlint.rule import Rule, Verdict, failed, passed

#: Share of scored positions from which padding is most of what is learned, and from which it takes a noticeable part.
MOST, SOME = 0.5, 0.1
#: Share of a sample's own tokens that are the one which fills it up.
SHARED = 0.1
#: Change of real predictions by padding over that by real positions: from here on it is read, and from here on it matters.
TOUCHED, READ = 0.01, 0.1
#: The same where the batch's own mask is not used: any influence, beyond rounding. Untrained attention weighs little beside the residual.
ANY = 1e-4
#: The same for recurrent layers, which read padding before a sequence, as the backward half of a bidirectional one does.
READ_RECURRENT = 0.5

CLASS_LOSSES = ("cross_entropy", "nll_loss")
#: Share of real positions of a class that is left out from which it is most of them, and from which it is worth a note.
CLASS, PART = 0.5, 0.1
READERS = {
    "recurrent": "a recurrent layer runs on over the padding",
    "attention": "attention looks at padded positions",
    "pooling": "padded positions are averaged with real ones",
    "position": "the position that is read is padding in shorter sequences",
}


class Padding(Rule):
    """Looks for padding in the loss first, then in the predictions."""

    code = "TL215"
    name = "padding"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Padding is neither counted in the loss nor read by the model"
    why = "Padding is the easiest thing to predict: counted, it fills the gradient and hides how poor the rest is; read, it changes what a sequence means."
    source = "torch.nn.CrossEntropyLoss, ignore_index: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html"
    requires = (Facts,)

    def judge(self, facts: Facts) -> Verdict:
        """Judge the worse of the two faults."""
        lost = _left_out(facts.left_out) if facts.left_out is not None else None
        shared = _shared(facts.shared_token) if facts.shared_token is not None else None
        if not facts.found:
            return lost or shared or passed("The recorded batch holds no padding: no sample was filled up to the size of another.")
        ends = _ends(facts.lost_ends) if facts.lost_ends is not None else None
        found = [verdict for verdict in (_counted(facts), ends, lost, shared, _read(facts)) if verdict is not None]
        return min(found, key=lambda verdict: verdict.severity.rank if verdict.severity else 0, default=_fine(facts))


def _counted(facts: Facts) -> Verdict | None:
    if facts.counted is None or facts.counted < SOME:
        return None
    classes = facts.loss in CLASS_LOSSES
    whole = facts.value.is_integer()
    return failed(
        f"{facts.counted:.0%} of the {facts.scored:,} positions that the loss counts are padding"
        + (f" (id {facts.value:g})" if whole else "")
        + ": that much of what is learned is to predict filler."
        + _also_real(facts),
        severity=Severity.ERROR if classes and facts.counted >= MOST else Severity.WARNING,
        evidence={
            **_evidence(facts),
            "measured": facts.counted,
            "expected": 0,
            "threshold": SOME,
            "filled with": facts.fill,
            "real": facts.real,
        },
        location=facts.loss_where,
        fix=_mask_loss(facts, classes=classes),
    )


def _shared(found: SharedToken) -> Verdict | None:
    """The filler is a token of the texts themselves, too."""
    if not found.share >= SHARED:
        return None
    return failed(
        f"Token {found.token} fills up the short samples of a batch and is {found.share:.0%} of what stands in the samples themselves: what tells padding "
        "by its value (lengths, masks, padding_idx) takes it out of them, too.",
        severity=Severity.WARNING,
        evidence={"measured": found.share, "expected": 0.0, "threshold": SHARED, "token": found.token},
        location=found.where,
        fix=Fix(
            summary="Keep a token of its own for padding: let the others begin at 1.",
            code="ids = {symbol: i for i, symbol in enumerate(symbols, start=1)}  # 0 is padding",
        ),
    )


def _also_real(facts: Facts) -> str:
    if not facts.real:
        return ""
    return (
        f" Targets are filled up with {facts.fill}, which is also the class of {facts.real:.1%} of the real positions: ignore_index={facts.fill} "
        "would leave that class out, too."
    )


def _left_out(lost: LeftOut) -> Verdict | None:
    """A class with the index that the loss ignores."""
    if lost.share < (CLASS if lost.pictures else PART):
        return None
    what = "pixels" if lost.pictures else "tokens"
    nothing = "was labelled" if lost.pictures else "is to be said"
    also = f" {lost.index} is what padding is filled up with, too." if lost.padding else ""
    fill = "mask = F.pad(mask, border, value=-100)" if lost.pictures else "tags = pad_sequence(tags, batch_first=True, padding_value=-100)"
    return failed(
        f"The loss ignores class {lost.index} of {lost.classes}: {lost.share:.0%} of {lost.positions:,} {what} that are no padding have it and teach "
        f"nothing, and output {lost.index} is only ever pushed down.{also} Ignore this where {lost.index} says that nothing {nothing}.",
        severity=Severity.WARNING if lost.padding and lost.share >= CLASS else Severity.NOTE,
        evidence={"measured": lost.share, "expected": 0, "threshold": CLASS, "ignore_index": lost.index, "outputs": lost.classes},
        location=lost.where,
        fix=Fix(
            summary="Fill targets up with an index that is no class, such as the -100 that the loss ignores by default, and train all classes.",
            code=f"{fill}\ncriterion = nn.CrossEntropyLoss()  # ignore_index=-100",
        ),
    )


def _ends(lost: LostEnds) -> Verdict:
    """An end mark that fills up as well."""
    edit = Edit(kind="pad-token", at=lost.set_where) if lost.set_where is not None and not lost.pretrained else None
    return failed(
        f"The end of a text is never learned: {lost.sequences} of {lost.of} sequences end with token {lost.token}, real by the batch's mask, and the loss "
        "ignores it there as it ignores padding, which has the same token. Generation then does not stop.",
        severity=Severity.WARNING,
        evidence={"measured": lost.sequences, "expected": 0, "token": lost.token, "lost ends": True},
        location=lost.set_where or lost.where,
        fix=Fix(
            summary="Fill up with a token of its own, or ignore labels where the attention mask is 0, not where the token is the padding's.",
            code='tokenizer.add_special_tokens({"pad_token": "<pad>"})\nmodel.resize_token_embeddings(len(tokenizer))\n'
            "# or: labels = input_ids.masked_fill(attention_mask == 0, -100)",
            edit=edit,
        ),
    )


def _mask_loss(facts: Facts, *, classes: bool) -> Fix:
    if not classes:
        return Fix(
            summary="Multiply the loss of each position by a mask that is 0 at padding, and divide by the number of real positions.",
            code="loss = (loss_per_position * mask).sum() / mask.sum()",
        )
    if facts.real:
        values = {"path": facts.target, "old": str(facts.fill), "new": "-100"}
        return Fix(
            summary="Fill targets up with an index that is no class: the -100 that the loss ignores by default.",
            code="tags = pad_sequence(tags, batch_first=True, padding_value=-100)\ncriterion = nn.CrossEntropyLoss()  # ignore_index=-100",
            edit=Edit(kind="fill-targets", values=values) if facts.target else None,
        )
    if facts.masked:
        return Fix(
            summary="Give padded positions the label that the loss ignores.",
            code="labels = input_ids.masked_fill(attention_mask == 0, -100)",
        )
    index = facts.value if facts.fill is None else facts.fill
    return Fix(
        summary="Let the loss ignore padding. If the same id also ends each sequence, set the labels behind the first one to -100 instead.",
        code=f"F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index={index:g})",
        edit=Edit(kind="ignore-index", values={"index": f"{index:g}", "loss": facts.loss}),
    )


def _read(facts: Facts) -> Verdict | None:
    if facts.influence is not None and facts.reader == "attention" and facts.unused_mask and facts.influence > ANY and facts.share >= SOME:
        return _unmasked(facts)
    if facts.influence is None or facts.influence < TOUCHED or facts.reader not in READERS:
        return None
    least = READ_RECURRENT if facts.reader == "recurrent" else READ
    matters = facts.influence >= least and facts.share >= SOME
    return failed(
        f"Predictions depend on what stands at padded positions ({facts.share:.0%} of all): exchanging it changes them "
        f"{facts.influence:.2g} times as much as exchanging real positions does. {_reading(facts)}",
        severity=Severity.WARNING if matters else Severity.NOTE,
        evidence={**_evidence(facts), "measured": facts.influence, "expected": 0, "threshold": least},
        location=facts.reader_where or facts.loss_where,
        fix=_mask_model(facts),
    )


def _reading(facts: Facts) -> str:
    if facts.reader == "position":
        return "The one position that is read of each sequence is padding in all shorter ones."
    return f"In {facts.operation}, {READERS[facts.reader]}."


def _unmasked(facts: Facts) -> Verdict:
    return failed(
        f"Attention looks at padded positions ({facts.share:.0%} of all): the batch holds a mask of them, {facts.unused_mask}, "
        "which never reaches the model.",
        severity=Severity.WARNING,
        evidence={**_evidence(facts), "measured": facts.influence, "expected": 0, "threshold": ANY, "unused": facts.unused_mask},
        location=facts.reader_where or facts.loss_where,
        fix=_mask_model(facts),
    )


def _mask_model(facts: Facts) -> Fix:
    if facts.reader in ("recurrent", "position"):
        return Fix(
            summary="Pack the sequences by their lengths, or take the state at each sequence's last real position.",
            code="from torch.nn.utils.rnn import pack_padded_sequence\n\n"
            "packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)\n"
            "_, (hidden, _) = lstm(packed)  # of nn.GRU and nn.RNN: _, hidden = rnn(packed)\nlast = hidden[-1]  # (batch, features)",
        )
    if facts.reader == "attention":
        keyword = "attention_mask=attention_mask" if facts.masked else f"src_key_padding_mask=ids == {facts.value:g}"
        return Fix(summary="Hand the model the mask of padded positions.", code=f"model(ids, {keyword})")
    return Fix(
        summary="Average over real positions only.",
        code=f"keep = (ids != {facts.value:g}).unsqueeze(-1)\npooled = (hidden * keep).sum(1) / keep.sum(1)",
    )


def _fine(facts: Facts) -> Verdict:
    parts = [f"{facts.share:.0%} of all positions are padding"]
    if facts.counted is not None:
        parts.append("the loss leaves them out" if not facts.counted else f"they are {facts.counted:.1%} of those that the loss counts")
    if facts.influence is not None:
        border = ", as at any border" if facts.reader == "convolution" else ""
        how = "do not depend on them" if facts.influence < TOUCHED else f"see them through {facts.operation}{border}"
        parts.append(f"predictions {how}")
    return passed(", ".join(parts) + ".", evidence=_evidence(facts))


def _evidence(facts: Facts) -> dict[str, Json]:
    return {
        "padded": facts.path,
        "share": facts.share,
        "value": facts.value,
        "side": facts.side,
        "counted": facts.counted,
        "influence": facts.influence,
        "reader": facts.operation,
    }
