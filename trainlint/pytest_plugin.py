"""The pytest plugin: training scripts as test items, a fixture for objects, a marker, a summary.

``pytest --trainlint train.py`` judges a script, one item a rule. This module is imported by every run of pytest in the
environment, so everything but the declarations is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trainlint.testing.assertions import Assertions
    from trainlint.testing.scans import Scans

_SCANS: pytest.StashKey[Scans] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--trainlint`` and ``trainlint_scripts``."""
    parser.getgroup("trainlint").addoption(
        "--trainlint",
        action="append",
        default=[],
        metavar="SCRIPT",
        help="Scan a training script, one test item a rule. With arguments of its own: --trainlint 'train.py --epochs 3'. Repeatable.",
    )
    parser.addini(
        "trainlint_scripts", "Training scripts, with their arguments, that are scanned in every run that names no tests.", type="linelist"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and add the scripts to what is collected."""
    config.addinivalue_line("markers", "trainlint(select=..., ignore=..., budget=...): settings of the `trainlint` fixture in this test")
    if config.getoption("--trainlint") or config.getini("trainlint_scripts"):
        from trainlint.testing.scans import configure

        config.stash[_SCANS] = configure(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the scans are shared."""
    if (scans := node.config.stash.get(_SCANS, None)) is not None:
        node.workerinput["trainlint_folder"] = str(scans.folder)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collect a script as items of rules, and never as a test module: that would import it and train."""
    collected = yield
    scans = parent.config.stash.get(_SCANS, None)
    if scans is None or (script := scans.script_at(file_path)) is None:
        return collected
    from trainlint.testing.items import ScriptFile

    return [ScriptFile.from_parent(parent, path=file_path, script=script, scans=scans)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for each script, and where its report is."""
    if (scans := config.stash.get(_SCANS, None)) is not None:
        from trainlint.testing.summary import summarise

        summarise(terminalreporter, scans)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the workers shared."""
    if (scans := config.stash.get(_SCANS, None)) is not None:
        scans.close()


@pytest.fixture
def trainlint(request: pytest.FixtureRequest) -> Assertions:
    """Checks and assertions on models and loaders, with the settings of the test's ``trainlint`` marker."""
    from trainlint.testing.assertions import Assertions

    marker = request.node.get_closest_marker("trainlint")
    return Assertions(**(marker.kwargs if marker is not None else {}))
