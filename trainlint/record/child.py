"""The script's own process, from its first line to its last."""

from __future__ import annotations

import json
import signal
import traceback
from pathlib import Path

from trainlint.record.lastwords import die_with_parent, leave_stack, no_core
from trainlint.record.leaving import leave

__all__ = ["main"]


def main(job_file: str) -> None:
    """Run the job written in a JSON file by the supervisor. Never returns."""
    folder = Path(job_file).parent
    try:
        die_with_parent(signal.SIGKILL)
        no_core()
        leave_stack(folder / "stack")
        from trainlint.record.script import Script  # imports torch, which takes its time and may crash

        Script(json.loads(Path(job_file).read_text("utf-8")), folder).run()
        leave(0)
    except KeyboardInterrupt:  # before the script began; whoever sent it says so
        leave(1)
    except BaseException:
        from trainlint.evidence import EvidenceWriter

        EvidenceWriter(folder / "evidence.jsonl", on_error=lambda _: None).line("status", internal=traceback.format_exc())
    leave(1)
