"""Edits of what stands around the steps: splits, streams, averages, blends, schedules."""

from __future__ import annotations

import pytest

from .edited import becomes, edited, refused


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (
            "a, b = random_split(windows, [len(windows) - n, n], generator=g)",
            "a, b = (torch.utils.data.Subset(windows, range(len(windows) - n)), torch.utils.data.Subset(windows, range(len(windows) - n, len(windows))))",
        ),
        ("a, b, c, d = train_test_split(X, y, test_size=0.2)", "a, b, c, d = train_test_split(X, y, test_size=0.2, shuffle=False)"),
    ],
)
def test_a_series_is_split_at_one_place(line: str, after: str) -> None:
    assert after in edited("split-in-order", f"import torch\n{line}  # here\n")


@pytest.mark.parametrize(
    "line", ["a, b = random_split(ds, [0.8, 0.2])", "a, b = random_split(ds, sizes)", "a, b = train_test_split(X, y, stratify=y)"]
)
def test_a_split_that_is_not_understood_stays(line: str) -> None:
    assert refused("split-in-order", f"{line}  # here\n")


def test_each_worker_gets_its_share_of_a_stream() -> None:
    becomes(
        "share-stream",
        """
        import itertools
        import torch


        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                for row in self.rows:  # here
                    yield row
        """,
        """
        import itertools
        import torch


        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                worker = torch.utils.data.get_worker_info()
                for row in (self.rows if worker is None else itertools.islice(self.rows, worker.id, None, worker.num_workers)):
                    yield row
        """,
    )


def test_buffers_are_copied_beside_averaged_parameters() -> None:
    becomes(
        "average-buffers",
        """
        def update(self, model):
            for mine, theirs in zip(self.module.parameters(), model.parameters()):
                mine.lerp_(theirs, 0.1)  # here
        """,
        """
        def update(self, model):
            for mine, theirs in zip(self.module.parameters(), model.parameters()):
                mine.lerp_(theirs, 0.1)
            for kept, present in zip(self.module.buffers(), model.buffers()):
                kept.copy_(present)
        """,
    )
    assert edited("average-buffers", "ema = AveragedModel(model)  # here\n") == "ema = AveragedModel(model, use_buffers=True)\n"


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("loss = lam * f(p, b) + (1 - lam) * f(p, a)", "loss = (1 - lam) * f(p, b) + lam * f(p, a)"),
        ("loss = (1.0 - w) * f(p, a) + w * f(p, b)", "loss = w * f(p, a) + (1.0 - w) * f(p, b)"),
    ],
)
def test_the_shares_of_a_blend_are_exchanged(line: str, after: str) -> None:
    assert edited("swap-shares", f"{line}  # here\n") == f"{after}\n"


def test_other_weighted_sums_stay() -> None:
    assert refused("swap-shares", "loss = 0.5 * a + 0.1 * b  # here\n")


def test_a_schedule_is_built_for_the_last_optimizer() -> None:
    becomes(
        "rebuild-schedule",
        """
        opt = SGD(net.parameters(), 0.1)
        schedule = StepLR(opt, 3)  # here
        opt = SGD(groups, 0.1)
        """,
        """
        opt = SGD(net.parameters(), 0.1)
        opt = SGD(groups, 0.1)
        schedule = StepLR(opt, 3)
        """,
    )
    becomes(
        "rebuild-schedule",
        """
        class Trainer:
            def __init__(self, net):
                self.opt = SGD(net.parameters(), 0.1)
                self.schedule = StepLR(self.opt, 3)  # here

            def unfreeze(self):
                self.opt = SGD(self.groups, 0.1)
                self.epoch = 0
        """,
        """
        class Trainer:
            def __init__(self, net):
                self.opt = SGD(net.parameters(), 0.1)
                self.schedule = StepLR(self.opt, 3)

            def unfreeze(self):
                self.opt = SGD(self.groups, 0.1)
                self.schedule = StepLR(self.opt, 3)
                self.epoch = 0
        """,
    )


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (
            "m = TF.resize(m, [8, 8], interpolation=InterpolationMode.BILINEAR)",
            "m = TF.resize(m, [8, 8], interpolation=InterpolationMode.NEAREST)",
        ),
        ("m = TF.rotate(m, a)", "m = TF.rotate(m, a, interpolation=TF.InterpolationMode.NEAREST)"),
        ('m = F.interpolate(m, size, mode="bilinear", align_corners=False)', 'm = F.interpolate(m, size, mode="nearest")'),
        ("m = ndimage.zoom(m, 2, order=1)", "m = ndimage.zoom(m, 2, order=0)"),
    ],
)
def test_label_maps_take_the_nearest_label(line: str, after: str) -> None:
    imports = "import torchvision.transforms.functional as TF\nimport torch.nn.functional as F\n"
    assert after in edited("nearest-labels", f"{imports}{line}  # here\n")


def test_gradients_are_clipped_behind_backward() -> None:
    becomes(
        "clip-before-step",
        """
        opt.zero_grad()
        clip_grad_norm_(net.parameters(), 1.0)  # here
        loss.backward()
        opt.step()
        """,
        """
        opt.zero_grad()
        loss.backward()
        clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        """,
    )
