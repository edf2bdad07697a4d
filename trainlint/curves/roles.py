"""Which column of a table is what: training and validation loss, metric, learning rate, gradient norm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainlint.curves.columns import Meaning, kind_of, meaning, meanings_of
from trainlint.curves.errors import LogError
from trainlint.curves.log import Log

__all__ = ["FEWEST", "Chosen", "Numbers", "Roles", "Table", "adversarial_losses", "counts_up", "roles_of"]

Numbers = NDArray[np.float64]
#: Columns by name: the rows in which they have values, and the values.
Table = dict[str, tuple[NDArray[np.int64], Numbers]]

FEWEST = 3
"""Points that a piece of a file or a column must have to count beside longer ones."""
_MOST_NAMED = 5
"""Columns listed in a note."""
_GENERATOR = frozenset({"gen", "generator", "g", "netg"})
_CRITIC = frozenset({"disc", "discriminator", "critic", "d", "netd", "dis"})


@dataclass(frozen=True)
class Chosen:
    """Columns that the user names: one name, or several to be summed, joined by ``+``. Empty: guess."""

    train: str = ""
    val: str = ""
    metric: str = ""
    lr: str = ""


@dataclass(frozen=True)
class Roles:
    """Columns by meaning."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    val_mean: bool = False
    """Whether several validation losses are of several sets, so that their mean is what counts."""
    metric: tuple[str, ...] = ()
    train_metric: tuple[str, ...] = ()
    lr: tuple[str, ...] = ()
    gradient: tuple[str, ...] = ()
    higher: bool = False
    adversarial: bool = False
    """Whether the losses of a generator and a discriminator were taken that do not call themselves losses (``G_A``, ``D_A``)."""
    notes: tuple[str, ...] = ()


def roles_of(log: Log, table: Table, chosen: Chosen) -> Roles:
    """The columns that the user chose, and for the rest those whose names fit best."""
    counts = {name: len(rows) for name, (rows, _) in table.items()}
    export = log.format == "tensorboard-csv"
    meanings = meanings_of(table)
    if export and "Value" in table:
        meanings["Value"] = meaning(_tag_of(log.file, table["Value"][1]))
    train = _named(log, table, chosen.train) or _losses(meanings, counts, ("train", ""))
    val = _named(log, table, chosen.val) or _losses(meanings, counts, ("val",)) or _losses(meanings, counts, ("test",))
    notes: tuple[str, ...] = ()
    if not (train or val) and (pair := _errors(meanings, counts)):
        train, val = pair[:1], pair[1:]
        notes = (
            f"without a loss, {train[0]} was taken for the training loss, {val[0]} for the validation loss; --train and --val name others",
        )
    scores = {n: m for n, m in meanings.items() if n not in (*train, *val)}
    metric = _named(log, table, chosen.metric) or _metric(scores, table, ("val", "test", "", "train"))
    split = meanings[metric[0]].split if metric else ""
    train_metric = _metric(scores, table, ("train",) if split != "train" else ())
    rates = sorted((n for n in table if meanings[n].kind == "lr"), key=lambda n: (-counts[n], len(n)))
    lr = _named(log, table, chosen.lr) or _of_groups(rates, table)
    gradient = tuple(n for n in table if meanings[n].kind == "gradient")[:1]
    if not chosen.val and train and val and meanings[val[0]].rest == ("",) and counts[val[0]] < min(FEWEST, counts[train[0]]):
        val = ()  # "Train:[5994], Val:[5794]" are sizes
    if metric and not (chosen.train or chosen.val) and _actor_and_critic(meanings):
        train, val, train_metric = (), (), ()  # they chase each other; the return tells
    rivals = () if train or val or metric else _rivals(table)
    if rivals:
        train = rivals[:1]
    elif not (train or val or metric):
        train, val, notes = _guess(log, table)
    sets = len(val) > 1 and not chosen.val and len(val) != len(train) and not _parts_of_one(val, meanings)
    higher = bool(metric) and meanings[metric[0]].higher_is_better
    if metric and meanings[metric[0]].kind != "metric":
        higher = _rises(table[metric[0]][1])
    if not (chosen.train and chosen.val):
        notes += _passed_over(meanings, counts, train, val, (*metric, *train_metric))
    if not chosen.train and len(train) > 1 and not any(meanings[n].split for n in train):
        notes += (f"summed as parts of one training loss: {' + '.join(train)}; --train and --val name others",)
    return Roles(train, val, sets, metric, train_metric, lr, gradient, higher, bool(rivals), notes)


