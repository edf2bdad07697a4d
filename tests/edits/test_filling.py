import pytest

from .edited import edited, refused

VALUES = {"path": "[1]", "old": "0", "new": "-100"}
PARTS = "    x = pad_sequence(xs, batch_first=True)\n    y = pad_sequence(ys, True, {})\n"


def script(returned: str, before: str = "") -> str:
    return f"PAD, SIZE = 0, 4\ndef collate(batch):\n    xs, ys = zip(*batch)\n{before}    return {returned}\nloss = criterion(out, y)  # here\n"


@pytest.mark.parametrize(
    ("returned", "path", "filled"),
    [
        ("pad_sequence(xs), pad_sequence(ys, batch_first=True)", "[1]", "pad_sequence(xs), pad_sequence(ys, batch_first=True, padding_value=-100)"),
        ("(pad_sequence(xs), pad_sequence(ys, padding_value=PAD), 1)", "[1]", "(pad_sequence(xs), pad_sequence(ys, padding_value=-100), 1)"),
        ("{'x': pad_sequence(xs), 'y': pad_sequence(ys, True, 0.0)}", "['y']", "{'x': pad_sequence(xs), 'y': pad_sequence(ys, True, -100)}"),
    ],
)  # fmt: skip
def test_targets_are_filled_up_with_what_the_loss_ignores(returned: str, path: str, filled: str) -> None:
    assert f"    return {filled}\n" in edited("fill-targets", script(returned), **{**VALUES, "path": path})


def test_a_part_that_has_a_name_is_followed() -> None:
    assert "pad_sequence(ys, True, -100)\n" in edited("fill-targets", script("x, y", PARTS.format("0")), **VALUES)


@pytest.mark.parametrize(
    "text",
    [
        script("x, y", PARTS.format("7")),
        script("x, y", PARTS.format("fill")),
        script("x, y", PARTS.format("0") + "    y = y.long()\n"),
        script("x, y", PARTS.format("0")) + script("x, y", PARTS.format("0")),
        script("torch.stack(xs), torch.stack(ys)"),
    ],
)
def test_targets_that_are_filled_up_otherwise_are_left(text: str) -> None:
    assert refused("fill-targets", text.replace("  # here\n", "\n", text.count("  # here") - 1), **VALUES)
