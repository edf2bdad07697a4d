"""Notebooks as scripts: which lines become what, and what is no notebook."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainlint.errors import UsageError
from trainlint.notebook import Notebook, read_notebook
from trainlint.record.as_main import run_as_main


def cell(source: str, kind: str = "code", **metadata: Any) -> dict[str, Any]:
    held = {"cell_type": kind, "metadata": metadata, "source": source.splitlines(keepends=True)}
    return held if kind == "markdown" else {**held, "execution_count": None, "outputs": []}


def written(folder: Path, *cells: dict[str, Any], **content: Any) -> str:
    path = folder / "train.ipynb"
    path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **content}, indent=1) + "\n")
    return str(path)


def read(folder: Path, *sources: str) -> Notebook:
    return read_notebook(written(folder, *map(cell, sources)))


def test_code_cells_follow_one_another_and_know_their_places(tmp_path: Path):
    path = written(tmp_path, cell("# Title", "markdown"), cell("a = 1\nb = 2"), cell("  \n"), cell("c = 3\n\nd = 4"))
    notebook = read_notebook(path)
    lines = notebook.script.splitlines()
    assert [notebook.place(lines.index(line) + 1) for line in ("a = 1", "b = 2", "c = 3", "d = 4")] == [(1, 1), (1, 2), (2, 1), (2, 3)]
    assert lines[notebook.line(2, 3) - 1] == "d = 4"
    assert notebook.lines(2) == ["c = 3", "", "d = 4"]


@pytest.mark.parametrize(
    ("line", "python"),
    [
        ("%matplotlib inline", "pass"),
        ("!pip install timm", "pass"),
        ("files = !ls", "files = []"),
        ("took = %timeit -o f()", "took = None"),
        ("%time y = f(x)", "y = f(x)"),
        ("%timeit -n 10 f(x)", "f(x)"),
        ("%cd data", "__import__('os').chdir(__import__('os').path.expanduser('data'))"),
        ("%env SEED=1", "__import__('os').environ['SEED'] = '1'"),
        ("torch.nn?", "pass"),
    ],
)
def test_lines_of_ipython_become_what_they_stand_for(line: str, python: str, tmp_path: Path):
    assert read(tmp_path, line).lines(1) == [f"{python}  # IPython: {line}"]


@pytest.mark.parametrize(
    "source", ["x = (7\n  % 2)", "x = 7 \\\n % 2", 'text = """\n%no magic\n!nor this\n"""', "x != 1", "x %= 2", "x = a % b"]
)
def test_python_is_left_as_it_is(source: str, tmp_path: Path):
    notebook = read(tmp_path, source)
    assert notebook.lines(1) == source.split("\n")
    assert not notebook.note


def test_what_is_skipped_is_named_with_its_place(tmp_path: Path):
    notebook = read(tmp_path, "import os\nif True:\n    !pip install a \\\n      b\n    x = 1", "%%bash\nls\nrm -r x", "%%time\ny = 2")
    assert "cell 1, line 3: !pip install a" in notebook.note
    assert "cell 2, line 1: %%bash" in notebook.note
    assert "cell 3" not in notebook.note
    names: dict[str, Any] = {}
    exec(notebook.script, names)
    assert (names["x"], names["y"]) == (1, 2)


def test_a_cell_tagged_to_be_skipped_is_skipped(tmp_path: Path):
    notebook = read_notebook(written(tmp_path, cell("1 / 0", tags=["skip-execution"]), cell("x = 1")))
    exec(notebook.script)
    assert notebook.skipped == ("cell 1: tagged skip-execution",)


@given(st.lists(st.text(st.sampled_from("ab%!?=\\\n\"'( )#:.1"), min_size=1, max_size=60).filter(str.strip), min_size=1, max_size=3))
def test_any_text_keeps_its_lines_and_comes_apart_again(tmp_path_factory: pytest.TempPathFactory, sources: list[str]):
    notebook = read(tmp_path_factory.mktemp("n"), *sources)
    kept = [s.removesuffix("\n") for s in sources]
    assert [len(c.lines) for c in notebook.cells] == [s.count("\n") + 1 for s in kept]
    assert list(notebook.taken_apart(notebook.script).values()) == kept


def test_python_sources_survive_any_magic_around_them(tmp_path: Path):
    notebook = read(tmp_path, "%load_ext autoreload\n%autoreload 2\ndef f(x):\n    !echo {x}\n    return x")
    ast.parse(notebook.script)
    assert notebook.taken_apart(notebook.script)[1].split("\n")[3] == "    !echo {x}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is no notebook: it is not JSON"),
        ("[]", "names no nbformat"),
        ('{"nbformat": 3, "worksheets": []}', "format 3; bring it to format 4"),
        ('{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "a notebook for r, not for Python"),
        ('{"nbformat": 4, "cells": [1], "metadata": {}}', "a cell of it is no object"),
        ('{"nbformat": 4, "cells": [], "metadata": {}}', "no code cells"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(content: str, message: str, tmp_path: Path):
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_notebook(str(path))


def test_tracebacks_name_cell_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    notebook = read(tmp_path, "x = 1", "\nprint(x)")
    text = f'  File "{notebook.file}", line {notebook.line(2, 2)}, in <module>'
    assert notebook.placed(text) == f'  File "{notebook.path}", cell 2, line 2, in <module>'


def test_cells_run_in_the_notebooks_folder_with_ipythons_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    monkeypatch.setitem(__import__("sys").modules, "__main__", __import__("sys").modules["__main__"])
    monkeypatch.setattr("sys.argv", [])
    (tmp_path / "inner").mkdir()
    path = written(tmp_path / "inner", cell("from pathlib import Path\ndisplay(1)\nget_ipython()\nPath('here').touch()"))
    run_as_main({"script": path, "module": "", "args": []})
    assert (tmp_path / "inner" / "here").exists()
