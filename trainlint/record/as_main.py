"""Runs a script as Python would run it: as ``__main__``, with its own arguments and import path; a notebook's cells as Jupyter would."""

from __future__ import annotations

import importlib.util
import linecache
import os
import sys
import types
from typing import Any

from trainlint.notebook import Notebook, is_notebook, read_notebook

__all__ = ["notebook_of", "run_as_main"]


def run_as_main(job: dict[str, Any]) -> None:
    """Execute the script as ``python script.py`` or ``python -m module`` would, a notebook's cells as Jupyter would run them all."""
    main_module = types.ModuleType("__main__")
    sys.modules["__main__"] = main_module
    if job.get("module"):
        sys.path.insert(0, os.getcwd())
        name = job["module"]
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(name + ".__main__")
        if spec is None or spec.origin is None:
            msg = f"No module named {name}"
            raise ModuleNotFoundError(msg)
        path, main_module.__spec__, main_module.__package__ = spec.origin, spec, spec.parent or ""
        sys.argv = [path, *job["args"]]
    else:
        path = job["script"]
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
        sys.argv = [path, *job["args"]]
    if (notebook := notebook_of(job)) is not None:
        _run_cells(notebook, main_module)
        return
    main_module.__file__ = os.path.abspath(path) if job.get("module") else path
    main_module.__dict__["__builtins__"] = __builtins__
    with open(path, "rb") as source:
        code = compile(source.read(), os.path.abspath(path), "exec")
    exec(code, main_module.__dict__)


def notebook_of(job: dict[str, Any]) -> Notebook | None:
    """The notebook that a job runs; None when it runs a script or a module."""
    return read_notebook(job["script"]) if not job.get("module") and is_notebook(job["script"]) else None


def _run_cells(notebook: Notebook, main_module: types.ModuleType) -> None:
    """Run the cells as one script, in the notebook's folder, with what IPython puts into a notebook's names."""
    path = notebook.file
    # Without a time of change the lines stay in the cache, for whoever reads the source of a running line.
    linecache.cache[path] = (len(notebook.script), None, notebook.script.splitlines(keepends=True), path)
    main_module.__dict__.update(__builtins__=__builtins__, display=lambda *_, **__: None, get_ipython=lambda: None)
    try:
        code = compile(notebook.script, path, "exec")
    except SyntaxError as error:
        error.text = linecache.getline(path, error.lineno or 0)  # Python has looked into the file, which is JSON
        raise
    os.chdir(os.path.dirname(path))
    exec(code, main_module.__dict__)
