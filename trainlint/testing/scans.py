"""The scans of one test run: each script is scanned once, whichever worker asks first, and all read the result."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from trainlint.config import project_settings
from trainlint.report import Report
from trainlint.settings import Settings

__all__ = ["Scan", "Scans", "Script", "configure"]


@dataclass(frozen=True)
class Script:
    """A training script with its arguments."""

    path: Path
    args: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> Settings:
        """What the project of the script says."""
        return project_settings(self.path.parent)


@dataclass(frozen=True)
class Scan:
    """What came of one scan."""

    report: Report | None
    problem: str = ""
    """Why the script could not be run to enough steps; empty when it could."""


@dataclass
class Scans:
    """All scripts of this run, and the folder in which their scans are shared."""

    scripts: tuple[Script, ...]
    folder: Path
    owner: bool
    """Whether this process made the folder and removes it."""
    html: Path | None = None
    """Where the HTML reports go: beside the JUnit file, when one is written."""
    _known: dict[Path, Scan] = field(default_factory=dict)

    def script_at(self, path: Path) -> Script | None:
        """The script in that file, None when it is no script of ours."""
        return next((s for s in self.scripts if s.path == path), None)

    def of(self, script: Script) -> Scan:
        """The scan of a script: made now, or by another process of this run."""
        if script.path not in self._known:
            from filelock import FileLock

            with FileLock(self._file(script, ".lock")):
                self._known[script.path] = self.made(script) or self._make(script)
        return self._known[script.path]

    def made(self, script: Script) -> Scan | None:
        """The scan of a script if some process of this run has made it."""
        from trainlint.serialise import from_json

        done, saved = self._file(script, ".txt"), self._file(script, ".json")
        if not done.exists():
            return None
        return Scan(from_json(saved.read_text("utf-8")) if saved.exists() else None, done.read_text("utf-8"))

    def close(self) -> None:
        """Remove the shared folder, in the process that made it."""
        if self.owner:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, script: Script) -> Scan:
        from trainlint.commands.options import marker
        from trainlint.errors import TrainlintError
        from trainlint.scanning import ScanError, scan

        try:
            made = Scan(scan(_shown(script.path), script.args, settings=script.settings))
        except ScanError as error:
            made = Scan(error.report, str(error))
        except TrainlintError as error:
            made = Scan(None, str(error))
        if made.report is not None:
            made = Scan(marker(script.settings)(made.report), made.problem)
            assert made.report is not None
            self._file(script, ".json").write_text(made.report.to_json(), "utf-8")
            if self.html is not None:
                self.html.mkdir(parents=True, exist_ok=True)
                self.html_file(script).write_text(made.report.to_html(), "utf-8")
        self._file(script, ".txt").write_text(made.problem, "utf-8")
        return made

    def html_file(self, script: Script) -> Path:
        """Where the HTML report of a script goes, beside the JUnit file."""
        return (self.html or Path()) / f"trainlint-{script.path.stem}.html"

    def _file(self, script: Script, suffix: str) -> Path:
        return self.folder / f"{self.scripts.index(script)}{suffix}"


def configure(config: pytest.Config) -> Scans:
    """Take the scripts from the options and the ini file, and have pytest collect them.

    Scripts named on the command line are all that is collected, unless tests are named too; those of the ini file join a run
    that names nothing.
    """
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    root = config.inipath.parent if config.inipath else config.rootpath
    named = tuple(_parsed(line, config.invocation_params.dir) for line in config.getoption("--trainlint"))
    listed = tuple(_parsed(line, root) for line in config.getini("trainlint_scripts"))
    known = {s.path: s for s in (*listed, *named)}
    if worker is None:
        chosen = config.args_source is pytest.Config.ArgsSource.ARGS
        if named and not chosen:
            config.args[:] = []
        wanted = named if named or chosen else listed
        given = {
            (config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args
        }  # `train.py::shuffle` asks for one item
        config.args += [str(s.path) for s in wanted if s.path not in given]
    junit = config.getoption("xmlpath", None)
    folder = Path(worker["trainlint_folder"]) if worker else Path(tempfile.mkdtemp(prefix="trainlint-pytest-"))
    html = (config.invocation_params.dir / junit).parent if junit else None
    return Scans(tuple(known.values()), folder, owner=worker is None, html=html)


def _parsed(line: str, folder: Path) -> Script:
    """``train.py --epochs 3``, or with ``--`` between the script and its arguments."""
    words = shlex.split(line)
    if not words:
        msg = "--trainlint and trainlint_scripts take a script and its arguments, such as 'train.py --epochs 3'"
        raise pytest.UsageError(msg)
    path = (folder / words[0]).resolve()
    if not path.is_file():
        msg = f"trainlint: there is no script {path}"
        raise pytest.UsageError(msg)
    args = words[1:]
    return Script(path, tuple(args[1:] if args[:1] == ["--"] else args))


def _shown(path: Path) -> str:
    """A path relative to the working directory where it lies below it, as a user would have typed it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
