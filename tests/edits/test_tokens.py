import pytest

from .edited import becomes, refused


def test_padding_gets_a_token_of_its_own() -> None:
    becomes(
        "pad-token",
        """
        tokenizer = load(name)
        tokenizer.pad_token = tokenizer.eos_token  # here
        model = build(len(tokenizer))
        """,
        """
        tokenizer = load(name)
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
        model = build(len(tokenizer))
        """,
    )


@pytest.mark.parametrize(
    "line",
    [
        "a.pad_token = b.eos_token  # here",
        "a.pad_token_id = a.eos_token_id  # here",
        "a.pad_token = b.pad_token = a.eos_token  # here",
        "a.add_special_tokens({'pad_token': a.eos_token})  # here",
    ],
)
def test_other_lines_are_left(line: str) -> None:
    assert refused("pad-token", line)
