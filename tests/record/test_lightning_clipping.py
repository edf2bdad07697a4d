"""A module that takes Lightning's clipping into its own hands is asked whether it clips."""

from __future__ import annotations

import pytest
from lightning_runs import fitted

from trainlint.record.recording import Recording


def clipped(override=None, **settings) -> Recording:  # type: ignore[no-untyped-def]
    """Recording of a module with such a ``configure_gradient_clipping`` under a Trainer with such settings."""
    methods = {} if override is None else {"configure_gradient_clipping": override}
    return fitted(settings=settings, **methods)


def kinds(recording: Recording) -> set[str]:
    return {h.kind for h in recording.happenings} & {"clip", "clip-left-out"}


def looks_on(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
    self.seen = max(float(p.grad.norm()) for p in self.parameters())


def clips(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
    self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)


def clips_later(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
    if self.current_epoch > 100:
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)


def scales(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
    for p in self.parameters():
        p.grad.div_(p.grad.norm())


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_an_override_that_only_looks_on_is_noted(algorithm: str) -> None:
    recording = clipped(looks_on, gradient_clip_val=1e-3, gradient_clip_algorithm=algorithm)
    assert kinds(recording) == {"clip-left-out"}
    noted = [h for h in recording.happenings if h.kind == "clip-left-out"]
    assert len(noted) >= 3
    assert all(h.info["norm"] > h.info["max_norm"] == 1e-3 for h in noted)
    assert {h.info["by_norm"] for h in noted} == {algorithm == "norm"}
    assert {h.place[2] for h in noted} == {"looks_on"}


@pytest.mark.parametrize("override", [None, clips, clips_later, scales])
def test_clipping_now_later_or_by_hand_is_left_alone(override) -> None:  # type: ignore[no-untyped-def]
    assert "clip-left-out" not in kinds(clipped(override, gradient_clip_val=1e-3))


def test_without_a_limit_nothing_is_expected() -> None:
    assert not kinds(clipped(looks_on))
