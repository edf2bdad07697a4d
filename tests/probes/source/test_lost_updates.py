"""Updates of tensors whose result goes nowhere."""

from __future__ import annotations

import linecache
import textwrap

import pytest

from trainlint.probes.source.lost_updates import lost_update
from trainlint.record.planned import source_tree


def found(source: str) -> tuple[str, int] | None:
    """What is lost at the line that ends with ``# here``."""
    text = textwrap.dedent(source).lstrip("\n")
    name = f"<lost {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    source_tree.cache_clear()
    line = next(i for i, one in enumerate(text.splitlines(), 1) if one.endswith("# here"))
    return lost_update((name, line, ""))


def update(body: str, before: str = "", after: str = "") -> str:
    """A function that runs over the weights of two models."""
    loop = textwrap.indent("for slow, fast in zip(teacher.parameters(), student.parameters()):\n" + textwrap.indent(body, "    "), "    ")
    parts = ["def update(teacher, student, m):", textwrap.indent(before, "    "), loop, textwrap.indent(after, "    ")]
    return "\n".join(p for p in parts if p.strip())


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (update("slow = m * slow + (1 - m) * fast  # here"), "slow"),
        (update("slow = (\n    slow.data * m  # here\n    + fast.data * (1 - m)\n)"), "slow"),
        (update("slow.mul(m).add(fast, alpha=1 - m)  # here"), ""),
        (update("slow.data.lerp(fast.data, 1 - m)  # here"), ""),
        (update("kept = slow.data\nkept = kept * m + fast.data * (1 - m)  # here"), "kept"),
        ("def f(a, b):\n    own = a.state_dict()\n    for k, v in b.state_dict().items():\n        own[k] = own[k] * 0.9 + v * 0.1  # here\n", "own[k]"),
        ("for slow, fast in zip(a.parameters(), b.parameters()):\n    slow = 0.9 * slow + 0.1 * fast  # here\n", "slow"),
    ],
)  # fmt: skip
def test_new_values_that_nothing_reads_are_lost(source: str, name: str) -> None:
    lost = found(source)
    assert lost is not None
    assert lost[0] == name


@pytest.mark.parametrize(
    "source",
    [
        update("slow.data = m * slow + (1 - m) * fast  # here"),
        update("slow.mul_(m).add_(fast, alpha=1 - m)  # here"),
        update("slow = m * slow + (1 - m) * fast  # here\nfar.append(slow)"),
        update("slow = slow.data - fast.data  # here\ntotal += slow.norm()"),
        update("total = total + slow.mul(fast).sum()  # here", "total = 0"),
        update("meter.add(slow.data.norm())  # here"),
        update("far = slow.mul(fast)  # here", after="return far"),
        "def f(a):\n    global slow\n    for slow in a.parameters():\n        slow = 0.9 * slow  # here\n\ndef g():\n    return slow\n",
        "def f(a, b):\n    own = a.state_dict()\n    for k, v in b.state_dict().items():\n        own[k] = own[k] * 0.9 + v * 0.1  # here\n    a.load_state_dict(own)\n",
        "def f(own, b):\n    for k, v in b.state_dict().items():\n        own[k] = own[k] * 0.9 + v * 0.1  # here\n",
        "def f(slow, fast):\n    slow = 0.9 * slow + 0.1 * fast  # here\n",
    ],
)  # fmt: skip
def test_values_that_are_kept_read_or_carried_on_are_not(source: str) -> None:
    assert found(source) is None
