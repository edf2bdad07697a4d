import pytest

from .edited import becomes, edited, refused

HEAD = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def forward(self, x):
"""


def test_functional_dropout_gets_the_mode_of_its_module_in_the_whole_class() -> None:
    becomes(
        "dropout-flag",
        """
        import torch.nn.functional as F
        from torch import nn

        class Net(nn.Module):
            def forward(self, x):
                x = F.dropout(self.a(x), p=0.5)  # here
                x = F.dropout(x, 0.1, training=True)
                return nn.functional.dropout2d(
                    x,
                    p=0.2,
                )

        class Other(nn.Module):
            def forward(self, x):
                return F.dropout(x)
        """,
        """
        import torch.nn.functional as F
        from torch import nn

        class Net(nn.Module):
            def forward(self, x):
                x = F.dropout(self.a(x), p=0.5, training=self.training)
                x = F.dropout(x, 0.1, training=True)
                return nn.functional.dropout2d(
                    x,
                    p=0.2,
                    training=self.training,
                )

        class Other(nn.Module):
            def forward(self, x):
                return F.dropout(x)
        """,
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("F.dropout(x)", "F.dropout(x, training=self.training)"),
        ("F.dropout(x, 0.5, True)", "F.dropout(x, 0.5, self.training)"),
        ("F.alpha_dropout(x, 0.5, training=True)", "F.alpha_dropout(x, 0.5, training=self.training)"),
        ("nn.Dropout(0.3)(x)", "F.dropout(x, 0.3, training=self.training)"),
        ("nn.Dropout2d()(x + 1)", "F.dropout2d(x + 1, training=self.training)"),
        (
            "F.scaled_dot_product_attention(x, x, x, dropout_p=self.p)",
            "F.scaled_dot_product_attention(x, x, x, dropout_p=self.p if self.training else 0.0)",
        ),
    ],
)
def test_dropout_in_its_spellings_is_told_the_mode(before: str, after: str) -> None:
    assert edited("dropout-flag", f"{HEAD}        return {before}  # here\n").endswith(f"        return {after}\n")


def test_layers_built_where_they_are_called_become_functions_in_the_whole_class() -> None:
    before = f"{HEAD}        x = nn.Dropout(0.7)(x)  # here\n        return nn.Dropout(p=0.5)(x)\n"
    assert edited("dropout-flag", before).endswith(
        "        x = F.dropout(x, 0.7, training=self.training)\n        return F.dropout(x, p=0.5, training=self.training)\n"
    )


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("F.dropout(x, training=self.training)", "told the mode by self.training"),
        ("F.dropout(x, training=flag)", "told the mode by flag"),
        ("F.dropout(x, **options)", "hands on its arguments"),
        ("self.drop(x)", "does not call dropout"),
        ("F.scaled_dot_product_attention(x, x, x, dropout_p=0.1 if self.training else 0)", "told the mode already"),
        ("nn.Dropout(0.3, True)(x)", "more than its probability"),
    ],
)
def test_dropout_that_is_told_a_mode_or_not_seen_is_left_alone(call: str, why: str) -> None:
    assert why in refused("dropout-flag", f"{HEAD}        return {call}  # here\n")


def test_dropout_outside_of_a_module_is_left_alone() -> None:
    why = "not called in a method of a module"
    assert why in refused("dropout-flag", "import torch.nn.functional as F\ndef block(x):\n    return F.dropout(x)  # here\n")
    plain = "import torch.nn.functional as F\nclass Block:\n    def run(self, x):\n        return F.dropout(x)  # here\n"
    assert why in refused("dropout-flag", plain)