def _errors(meanings: Mapping[str, Meaning], counts: Mapping[str, int]) -> tuple[str, ...]:
    """Training and validation values of one error measure, to be read as losses where there is none; empty without such a pair."""
    errors = [n for n, m in meanings.items() if m.error and counts[n] >= 2]

    def of(splits: tuple[str, ...], rest: tuple[str, ...] | None = None) -> list[str]:
        found = [n for n in errors if meanings[n].split in splits and rest in (None, meanings[n].rest)]
        return sorted(found, key=lambda n: (splits.index(meanings[n].split), -counts[n], meanings[n].rank))

    pairs = [(train, val[0]) for train in of(("train", "")) if (val := of(("val", "test"), meanings[train].rest))]
    return pairs[0] if pairs else ()


def _passed_over(
    meanings: Mapping[str, Meaning], counts: Mapping[str, int], train: tuple[str, ...], val: tuple[str, ...], metric: tuple[str, ...]
) -> tuple[str, ...]:
    """A note on columns that look like losses, or where one is missing like errors, and are not read; none on the parts of a total."""
    read = {(meanings[n].split, meanings[n].rest) for n in (*train, *val)}  # the same of each step and of each epoch
    totals = {meanings[n].split for n in (*train, *val) if meanings[n].total or (train and val and not meanings[n].rest)}
    left = [
        n
        for n, m in meanings.items()
        if (m.kind == "loss" or (m.error and not (train and val)))
        and n not in (*train, *val, *metric)
        and counts[n] >= FEWEST
        and (m.split, m.rest) not in read
        and not (m.rest and m.split in totals)
    ]
    if not left:
        return ()
    more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
    return (f"passed over, though the names look like losses: {', '.join(left[:_MOST_NAMED])}{more}; --train and --val name what to read",)


def _actor_and_critic(meanings: Mapping[str, Meaning]) -> bool:
    """Whether this is reinforcement learning: losses of a policy and of a value beside a return or reward."""
    rests = [set(m.rest) for m in meanings.values() if m.kind == "loss"]
    returns = any(m.kind == "metric" and set(m.rest) & {"return", "reward", "rewards"} for m in meanings.values())
    return (
        returns and any(rest & {"actor", "policy"} for rest in rests) and any(rest & {"critic", "value", "vf", "qf", "q"} for rest in rests)
    )


def _parts_of_one(val: Sequence[str], meanings: Mapping[str, Meaning]) -> bool:
    """Whether the validation losses are those that training has too (``box``, ``cls``) beside their total: parts, not sets."""
    parts = {m.rest for m in meanings.values() if m.kind == "loss" and m.split == "train"}
    return all(meanings[n].rest in parts for n in val)


def _of_groups(rates: Sequence[str], table: Table) -> tuple[str, ...]:
    """The learning rate among those of parameter groups (``lr0``, ``lr1``): biases may be warmed up from far above the rest."""
    alike = [n for n in rates if re.sub(r"\d", "", n) == re.sub(r"\d", "", rates[0])]
    return (min(alike, key=lambda n: float(_finite(table[n][1]).max(initial=0.0))),) if alike else ()


def _rivals(table: Table) -> tuple[str, ...]:
    """Losses of a generator and its discriminator by their first words alone, the generator's first: ``G_GAN``, ``D_real``."""
    first = {n: re.split(r"[_\W]", n.lower(), maxsplit=1)[0] for n, (rows, _) in table.items() if len(rows) >= FEWEST}
    generators = [n for n, word in first.items() if word in _GENERATOR]
    critics = [n for n, word in first.items() if word in _CRITIC]
    return (*generators, *critics) if generators and critics else ()


def _named(log: Log, table: Table, asked: str) -> tuple[str, ...]:
    """The columns that the user asked for."""
    if not asked:
        return ()
    names = (asked,) if asked in table else tuple(part.strip() for part in asked.split("+"))
    for name in names:
        if name not in table:
            raise LogError(log.file, f"there is no column {name!r}; it has: {', '.join(table) or 'none'}")
    return names


