"""Several processes of one run: who this one is, what is noted in each, and how the first gathers it.

Facts are exchanged through files in the folder of the watch, never through collective calls: watching cannot make ranks wait for
each other, and a rank that died has still left its last word.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trainlint.measurements import RankFacts, Ranks

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Place",
    "alone",
    "fingerprint_due",
    "gather",
    "input_digest",
    "leave_word",
    "shapes_digest",
    "some",
    "this_place",
    "wait_for_all",
]

#: Parameters whose norms make a fingerprint.
_PARAMETERS = 32
#: Most bytes of a tensor that go into the digest of an input.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where this process stands in a distributed run."""

    rank: int
    world: int
    job: str
    """Tells this run from an earlier one in the same folder."""


def this_place(environment: Mapping[str, str] = os.environ) -> Place:
    """Read from the variables that torchrun and accelerate set; a single process is rank 0 of a world of one."""
    try:
        rank, world = int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))
    except ValueError:
        return Place(0, 1, "")
    names = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
    return Place(rank, world, ":".join(environment.get(n, "") for n in names)) if world > 1 else Place(0, 1, "")


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is to run as the whole world, at a port of its own."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    kept = {k: v for k, v in environment.items() if not k.startswith("TORCHELASTIC_")}
    return {**kept, **one, "MASTER_PORT": str(port)}


# -- what is noted -----------------------------------------------------------------------------------------------------


def fingerprint_due(step: int) -> bool:
    """Steps 0 to 4 and powers of two: the same in every process, whatever each one's speed."""
    return step < 4 or step & (step - 1) == 0


def some(parameters: Sequence[Tensor]) -> list[Tensor]:
    """At most 32 parameters, spread evenly: the same ones in every process that has the same model."""
    stride = max(1, math.ceil(len(parameters) / _PARAMETERS))
    return list(parameters[::stride])


def shapes_digest(parameters: Iterable[Tensor]) -> str:
    """Digest of the shapes, in order."""
    return hashlib.blake2b(repr([tuple(p.shape) for p in parameters]).encode(), digest_size=8).hexdigest()


def input_digest(tensors: Iterable[Tensor]) -> str:
    """Digest of some tensors' values; empty when there is none."""
    import torch

    total = hashlib.blake2b(digest_size=8)
    seen = False
    for tensor in tensors:
        if tensor.layout is not torch.strided or not tensor.numel():
            continue
        values = tensor.detach().reshape(-1)[: _MOST_BYTES // max(tensor.element_size(), 1)]
        total.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
        total.update(values.contiguous().cpu().view(torch.uint8).numpy().tobytes())
        seen = True
    return total.hexdigest() if seen else ""


# -- how it comes together ---------------------------------------------------------------------------------------------


def leave_word(folder: Path, place: Place, facts: RankFacts) -> None:
    """Write what this rank saw to its file, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _file(folder, place.rank)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"job": place.job, "facts": msgspec.to_builtins(facts)}), "utf-8")
    draft.replace(path)


def gather(folder: Path, place: Place) -> Ranks:
    """What all ranks of this run have left so far."""
    found = (_read(_file(folder, rank), place.job) for rank in range(place.world))
    return Ranks(world=place.world, ranks=tuple(f for f in found if f is not None))


def wait_for_all(folder: Path, place: Place, seconds: float, goes_on: Callable[[], bool] = lambda: True) -> Ranks:
    """What all ranks have left, once none is running any more or the time is over."""
    until = time.monotonic() + seconds
    while True:
        ranks = gather(folder, place)
        done = len(ranks.ranks) == place.world and all(f.status != "running" for f in ranks.ranks)
        if done or time.monotonic() > until or not goes_on():
            return ranks
        time.sleep(0.1)


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.json"


def _read(path: Path, job: str) -> RankFacts | None:
    try:
        written: Any = json.loads(path.read_text("utf-8"))
        return msgspec.convert(written["facts"], RankFacts, strict=False) if written["job"] == job else None
    except (OSError, ValueError, KeyError, msgspec.ValidationError):
        return None
