from __future__ import annotations

import subprocess
import sys

import pytest
import samples

from trainlint.finding import Report
from trainlint.registry import load_renderers
from trainlint_reports import RENDERERS

REPORTS = [samples.eight_findings(), samples.all_passed(), samples.crashed(), samples.hostile(), samples.empty()]


def test_formats_are_found_through_the_entry_point() -> None:
    found = load_renderers()
    assert {kind.name: kind for kind in RENDERERS}.items() <= {name: type(renderer) for name, renderer in found.items()}.items()
    assert {renderer.name: renderer.suffix for renderer in found.values()}.items() >= {
        "text": ".txt",
        "json": ".json",
        "html": ".html",
    }.items()


@pytest.mark.parametrize("kind", RENDERERS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.subject.name[:12])
def test_every_format_renders_every_report_as_text_that_can_be_written(kind: type, report: Report) -> None:
    text = kind().render(report, color=False, width=80, verbosity=0)
    assert text.endswith("\n")
    text.encode("utf-8")


def test_importing_the_formats_is_cheap() -> None:
    heavy = "import sys, trainlint_reports; print(*{'torch', 'matplotlib', 'numpy', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "\n"
