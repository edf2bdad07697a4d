"""Label maps that were resized by interpolation, and others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainlint.measurements import Labels
from trainlint.probes.labels.between_labels import between_labels
from trainlint_rules.label_noise import LabelNoise


def masks(mode: str, count: int = 20) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 6, (count, 1, 8, 8), generator=generator).float()
    large = F.interpolate(drawn, scale_factor=9)
    small = F.interpolate(large, size=(32, 32), **({"mode": "bilinear", "antialias": True} if mode == "bilinear" else {}))
    return [m.round().long() for m in small]


@pytest.mark.parametrize(("mode", "kind"), [("bilinear", "fail"), ("nearest", "pass")])
def test_maps_that_were_interpolated_are_told(mode, kind):
    assert LabelNoise().judge(Labels(between=between_labels(masks(mode)))).kind == kind


def test_thin_borders_of_a_class_of_their_own_are_no_interpolation():
    rows = torch.randint(0, 6, (20, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    assert LabelNoise().judge(Labels(between=between_labels(list(rows)))).kind == "pass"


def test_depths_in_steps_and_two_classes_are_left_alone():
    ramp = torch.arange(32).expand(32, 32)
    found = between_labels([ramp, ramp.T])
    assert found is not None
    assert found.thin == 0
    assert between_labels([torch.eye(8).long()]) is None
    assert between_labels([torch.rand(8, 8)]) is None
