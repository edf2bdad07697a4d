"""Makes an edit of a small script: the line to change is the one that ends in ``# here``."""

import textwrap

from trainlint.edits.kinds import KINDS
from trainlint.edits.script import Script, Unsure

MARK = "  # here"


def edited(kind: str, before: str, /, **values: object) -> str:
    """The script after the edit, the mark taken out; compiled, so that no test passes with a broken script."""
    text = textwrap.dedent(before).lstrip("\n")
    line = next(i for i, row in enumerate(text.split("\n"), 1) if MARK in row)
    text = text.replace(MARK, "")
    after = KINDS[kind].make(Script(text), line, values).code()
    compile(after, "edited.py", "exec")
    return after


def becomes(kind: str, before: str, after: str, /, **values: object) -> None:
    assert edited(kind, before, **values) == textwrap.dedent(after).lstrip("\n")


def refused(kind: str, before: str, /, **values: object) -> str:
    """Why the edit is not made."""
    try:
        made = edited(kind, before, **values)
    except Unsure as doubt:
        return str(doubt)
    raise AssertionError(f"edited to:\n{made}")