def _losses(meanings: Mapping[str, Meaning], counts: Mapping[str, int], splits: tuple[str, ...]) -> tuple[str, ...]:
    """The total loss of a split, or the parts that make it up."""
    found = [n for n, m in meanings.items() if m.kind == "loss" and m.split in splits]
    if not found:
        return ()
    most = max(counts[n] for n in found)
    found = [n for n in found if counts[n] >= min(FEWEST, most)]
    totals = [n for n in found if not meanings[n].rest]
    if totals:
        longest = max(counts[n] for n in totals)

        def order(name: str) -> tuple[int, int, int, int]:
            words = set(re.findall(r"[a-z]+", name.lower()))
            per_step = 1 if "step" in words or "batch" in words else 0
            few = 1 if counts[name] < min(8, longest) else 0
            return few, per_step, 0 if meanings[name].split == splits[0] or meanings[name].total else 1, -counts[name]

        return (min(totals, key=order),)
    named = [n for n in found if meanings[n].split] or found
    if adversarial_losses(named):
        return tuple(named[:1])
    longest = max(counts[n] for n in named)
    return tuple(n for n in named if counts[n] >= 0.9 * longest and meanings[n].rest != ("",)) or tuple(named[:1])


def adversarial_losses(names: Iterable[str]) -> bool:
    """Whether two losses work against each other: their sum and their direction say nothing."""
    rests = [set(meaning(n).rest) for n in names if kind_of(n) == "loss"]
    if len(rests) > 1 and any(rest & {"discriminator", "disc", "netd"} for rest in rests):
        return True  # against whatever it is called: a generator, an encoder
    return any(rest & _GENERATOR for rest in rests) and any(rest & _CRITIC for rest in rests)


def _metric(meanings: Mapping[str, Meaning], table: Table, splits: tuple[str, ...]) -> tuple[str, ...]:
    """The most telling metric: of the first split that has one, one that moves before a constant one."""
    for split in splits:
        found = [n for n, m in meanings.items() if m.kind == "metric" and m.split == split and len(table[n][0]) >= 2]
        if found:
            return (min(found, key=lambda n: (_constant(table[n][1]), _stuck(table[n][1]), meanings[n].rank)),)
    return ()


def _guess(log: Log, table: Table) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Train and validation loss of a table without names: the first columns that are no counters."""
    if not (log.format.endswith("without-header") or log.format == "bare-numbers" or list(table) == ["value"]):
        return (), (), ()
    free = [n for n, (_, values) in table.items() if len(values) >= 2 and not counts_up(values)]
    free = [n for n in free if not _constant(table[n][1])] or free
    if not free:
        return (), (), ()
    first = _finite(table[free[0]][1])
    val: tuple[str, ...] = ()
    if len(free) > 1 and len(first):
        other = _finite(table[free[1]][1])
        near = len(other) and 0.2 < (abs(np.median(other)) + 1e-12) / (abs(np.median(first)) + 1e-12) < 5
        val = (free[1],) if near and not _rises(other) and not _sums_up(table, free) else ()
    guessed = f"{free[0]} was taken for the training loss" + (f", {val[0]} for the validation loss" if val else "")
    return (free[0],), val, (f"{guessed}; --train and --val name others",)


def _sums_up(table: Table, names: Sequence[str]) -> bool:
    """Whether the first column is the sum of the others: a total with its parts."""
    columns = [table[n][1] for n in names]
    if len(columns) < 3 or len({len(c) for c in columns}) > 1:
        return False
    return bool(np.allclose(columns[0], np.sum(columns[1:], axis=0), rtol=1e-3, equal_nan=True))


def counts_up(values: Numbers) -> bool:
    """Whether values are whole numbers that only grow."""
    steps = np.diff(values)
    return bool(len(steps) and np.all(values == np.round(values)) and np.all(steps >= 0) and np.any(steps > 0))


def _constant(values: Numbers) -> bool:
    values = _finite(values)
    return len(values) == 0 or bool(np.ptp(values) == 0)


def _stuck(values: Numbers) -> bool:
    """Whether one value makes up more than half of a column."""
    _, counts = np.unique(values, return_counts=True)
    return bool(counts.max(initial=0) > len(values) / 2)


def _rises(values: Numbers) -> bool:
    values = _finite(values)
    third = max(len(values) // 3, 1)
    return bool(len(values) and np.median(values[-third:]) > np.median(values[:third]))


def _finite(values: Numbers) -> Numbers:
    return values[np.isfinite(values)]


def _tag_of(file: str, values: Numbers) -> str:
    """The tag that TensorBoard's export keeps in the file's name only; where that says nothing, what rises is a score and what falls a loss."""
    stem = re.sub(r".*tag[-_]", "", Path(file).stem)
    return stem if kind_of(stem) in ("loss", "metric") else "score" if _rises(values) else "loss"
