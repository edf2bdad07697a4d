"""Collection, selection, and what stands in a failure, with scans that are given; the fixture and its marker."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.errors import FindingsError, InputError, UsageError
from trainlint.finding import Finding, Fix, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.report import Report, Subject
from trainlint.scanning import ScanError
from trainlint.testing.assertions import Assertions, stub

pytest_plugins = ("pytester",)


def finding(name: str, outcome: Outcome = Outcome.PASS, severity: Severity = Severity.ERROR, reason: str = "") -> Finding:
    fix = Fix(summary="Mend it.", code="mended()") if outcome is Outcome.FAIL else None
    return Finding(
        code="TL101", name=name, stage=Stage.WIRING, outcome=outcome, severity=severity, message=f"{name} says 3.", reason=reason, fix=fix,
        location=Location("train.py", 7, text="loss.backward()"),
    )  # fmt: skip


REPORT = Report(
    subject=Subject(kind="script", name="train.py"),
    findings=(
        finding("init-loss", Outcome.FAIL), finding("shuffle", Outcome.FAIL, Severity.WARNING), finding("loop-order"),
        finding("padding", Outcome.NOT_RUN, reason="there is no padding"),
    ),
)  # fmt: skip


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a script whose scan gives REPORT."""
    monkeypatch.setattr("trainlint.scanning.scan", lambda script, args=(), **_: REPORT)
    pytester.makepyfile(train="raise SystemExit('never imported')")
    (pytester.path / "trainlint.toml").write_text('select = ["init-loss", "shuffle", "loop-order", "padding"]')
    return pytester


def test_errors_fail_warnings_pass_and_what_was_not_judged_is_skipped(project: pytest.Pytester) -> None:
    done = project.runpytest("--trainlint", "train.py --epochs 3", "-rs")
    done.assert_outcomes(passed=3, failed=1, skipped=1)
    done.stdout.fnmatch_lines(
        ["*train.py: init-loss*", "TL101 init-loss (error): init-loss says 3.", "  at train.py:7    loss.backward()", "  fix: Mend it. For example:", "    mended()",
         "*= trainlint =*", "train.py: 1 error, 1 warning; 1 rules passed, *", "  warning: train.py:7: TL101 shuffle: *", "*train.py:1: there is no padding"]
    )  # fmt: skip


def test_fail_on_counts(project: pytest.Pytester) -> None:
    (project.path / "trainlint.toml").write_text('select = ["init-loss", "shuffle"]\nfail-on = "warning"')
    project.runpytest("--trainlint", "train.py").assert_outcomes(passed=1, failed=2)


def test_items_are_chosen_by_name_by_id_and_by_the_last_failure(project: pytest.Pytester) -> None:
    project.runpytest("--trainlint", "train.py", "-k", "loop-order").assert_outcomes(passed=1, deselected=4)
    project.runpytest("--trainlint", "train.py", "train.py::init-loss").assert_outcomes(failed=1)
    project.runpytest("--trainlint", "train.py", "-p", "cacheprovider").assert_outcomes(passed=3, failed=1, skipped=1)
    project.runpytest("--trainlint", "train.py", "--lf", "-p", "cacheprovider").assert_outcomes(failed=1, deselected=4)


def test_listed_scripts_join_a_run_that_names_nothing(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\ntrainlint_scripts = train.py")
    project.makepyfile(test_other="def test_it(): pass")
    project.runpytest().assert_outcomes(passed=4, failed=1, skipped=1)
    project.runpytest("test_other.py").assert_outcomes(passed=1)


def test_without_the_plugin_nothing_is_collected(project: pytest.Pytester) -> None:
    project.makepyfile(test_other="def test_it(): pass")
    project.runpytest_subprocess("-p", "no:trainlint").assert_outcomes(passed=1)


def test_a_script_that_does_not_run_fails_once_and_never_passes(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_, **__) -> Report:
        raise ScanError("train.py crashed before its first training step")

    monkeypatch.setattr("trainlint.scanning.scan", crash)
    done = project.runpytest("--trainlint", "train.py")
    done.assert_outcomes(failed=1, skipped=4)
    done.stdout.fnmatch_lines(["train.py crashed before its first training step"])
    project.runpytest("--trainlint", "train.py", "-k", "shuffle").assert_outcomes(failed=1, deselected=4)


def test_a_script_or_setting_that_is_not_there_is_one_message(project: pytest.Pytester) -> None:
    assert "there is no script" in str(project.runpytest("--trainlint", "trian.py").stderr)
    (project.path / "trainlint.toml").write_text('slect = ["init-loss"]')
    project.runpytest("--trainlint", "train.py").stdout.fnmatch_lines(["*did you mean 'select'*"])


def test_the_marker_sets_what_the_fixture_uses(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.mark.trainlint(select=["shuffle"], budget="30s")
        def test_it(trainlint):
            assert trainlint._settings == {"only": ["shuffle"], "budget": 30.0}
        @pytest.mark.trainlint(slect=["shuffle"])
        def test_wrong(trainlint): pass
    """)
    done = pytester.runpytest("--strict-markers")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*did you mean 'select'*"])


def data(seed: int, n: int = 64) -> TensorDataset:
    x = torch.randn(n, 24, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > 0).long())


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 2))


def test_one_batch_is_overfitted_or_not(trainlint) -> None:
    batch = next(iter(DataLoader(data(0), 16)))
    assert trainlint.assert_can_overfit(model(), batch, budget=60).outcome is Outcome.PASS
    stuck = nn.Sequential(model(), nn.Softmax(1))
    with pytest.raises(FindingsError, match="TL103 output-activation"):
        trainlint.assert_output_activation(stuck, [batch] * 3, loss_fn=nn.CrossEntropyLoss())


def test_a_leak_is_an_assertion(trainlint) -> None:
    assert trainlint.assert_no_leak(data(0), DataLoader(data(1), 8)).outcome is Outcome.PASS
    mixed = TensorDataset(torch.cat([data(0).tensors[0][:20], data(1).tensors[0]]), torch.zeros(84).long())
    with pytest.raises(FindingsError, match="split-leak"):
        trainlint.assert_no_leak(data(0), mixed)
    with pytest.raises(InputError, match="DataLoaders or datasets"):
        trainlint.assert_no_leak([1], data(0))


def test_an_assertion_a_rule_is_declared_and_found(trainlint) -> None:
    from pathlib import Path

    import trainlint.testing as home

    assert (Path(home.__file__).parent / "assertions.pyi").read_text("utf-8") == stub()
    assert "assert_init_loss" in dir(Assertions())
    with pytest.raises(AttributeError, match="did you mean 'assert_init_loss'"):
        Assertions().assert_init_los  # noqa: B018


def test_a_report_asserts() -> None:
    with pytest.raises(FindingsError, match="TL101 init-loss") as caught:
        REPORT.raise_for_errors()
    assert "shuffle" not in str(caught.value)
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(FindingsError, match="shuffle"):
        REPORT.assert_clean()
    with pytest.raises(FindingsError, match="there is no padding"):
        REPORT.assert_rule("padding")
    with pytest.raises(UsageError, match="did you mean 'init-loss'"):
        REPORT.assert_rule("init-los")
    assert REPORT.assert_rule("loop-order").name == "loop-order"
