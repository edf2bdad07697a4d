"""Operations that write through what is still needed."""

import pytest

from .edited import becomes, edited, refused


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def get(self, i):\n    x = self.data[i]\n    x -= self.mean  # here\n    return x\n", "def get(self, i):\n    x = self.data[i]\n    x = x - self.mean\n    return x\n"),
        ("x /= a + b  # here\n", "x = x / (a + b)\n"),
        ("x *= scale(a)  # here\n", "x = x * scale(a)\n"),
        ("img.sub_(m).div_(s)  # here\n", "img = img.sub(m).div(s)\n"),
        ("y = img.clamp_(0, 1)  # here\n", "y = img.clamp(0, 1)\n"),
        ("def f(img):\n    return img.mul_(2)  # here\n", "def f(img):\n    return img.mul(2)\n"),
        ("img = TF.normalize(img, m, s, inplace=True)  # here\n", "img = TF.normalize(img, m, s, inplace=False)\n"),
    ],
)  # fmt: skip
def test_the_result_is_made_anew(before: str, after: str) -> None:
    assert edited("not-in-place", before) == after


@pytest.mark.parametrize(
    "before",
    ["self.data[i] -= m  # here\n", "self.data[i].sub_(m)  # here\n", "np.divide(x, s, out=x)  # here\n", "TF.normalize(x, m, s, inplace=True)  # here\n"],
)  # fmt: skip
def test_what_is_no_variable_of_its_own_is_left(before: str) -> None:
    refused("not-in-place", before)


def test_a_part_is_set_in_a_copy_that_the_function_returns() -> None:
    becomes(
        "not-in-place",
        """
        def mask(spec, width):
            start = draw(width)
            spec[..., :2, :] = 0
            spec[..., start:start + width] = 0  # here
            return spec
        """,
        """
        def mask(spec, width):
            start = draw(width)
            spec = spec.clone()
            spec[..., :2, :] = 0
            spec[..., start:start + width] = 0
            return spec
        """,
        copy="clone",
    )


@pytest.mark.parametrize(
    "body", ["x[0] = 0  # here", "self.x[0] = 0  # here\n    return self", "y = x\n    x[0] = 0  # here\n    return y"]
)
def test_a_part_of_what_is_not_returned_is_left(body: str) -> None:
    refused("not-in-place", f"def mask(self, x):\n    {body}\n", copy="copy")
