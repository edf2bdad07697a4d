"""Whatever a file holds, there is a verdict or one clear message, and nothing in it is ever executed."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest
from events import log as event_log
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainlint.curves.classify import classify
from trainlint.curves.errors import LogError
from trainlint.curves.shapes import SHAPES

CORPUS = {
    "empty": (b"", "it is empty"),
    "blank": (b"\n \n", "nothing but blanks"),
    "garbage": (random.Random(0).randbytes(5000), "it is binary"),
    "header and garbage": (b"loss,val\n" + random.Random(1).randbytes(5000), "it is binary"),
    "compressed": (b"\x1f\x8b\x08\x00rest", "unpack it first"),
    "checkpoint": (b"PK\x03\x04rest", "zip archive"),
    "header only": (b"epoch,loss\n", "no numbers were found"),
    "prose": (b"Once upon a time.\nThere was a model.\n" * 9, "no numbers were found"),
    "cut JSON": (b'{"log_history": [{"loss": 0.5, "step": 1}, {"loss": 0.', "begins as JSON but is not whole"),
    "deep JSON": (b"[" * 100_000, "nested too deeply"),
    "words only": (b"name,loss\nfirst,abc\nsecond,def\n", "hold words|no numbers"),
}


@pytest.mark.parametrize("case", CORPUS)
def test_what_cannot_be_read_is_said_in_one_message(case: str, tmp_path: Path) -> None:
    data, message = CORPUS[case]
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(LogError, match=message):
        classify(tmp_path / "log")


def test_a_missing_file_is_said() -> None:
    with pytest.raises(LogError, match="No such file"):
        classify("nowhere.csv")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    for protocol in range(2, 6):
        (tmp_path / "log").write_bytes(pickle.dumps({"loss": Harm()}, protocol))
        with pytest.raises(LogError, match="pickle, which can run code"):
            classify(tmp_path / "log")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("text", "shape"),
    [("epoch,loss\n1,0.5\n", "too-short"), ("epoch,loss\n1,a\n2,b\n3,c\n", "not-a-curve"), ("epoch,loss\n" + "1,nan\n" * 9, "diverged")],
)
def test_too_little_is_a_verdict_of_its_own(text: str, shape: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(text)
    assert classify(tmp_path / "log").runs[0].shape == shape


@pytest.mark.parametrize("size", [0.3, 0.6, 0.97])
def test_a_cut_event_file_is_read_as_far_as_it_goes(size: float, tmp_path: Path) -> None:
    data = event_log(40)
    (tmp_path / "log").write_bytes(data[: int(len(data) * size)])
    found = classify(tmp_path / "log")
    assert any("in the middle of" in note for note in found.notes)
    assert found.runs[0].evidence["points"] == pytest.approx(40 * size, abs=2)


def test_a_damaged_event_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    data = bytearray(event_log(40))
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    (tmp_path / "log").write_bytes(data)
    assert any("damaged" in note for note in classify(tmp_path / "log").notes)


def survives(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        found = classify(path)
    except LogError:
        return
    assert all(run.shape in SHAPES and run.summary for run in found.runs)


MANY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CELLS = st.one_of(
    st.floats(width=32).map(str),
    st.integers(-9, 10**6).map(str),
    st.sampled_from(["", "nan", "inf", "-inf", "1e308", "1e-320", "abc", "0.5%", '"', "[1]", "\x00", "é"]),
)


@MANY
@given(st.binary(max_size=400))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    survives(tmp_path / "log", data)


@MANY
@given(
    st.lists(
        st.sampled_from(["epoch", "step", "loss", "val_loss", "acc", "lr", "model", "", "x - y", "grad_norm"]), min_size=1, max_size=5
    ),
    st.lists(st.lists(CELLS, max_size=6), max_size=25),
    st.sampled_from(",;\t| "),
)
def test_any_table(tmp_path: Path, names: list[str], rows: list[list[str]], delimiter: str) -> None:
    survives(tmp_path / "log", "\n".join(delimiter.join(row) for row in [names, *rows]).encode())


@MANY
@given(st.data())
def test_any_cut_or_flip_of_an_event_file(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(event_log(5))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(12, len(content) - 1))] = data.draw(st.integers(0, 255))
    survives(tmp_path / "log", bytes(content[: data.draw(st.integers(0, len(content)))]))


@MANY
@given(
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["loss", "epoch", "history", "a"]), inner, max_size=4),
        max_leaves=20,
    )
)
def test_any_json(tmp_path: Path, value: object) -> None:
    import json

    survives(tmp_path / "log", json.dumps(value).encode())


@MANY
@given(
    st.lists(
        st.sampled_from(
            [
                "Epoch",
                "loss:",
                "val_loss=",
                "0.5",
                "nan",
                "1/2",
                "-",
                "train",
                "Validation",
                ":",
                "|",
                "[",
                "12.5%",
                "acc",
                "1e9",
                "{",
                "}",
                "\r",
                "from",
                "12:30:01",
            ]
        ),
        max_size=60,
    ),
    st.lists(st.integers(1, 6), max_size=20),
)
def test_any_text(tmp_path: Path, words: list[str], breaks: list[int]) -> None:
    parts = iter(words)
    lines = [" ".join(w for _, w in zip(range(size), parts, strict=False)) for size in breaks]
    survives(tmp_path / "log", "\n".join(lines).encode())
