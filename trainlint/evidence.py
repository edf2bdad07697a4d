"""Evidence files: measurements as they are made, one JSON line each, so that a killed run leaves what it had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trainlint.errors import UsageError
from trainlint.finding import Proof
from trainlint.lines import LineFile
from trainlint.measurements import MEASUREMENTS, Measurement, Unmeasured

__all__ = ["Evidence", "EvidenceWriter", "read_evidence"]


class EvidenceWriter:
    """Appends to an evidence file; each line is in the file before the call returns. ``on_error`` is told when that fails."""

    def __init__(self, path: Path, on_error: Callable[[OSError], object] | None = None) -> None:
        self._file = LineFile(path, on_error) if on_error is not None else LineFile(path)

    def line(self, kind: str, **content: Any) -> None:
        """Write one line of any kind."""
        self._file.add({"kind": kind, **msgspec.to_builtins(content)})

    def measurement(self, item: Measurement | Unmeasured, seconds: float = 0.0) -> None:
        """Write a measurement or why there is none."""
        kind = "unmeasured" if isinstance(item, Unmeasured) else "measurement"
        self.line(kind, name=item.name, data=item, seconds=seconds)

    def proof(self, rule: str, proof: Proof) -> None:
        """Write what came of trying the fix of a rule's failure."""
        self.line("proof", name=rule, data=proof)


class _Status(msgspec.Struct):
    """What a ``status`` line may say, each with its type."""

    ended: str = ""
    crash: str = ""
    place: str = ""
    internal: str = ""
    done: bool = False
    notes: list[str] = []
    environment: dict[str, str] = {}
    step_seconds: float | None = None
    children_seconds: float = 0.0
    cut_short: bool = False


class Evidence:
    """What an evidence file holds."""

    def __init__(self) -> None:
        self.measurements: dict[str, Measurement | Unmeasured] = {}
        self.proofs: dict[str, Proof] = {}
        """What came of trying the fixes, by rule."""
        self.earlier: Evidence | None = None
        """What was measured of an earlier training of the same script."""
        self.seconds: dict[str, float] = {}
        self.status: dict[str, Any] = {}
        """The last ``status`` lines, merged: how the script ended, notes, environment, step time."""

    def measure(self, kind: type[Measurement]) -> Measurement | Unmeasured:
        """The measurement, or why it is missing."""
        found = self.measurements.get(kind.name)
        return found if found is not None else Unmeasured(name=kind.name, reason="the run ended before this was measured")

    def take(self, line: str) -> str | None:
        """Take in one line; returns the text of a progress line."""
        entry = json.loads(line)
        kind = entry.pop("kind")
        if kind == "measurement":
            self.measurements[entry["name"]] = msgspec.convert(entry["data"], MEASUREMENTS[entry["name"]], strict=False)
            self.seconds[entry["name"]] = entry["seconds"]
        elif kind == "unmeasured":
            self.measurements[entry["name"]] = msgspec.convert(entry["data"], Unmeasured)
        elif kind == "proof":
            self.proofs[entry["name"]] = msgspec.convert(entry["data"], Proof, strict=False)
        elif kind == "training":
            self.earlier = Evidence()
            self.earlier.measurements, self.earlier.seconds, self.earlier.proofs = self.measurements, self.seconds, self.proofs
            self.measurements, self.seconds, self.proofs = {}, {}, {}
        elif kind == "status":
            msgspec.convert(entry, _Status)
            self.status.update(entry)
        elif kind == "progress":
            return str(entry["text"])
        return None


def read_evidence(path: Path) -> Evidence:
    """Read an evidence file written by ``--save-evidence``. Raises UsageError when it cannot be read, or is something else."""
    evidence = Evidence()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as an evidence file: {error}"
        raise UsageError(msg) from error
    for number, line in enumerate(lines, 1):
        try:
            evidence.take(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # msgspec's own is a ValueError
            msg = f"{path}:{number} is not a line of an evidence file ({error})"
            raise UsageError(msg) from error
    if not evidence.measurements and not evidence.status:
        msg = f"{path} holds no measurements; `trainlint scan --save-evidence` writes such a file"
        raise UsageError(msg)
    return evidence
