from __future__ import annotations

import re
from dataclasses import replace

import pytest
import samples

from trainlint.finding import Fix, Outcome, Proof, Severity
from trainlint.location import Location
from trainlint.registry import load_catalogue
from trainlint.report import Cost, Report, Subject
from trainlint_reports.phrases import headline
from trainlint_reports.text import TextRenderer

render = TextRenderer().render

FAILURE = samples.finding(
    "TL313",
    "eval-mode",
    Outcome.FAIL,
    Severity.WARNING,
    message="2 of 2 validation passes ran in training mode.",
    evidence={"measured": 2, "expected": 0, "share": 1.0},
    location=Location("train.py", 64, "validate", "logits = model(images)"),
    why="Dropout drops.",
    source="torch.nn.Module.eval",
    fix=Fix(summary="Switch the mode.", code="-model(images)\n+model.eval()\n model(images)"),
    proof=Proof(helped=False, summary="Replayed in eval mode."),
)
ROOT = samples.finding("TL103", "output-activation", Outcome.FAIL, message="Softmax twice.")
PASSED = samples.finding("TL101", "init-loss", message="The first loss is 1.387.")
NOT_RUN = samples.finding("TL402", "schedule-cadence", Outcome.NOT_RUN, reason="there is no scheduler")
BLOCKED = samples.finding("TL301", "overfit-batch", Outcome.BLOCKED, reason="output-activation failed", blocked_by="output-activation")
REPORT = Report(
    subject=Subject(kind="script", name="train.py", notes=("Validation was cut short.",)),
    findings=(PASSED, ROOT, BLOCKED, FAILURE, NOT_RUN),
    start_here=ROOT,
    cost=Cost(seconds=12.34, step_equivalents=90.4, probes={"data_scan": 0.5}),
)


def test_root_cause_comes_first_then_the_others_and_the_counts() -> None:
    assert (
        render(REPORT)
        == """\
Start here

train.py: error TL103 output-activation
Softmax twice.

Also found

train.py:64: warning TL313 eval-mode
2 of 2 validation passes ran in training mode.
    |
 64 | logits = model(images)
    |
idea: Switch the mode.
    -model(images)
    +model.eval()
     model(images)
tried: Replayed in eval mode. It did not help.

note: Validation was cut short.

1 error found in train.py
1 error, 1 warning, 1 blocked, 1 passed, 1 not run · 12.3 s (90 step-equivalents)
`trainlint explain output-activation` says more.
"""
    )


def test_quiet_shows_failures_only() -> None:
    text = render(REPORT, verbosity=-1)
    assert text.startswith("train.py: error TL103 output-activation\n")
    assert "train.py:64: warning TL313 eval-mode" in text
    assert not any(words in text for words in ("Start here", "passed", "Validation was cut short", "explain"))
    assert render(samples.all_passed(), verbosity=-1) == ""


def test_verbose_adds_evidence_and_the_reasons_of_what_was_not_judged() -> None:
    text = render(REPORT, verbosity=1)
    assert "  = measured: 2\n  = expected: 0\n  = share: 1\nwhy: Dropout drops.\nsource: torch.nn.Module.eval\n" in text
    assert "⊘ TL301 overfit-batch  output-activation failed\n" in text
    assert "✓ TL101 init-loss  The first loss is 1.387.\n" in text
    assert "– TL402 schedule-cadence  there is no scheduler\n" in text
    assert "Time by measurement:\n  data scan 500 ms\n" in text


def test_several_lines_of_the_users_code_are_shown_with_the_place_marked() -> None:
    text = render(samples.eight_findings())
    assert " 30 |         x = x.flatten(1)\n>31 |         return F.softmax(self.head(x), dim=1)\n 32 |\n" in text


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_colour_only_when_asked_for(verbosity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    plain = render(samples.eight_findings(), verbosity=verbosity)
    assert "\x1b" not in plain
    monkeypatch.setenv("NO_COLOR", "1")
    coloured = render(samples.eight_findings(), color=True, verbosity=verbosity)
    assert "\x1b[1;31merror" in coloured
    stripped = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_names_from_outside_cannot_steer_the_terminal() -> None:
    text = render(samples.hostile(), verbosity=1)
    assert samples.HOSTILE in text
    assert "\\x1b[31m\\x00" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


def test_lines_are_wrapped_to_the_width_but_code_and_places_are_not() -> None:
    text = render(samples.eight_findings(), width=60)
    prose = [line for line in text.splitlines() if not line.startswith((" ", ">", "train.py:", "model.py:"))]
    assert max(map(len, prose)) <= 60
    assert "    train_loader = DataLoader(train_set, batch_size=64, num_workers=2, shuffle=True)\n" in text


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (samples.all_passed(), "No fault found in examples/digits.py\n10 passed, 3 not run"),
        (
            samples.crashed(),
            "The script raised an error in train.py\nWhat was recorded until then was judged: 2 checks passed, 11 could not be judged.\n",
        ),
        (samples.empty(), "Nothing could be judged in Net\n"),
    ],
    ids=["passed", "crashed", "empty"],
)
def test_verdict(report: Report, verdict: str) -> None:
    assert verdict in render(report)


def test_what_comments_took_back_is_not_said_to_be_unjudged() -> None:
    ignored = replace(FAILURE, outcome=Outcome.NOT_RUN, ignored=True, reason="ignored by a comment")
    verdict = headline(replace(REPORT, findings=(ignored,), start_here=None))
    assert (verdict.state, verdict.title) == ("pass", "Nothing left to report")
    assert verdict.text == "1 failure ignored by comments, and no other check ran."


def test_a_change_is_promised_only_where_fix_makes_it() -> None:
    diff = "--- train.py\n+++ train.py\n@@ -1,3 +1,3 @@\n \n-a\n+b\n \n"
    fix = Fix(summary="Do.", diff=diff)
    cause = samples.finding("TL210", "shuffle", Outcome.FAIL, fix=replace(fix, safe=True))
    symptom = samples.finding("TL304", "overfit-batch", Outcome.FAIL, fix=fix)
    note = samples.finding("TL404", "decay-groups", Outcome.FAIL, Severity.NOTE, fix=fix)
    root = next(c for c, s in load_catalogue().explains.items() if "overfit-batch" in s)
    found = [replace(cause, name=root), symptom, note]
    text = render(replace(REPORT, findings=tuple(found), start_here=found[0]))
    assert text.count("makes this change") == 1
    assert "`trainlint scan --fix` makes this change." in text
    assert f"it may come of {root}, which is to be mended first." in " ".join(text.split())
    assert "edits of notes that need review are left to you." in " ".join(text.split())
    assert "help: Do.\n    -a\n    +b\n  `" in text


def test_few_passed_checks_among_many_that_could_not_judge_are_no_clean_bill() -> None:
    passed = next(f for f in samples.all_passed() if f.outcome is Outcome.PASS)
    unseen = replace(passed, outcome=Outcome.NOT_RUN, reason="there is no model")
    assert headline(replace(REPORT, findings=(passed, *(unseen,) * 5), start_here=None)).title == "No fault found"
    assert headline(replace(REPORT, findings=(passed, *(unseen,) * 6), start_here=None)).title == "Hardly anything could be judged"


def test_warnings_alone_are_not_said_to_be_harmless() -> None:
    verdict = headline(replace(REPORT, findings=(FAILURE,), start_here=FAILURE))
    assert verdict.title == "No errors, 1 warning"
    assert verdict.text.startswith("It may cost the run. ")
    two = (FAILURE, replace(ROOT, severity=Severity.WARNING))
    assert headline(replace(REPORT, findings=two)).text.startswith("Each may cost the run. ")
