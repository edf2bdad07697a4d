"""Verdicts of label-signal on labels that lie at another place of their own sample, or beside another one."""

from __future__ import annotations

from trainlint.finding import Fix, Severity
from trainlint.location import Location
from trainlint.measurements import GivenAway, MirroredPictures, ShiftedTags, TokensAhead, TornPairs
from trainlint.rule import Verdict, failed

__all__ = ["ahead", "given_away", "mirrored", "shifted", "torn"]

_WHAT = {"train": "training", "val": "validation"}


def given_away(given: GivenAway, where: Location | None) -> Verdict:
    """The target stands in its own input; ``where`` is the line of the labels, for when that of the target is not known."""
    at, shape = (", ".join(map(str, values)) for values in (given.at, given.shape))
    return failed(
        f"The target stands in the input: in all of {given.samples:,} training samples it equals the input's value at [{at}] of ({shape}). The model "
        "learns to copy it, and has nothing to copy when it is used.",
        severity=Severity.WARNING,
        evidence={"measured": given.samples, "expected": 0, "threshold": given.samples, "input": given.path, "at": list(given.at)},
        location=given.where or where,
        fix=Fix(
            summary="Take the target from after the window, and leave columns that are made from it out of the input.",
            code="x, y = series[i : i + window], series[i + window]  # the last value of x is series[i + window - 1]",
        ),
    )


def shifted(tags: ShiftedTags) -> Verdict:
    """Each tag belongs to a token beside its own."""
    side, steps = "before" if tags.shift < 0 else "after", abs(tags.shift)
    token = f"the token {side} its own" if steps == 1 else f"the token {steps} places {side} its own"
    extra, missing = ("tags", "tokens") if tags.shift < 0 else ("tokens", "tags")
    return failed(
        f"Each tag belongs to {token}: in {tags.sequences:,} {_WHAT[tags.phase]} sequences a table from that token to the tag is right at "
        f"{tags.accuracy:.0%} of the places, one from the tag's own token at {tags.own_accuracy:.0%}, and the most frequent tag at {tags.base:.0%}.",
        severity=Severity.ERROR,
        evidence={
            "measured": tags.z,
            "expected": "a tag's own token tells most of it",
            "threshold": 8.0,
            "shift": tags.shift,
            "accuracy": tags.accuracy,
            "own_accuracy": tags.own_accuracy,
            "most_frequent": tags.base,
            "places": tags.places,
        },
        location=tags.where,
        fix=Fix(
            summary=f"Line tags up with their tokens: the {extra} hold {steps} more at the front than the {missing}, such as [CLS] or BOS, or one of "
            "the two was cut or rolled.",
            code="tokens = [CLS, *tokens, SEP]\ntags = [-100, *tags, -100]  # what is added to tokens is added to tags; the loss ignores -100",
        ),
    )


def ahead(tokens: TokensAhead) -> Verdict:
    """Targets further ahead than the next token: a slip where they are moved twice, else perhaps meant."""
    twice = tokens.moves > 1
    asked = "the token after the next" if tokens.ahead == 2 else f"the token {tokens.ahead} places on"
    passed_over = "the next one is never asked for" if tokens.ahead == 2 else "those between are never asked for"
    if twice and tokens.in_data:
        how = "Targets are shifted in the data, and once more before the loss"
        fix = Fix(
            summary="Shift once: hand a model that shifts its labels itself, as those of Hugging Face do, labels that are the input's own tokens.",
            code="labels = input_ids.clone()  # the model compares logits[:, :-1] with labels[:, 1:]",
        )
    else:
        how = "Targets are shifted twice before the loss" if twice else "Targets are shifted too far"
        fix = Fix(
            summary="Shift targets by one place, once: in the loop, or within the model.",
            code="logits = model(ids[:, :-1])\nloss = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:])",
        )
    ignore = "" if twice else " Ignore this where that is the task."
    return failed(
        f"The model learns to name {asked}: each prediction is compared with the token {tokens.ahead} places after the last one that it sees, and "
        f"{passed_over}. {how}.{ignore}",
        severity=Severity.ERROR if twice else Severity.WARNING,
        evidence={"measured": tokens.ahead, "expected": 1, "threshold": 2, "in_data": tokens.in_data, "moves": tokens.moves},
        location=tokens.where,
        fix=fix,
    )


def mirrored(pictures: MirroredPictures) -> Verdict:
    """Coordinates that stay where they are when their picture is mirrored."""
    upright = pictures.way == "upside down"
    end, low, high = ("height", 1, 3) if upright else ("width", 0, 2)
    boxes = f"boxes[..., [{low}, {high}]] = {end} - boxes[..., [{high}, {low}]]"
    points = f"points[..., {low}] = {end} - 1 - points[..., {low}]"
    return failed(
        f"When a training picture is {pictures.way} at random, its {pictures.kind} stay where they were: so in {pictures.stayed} of the "
        f"{pictures.mirrored} pictures that were read both ways.",
        severity=Severity.ERROR,
        evidence={"measured": pictures.stayed, "expected": 0, "threshold": 4, "read_both_ways": pictures.mirrored, "way": pictures.way},
        location=pictures.where,
        fix=Fix(
            summary=f"Draw once, and move the {pictures.kind} along with the picture, as torchvision.transforms.v2 does for tv_tensors.",
            code=f"if torch.rand(1) < 0.5:\n    picture = picture.flip({-2 if upright else -1})\n    {boxes if pictures.kind == 'boxes' else points}",
        ),
    )


def torn(pairs: TornPairs) -> Verdict:
    """A collate function that gives inputs the labels of other samples."""
    return failed(
        f"The collate function puts labels of other samples beside the inputs: handed the same {pairs.samples} samples in another order, it gives "
        f"{pairs.moved} of them another label.",
        severity=Severity.ERROR,
        evidence={"measured": pairs.moved, "expected": 0, "threshold": 0, "samples": pairs.samples},
        location=pairs.where,
        fix=Fix(
            summary="Sort whole samples, before inputs and labels are taken apart.",
            code="batch = sorted(batch, key=lambda sample: len(sample[0]), reverse=True)\ninputs, labels = zip(*batch)",
        ),
    )
