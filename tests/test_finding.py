"""A finding said in a few lines, as assertion messages and pytest items show it, and the report that holds it."""

from __future__ import annotations

from trainlint.finding import Finding, Fix, Outcome, Severity, Stage
from trainlint.report import Report, Subject

DIFF = """\
--- train.py
+++ train.py
@@ -1,5 +1,6 @@

 for x, y in loader:
+    optimizer.zero_grad()
     loss = F.cross_entropy(model(x), y)
     loss.backward()

"""


def told(fix: Fix) -> str:
    return str(
        Finding(
            code="TL305", name="gradient-accumulation", stage=Stage.GRADIENTS, outcome=Outcome.FAIL, severity=Severity.ERROR,
            message="Gradients pile up.", fix=fix,
        )
    )  # fmt: skip


def test_the_change_of_the_users_own_lines_is_shown_where_it_is_known() -> None:
    assert told(Fix(summary="Clear them.", code="optimizer.zero_grad()\nloss.backward()", diff=DIFF)) == (
        "TL305 gradient-accumulation (error): Gradients pile up.\n"
        "  fix: Clear them.\n"
        "     for x, y in loader:\n"
        "    +    optimizer.zero_grad()\n"
        "         loss = F.cross_entropy(model(x), y)\n"
        "         loss.backward()\n"
        "  more: trainlint explain gradient-accumulation"
    )


def test_the_rules_own_lines_are_shown_where_no_change_is_known() -> None:
    assert "    optimizer.zero_grad()\n    loss.backward()\n" in told(Fix(summary="Clear.", code="optimizer.zero_grad()\nloss.backward()"))


def test_code_that_is_no_change_of_the_users_lines_is_called_an_example() -> None:
    assert "fix: Clear. For example:\n" in told(Fix(summary="Clear.", code="optimizer.zero_grad()"))
    assert "example" not in told(Fix(summary="Clear.", code="optimizer.zero_grad()", diff=DIFF))


def test_findings_and_reports_are_printed_as_text() -> None:
    finding = Finding(
        code="TL305",
        name="gradient-accumulation",
        stage=Stage.GRADIENTS,
        outcome=Outcome.FAIL,
        severity=Severity.ERROR,
        message="Gradients pile up.",
    )
    report = Report(subject=Subject(kind="script", name="train.py"), findings=(finding,), start_here=finding)
    assert str(finding).startswith("TL305 gradient-accumulation (error): Gradients pile up.")
    assert "Gradients pile up." in str(report)
    assert "Finding(" not in str(report)
