"""Edits of tokenizers."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, expression
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["own_padding"]


def own_padding(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give a tokenizer a token for padding alone where a line makes its end mark the padding; the vocabulary grows by one."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1:
        raise Unsure("the line does not only set the token that fills up")
    target, value = part.targets[0].target, part.value
    if not isinstance(target, cst.Attribute) or target.attr.value != "pad_token":
        raise Unsure("the line does not only set the token that fills up")
    tokenizer = script.code(target.value)
    if script.code(value) != f"{tokenizer}.eos_token":
        raise Unsure("the token that fills up is not the same tokenizer's end mark")
    return Changes(script).replace(part, cst.Expr(expression(f'{tokenizer}.add_special_tokens({{"pad_token": "<pad>"}})')))
