"""The line of a collate function that takes up what it joins."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainlint.probes.source.joining import joined_at


def in_a_loop(rows: list[Any]) -> tuple[Any, ...]:
    nodes, links = [], []
    for x, e in rows:
        nodes.append(x)
        links.append(e)  # this
    return torch.cat(nodes), torch.cat(links, dim=1)


def in_a_comprehension(rows: list[Any]) -> dict[str, Any]:
    links = [e for _, e in rows]  # this
    pairs = torch.cat(links, dim=1)
    return {"x": torch.cat([x for x, _ in rows]), "edges": pairs.long()}


def by_an_object(rows: list[Any]) -> Any:
    return SimpleNamespace(
        x=torch.cat([x for x, _ in rows]),
        edges=torch.cat([e for _, e in rows], dim=1),  # this
    )


def in_two_places(rows: list[Any]) -> tuple[Any, ...]:
    links = [rows[0][1]]
    for x, e in rows[1:]:
        if len(x) > 1:
            links.append(e)
        else:
            links.append(e + 1)
    return torch.cat([x for x, _ in rows]), torch.cat(links, dim=1)


def of_another_function(rows: list[Any]) -> tuple[Any, ...]:
    return in_a_loop(rows)


@pytest.mark.parametrize(
    ("collate", "path"),
    [(in_a_loop, "[1]"), (in_a_comprehension, "['edges']"), (by_an_object, ".edges")],
)
def test_the_line_that_takes_it_up_is_found(collate: Callable[..., Any], path: str) -> None:
    code = collate.__code__
    place = joined_at(code.co_filename, code.co_firstlineno, path)
    assert place is not None
    with open(code.co_filename) as file:
        assert file.readlines()[place[1] - 1].rstrip().endswith("# this")


@pytest.mark.parametrize("collate", [in_two_places, of_another_function])
def test_what_the_source_does_not_tell_is_left_alone(collate: Callable[..., Any]) -> None:
    assert joined_at(collate.__code__.co_filename, collate.__code__.co_firstlineno, "[1]") is None
