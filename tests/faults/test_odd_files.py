"""Files that trainlint reads, damaged in any way: each is used, or refused with one message that names it."""

from __future__ import annotations

import contextlib
import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "reports"))

import samples

from trainlint.cli import main
from trainlint.config import read_config
from trainlint.errors import TrainlintError, UsageError
from trainlint.evidence import read_evidence
from trainlint.registry import load_catalogue
from trainlint.renderers import load_renderers
from trainlint.report import Report
from trainlint.scanning import judge
from trainlint.serialise import from_json, to_json
from trainlint.settings import Settings

MANY = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["nan", "fail", "</script>", "\u2028", "\x00", "../..", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a JSON value with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def damaged(value: Any, data: st.DataObject) -> Any:
    """The value with up to three of its parts replaced by something odd, or taken out."""
    value = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 3))):
        found = list(places(value))
        container, key = found[data.draw(st.integers(0, len(found) - 1))]
        if data.draw(st.booleans()):
            container[key] = data.draw(ODD)
        else:
            del container[key]
    return value


@settings(MANY, max_examples=12)
@given(st.data())
def test_a_damaged_report_is_shown_in_every_format_or_refused(data: st.DataObject) -> None:
    whole = json.loads(to_json(data.draw(st.sampled_from([samples.eight_findings, samples.proven, samples.hostile]))()))
    try:
        report = from_json(json.dumps(damaged(whole, data)))
    except UsageError:
        return
    assert isinstance(report, Report)
    for name, renderer in load_renderers().items():
        page = renderer.render(report, color=False, width=80, verbosity=1)
        assert page.encode("utf-8")
        if name == "html":
            assert "<script" not in page
            assert "\x00" not in page


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"null", b"[[[[", b"[" * 100_000, b'{"schema": 1, "schema": 1', b"\x00" * 9, b'"' + b"x" * 10**6]
)
def test_what_is_no_report_is_one_message(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content)
    done = CliRunner().invoke(main, ["view", str(tmp_path / "report.json")])
    assert done.exit_code == 2
    assert "report.json" in done.output
    assert "Traceback" not in done.output


KEYS = st.sampled_from(["select", "ignore", "fail-on", "budget", "seed", "baseline", "rules", "tool", "trainlint", "odd key", ""])
VALUES = st.sampled_from(
    [
        '"60s"',
        '"0s"',
        "-1",
        "1e400",
        "nan",
        "true",
        "[]",
        '["shuffle"]',
        "[1]",
        '"error"',
        "{}",
        "{shuffle = 1}",
        "{shuffle = {severity = 3}}",
        "1979-05-27",
        '"\\u0000"',
        '"x',
    ]
)


@MANY
@given(st.lists(st.tuples(KEYS, VALUES), max_size=4, unique_by=lambda pair: pair[0]), st.booleans())
def test_any_settings_are_read_or_refused(tmp_path: Path, pairs: list[tuple[str, str]], own: bool) -> None:
    path = tmp_path / ("trainlint.toml" if own else "pyproject.toml")
    path.write_text(("" if own else "[tool.trainlint]\n") + "".join(f'"{k}" = {v}\n' for k, v in pairs))
    try:
        read = read_config(path)
        load_catalogue().choose(read.select, read.ignore, read.options)
    except TrainlintError:
        return
    assert isinstance(read, Settings)


@MANY
@given(st.binary(max_size=60))
def test_any_bytes_in_place_of_settings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trainlint.toml").write_bytes(content)
    with contextlib.suppress(UsageError):
        read_config(tmp_path / "trainlint.toml")


LINES = [
    {"kind": "status", "ended": "recorded", "notes": ["a"], "step_seconds": 0.01, "environment": {"python": "3"}},
    {"kind": "unmeasured", "name": "overfit", "data": {"name": "overfit", "reason": "no"}, "seconds": 0.1},
    {"kind": "proof", "name": "shuffle", "data": {"helped": True, "summary": "it did"}},
    {"kind": "training", "number": 2},
    {"kind": "progress", "text": "step 3"},
]


@settings(MANY, max_examples=25)
@given(st.data())
def test_damaged_evidence_is_judged_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    lines = [json.dumps(line) for line in damaged(LINES, data)]
    (tmp_path / "evidence.jsonl").write_text("\n".join(lines), "utf-8", "surrogatepass")
    try:
        evidence = read_evidence(tmp_path / "evidence.jsonl")
    except UsageError:
        return
    assert isinstance(judge(evidence, Settings(select=("shuffle", "overfit-batch"))), Report)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b"null\n", b'{"kind": "measurement", "name": "nothing", "data": {}, "seconds": 0}']
)
def test_what_is_no_evidence_is_one_message(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").write_bytes(content)
    done = CliRunner().invoke(main, ["judge", str(tmp_path / "evidence.jsonl")])
    assert done.exit_code == 2
    assert "evidence.jsonl" in done.output
    assert "Traceback" not in done.output
