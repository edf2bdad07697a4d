"""What is to be run: a script, a notebook or a module, and what to say when it is not there."""

from __future__ import annotations

import difflib
import importlib.util
import os
import sys
from pathlib import Path

from trainlint.errors import UsageError
from trainlint.notebook import is_notebook, read_notebook

__all__ = ["check_target"]

#: What logs end in, which `curves` reads.
_LOGS = frozenset({".csv", ".tsv", ".json", ".jsonl", ".log", ".tfevents"})
#: Scripts named in place of one that is not there.
_LISTED = 6


def check_target(name: str, *, module: bool = False) -> None:
    """Raise UsageError with a hint when there is no such script, notebook or ``module``, or it cannot be read."""
    if module:
        _check_module(name)
    else:
        _check_script(name)


def _check_module(name: str) -> None:
    """Only the first part is looked for: to find what lies inside a package its code must run."""
    if Path(name).is_file():
        raise UsageError(f"{name} is a file, no module; leave out -m")
    package, found = name.partition(".")[0], sys.path[:]
    sys.path.insert(0, os.getcwd())
    try:
        there = importlib.util.find_spec(package) is not None
    except ImportError:
        there = False
    except ValueError:  # a name of Python's own; the run will tell
        there = True
    finally:
        sys.path[:] = found
    if not there:
        raise UsageError(f"there is no module {package}, neither in {os.getcwd()} nor installed; go to where `python -m {name}` runs")


def _check_script(script: str) -> None:
    path = Path(script)
    if not path.exists():
        raise UsageError(f"{script}: no such file{_instead(path)}")
    if path.is_dir():
        msg = f"{script} is a folder; name the script in it that trains"
        raise UsageError(msg)
    if path.suffix.lower() in _LOGS:
        raise UsageError(f"{script} is no Python file; `trainlint curves {script}` reads the log of a run")
    if not os.access(path, os.R_OK):
        msg = f"{script} cannot be read (permission denied)"
        raise UsageError(msg)
    if is_notebook(script):
        read_notebook(script)


def _instead(path: Path) -> str:
    """The file that may be meant, else those that lie in its folder."""
    names = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
    if near := difflib.get_close_matches(path.name, names, n=1):
        return f"; did you mean {path.parent / near[0]}?"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"; that folder has {', '.join(names[:_LISTED])}{more}" if names else ""
