"""From the columns of a log to runs: which column is what, which rows belong to which run, and where each value lies on the x axis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from trainlint.curves.columns import meaning
from trainlint.curves.log import Log
from trainlint.curves.roles import FEWEST, Chosen, Numbers, Table, adversarial_losses, counts_up, roles_of

__all__ = ["LINE", "POINT", "Run", "Trace", "runs_of"]

LINE = "line of the file"
POINT = "point of the run"
"""What the x axis counts, from 1, where no column counts: lines as an editor numbers them, or values where a log has no lines."""

_MOST_RUNS = 100
_GROUPS = re.compile(r"(run|model|fold|seed|trial|experiment|config|variant|name)([ _]?(name|id|idx|no))?", re.IGNORECASE)


@dataclass(frozen=True)
class Trace:
    """Values of one meaning along the x axis; not finite ones included."""

    x: Numbers
    y: Numbers

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Run:
    """One training, as far as the log shows it."""

    name: str = ""
    train: Trace | None = None
    val: Trace | None = None
    metric: Trace | None = None
    train_metric: Trace | None = None
    lr: Trace | None = None
    gradient: Trace | None = None
    higher_is_better: bool = False
    """Of ``metric``."""
    adversarial: bool = False
    """Whether generator and discriminator losses stand beside each other: then a rising loss says nothing."""
    x_label: str = POINT
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """``train``, ``val``, ``metric``, ``lr``: the columns taken, joined by ``+`` where they were summed."""
    notes: tuple[str, ...] = ()


def runs_of(log: Log, chosen: Chosen | None = None) -> list[Run]:
    """The runs of a log, in its order. Empty when no column was recognised; see :attr:`Log.columns` then.

    Raises:
        LogError: A column that ``chosen`` names is not there.
    """
    chosen = chosen or Chosen()
    table: Table = {
        name: (np.frombuffer(c.rows, dtype=np.int64).copy(), np.frombuffer(c.values, dtype=np.float64).copy())
        for name, c in log.columns.items()
    }
    found = [run for name, prefix, part in _groups(log, table) for run in _segments(log, part, name, prefix, chosen)]
    if len(found) > 1:
        found = [replace(run, name=run.name or f"run {i}") for i, run in enumerate(found, 1)]
    return found[:_MOST_RUNS]


def _groups(log: Log, table: Table) -> Iterator[tuple[str, str, Table]]:
    """Runs that stand beside each other (W&B's ``run - loss`` columns) or are told apart by a column of names: name, prefix, columns."""
    twins = {name for name in table if re.search(r"__(MIN|MAX)$", name)}
    if twins or (log.format == "wandb-csv" and any(" - " in name for name in table)):
        prefixes = dict.fromkeys(name.rsplit(" - ", 1)[0] for name in table if " - " in name and name not in twins)
        shared = {name: column for name, column in table.items() if " - " not in name}
        for prefix in prefixes:
            own = {name[len(prefix) + 3 :]: c for name, c in table.items() if name.startswith(f"{prefix} - ") and name not in twins}
            yield (prefix if len(prefixes) > 1 else ""), f"{prefix} - ", shared | own
        return
    for words in log.words.values():
        if _GROUPS.fullmatch(words.name) and 2 <= len(words.distinct) <= min(_MOST_RUNS, words.seen / FEWEST) and words.seen > log.rows / 2:
            names, starts = np.array(words.words), np.array(words.rows)
            for name in dict.fromkeys(words.words):
                part = {key: _where(c, names[_last(starts, c[0])] == name) for key, c in table.items()}
                yield name, "", {key: c for key, c in part.items() if len(c[0])}
            return
    for name, (rows, values) in table.items():
        ids = np.unique(values)
        if _GROUPS.fullmatch(name) and 2 <= len(ids) <= min(_MOST_RUNS, len(values) / FEWEST) and len(rows) > log.rows / 2:
            for one in ids:
                part = {key: _where(c, values[_last(rows, c[0])] == one) for key, c in table.items() if key != name}
                yield f"{name} {one:g}", "", {key: c for key, c in part.items() if len(c[0])}
            return
    yield "", "", table


def _where(column: tuple[NDArray[np.int64], Numbers], mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Numbers]:
    return column[0][mask], column[1][mask]


def _last(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the position of the last start at or before it."""
    return np.maximum(np.searchsorted(starts, rows, side="right") - 1, 0)


def _segments(log: Log, table: Table, name: str, prefix: str, chosen: Chosen) -> Iterator[Run]:
    roles = roles_of(log, table, chosen)
    main = roles.train or roles.val or roles.metric or roles.train_metric
    if not main:
        return
    rows, _ = _joined(table, main, mean=False)
    axis = _axis(table, rows)
    x = _positions(log, table, axis, rows)
    pieces, notes = _pieces(rows, x)
    adversarial = roles.adversarial or adversarial_losses(table)
    for first, last, dropped in pieces:
        keep = _Cut(log, table, axis, first, last, dropped)
        yield Run(
            name=name,
            train=keep(roles.train),
            val=keep(roles.val, mean=roles.val_mean),
            metric=keep(roles.metric),
            train_metric=keep(roles.train_metric),
            lr=keep(roles.lr),
            gradient=keep(roles.gradient),
            higher_is_better=roles.higher,
            adversarial=adversarial,
            x_label=axis or (LINE if log.lines.rows else POINT),
            columns={key: "+".join(prefix + column for column in getattr(roles, key)) or None for key in ("train", "val", "metric", "lr")},
            notes=(*roles.notes, *notes),
        )


def _axis(table: Table, rows: NDArray[np.int64]) -> str:
    """The column that counts: the one that goes back least and has most values; a plain index only when nothing else counts."""
    best: tuple[tuple[float, ...], str] | None = None
    for name, (own, values) in table.items():
        found = meaning(name)
        if found.kind != "axis" and not (re.fullmatch(r"column \d+", name) and counts_up(values)):
            continue
        dense = len(own) >= max(2, 0.02 * len(rows))
        if not dense and (len(own) < 8 or len(own) < 5e-4 * len(rows)):
            continue
        x = values[_last(own, rows)]
        steps = np.diff(x)
        back = float((steps < 0).sum())
        score = (name == "index" or found.split != "", not dense, back, -float(len(np.unique(x))), found.rank)
        if not np.all(np.isfinite(x)) or back > len(rows) / 3 or (len(rows) > 1 and not np.any(steps)):
            continue
        if best is None or score < best[0]:
            best = score, name
    return best[1] if best else ""


def _positions(log: Log, table: Table, axis: str, rows: NDArray[np.int64]) -> Numbers:
    if not axis:
        if not log.lines.rows:
            return rows.astype(np.float64) + 1
        lines: Numbers = np.round(np.interp(rows, log.lines.rows, log.lines.values))
        return lines
    own, values = table[axis]
    return values[_last(own, rows)]


def _pieces(rows: NDArray[np.int64], x: Numbers) -> tuple[list[tuple[int, int, list[tuple[int, int]]]], list[str]]:
    """Runs as intervals of rows, each with the intervals inside it that a resumed run has written anew; and what to say about it."""
    end = int(rows[-1]) + 1_000_000_000 if len(rows) else 0
    pieces: list[tuple[int, int, list[tuple[int, int]]]] = []
    first, begin, resumed = 0, 0, 0
    dropped: list[tuple[int, int]] = []
    for i in np.flatnonzero(np.diff(x) < 0) + 1:
        spread = float(x[begin:i].max() - x[begin]) if i > begin else 0.0
        if x[i] <= x[begin] + 0.02 * spread:
            pieces.append((first, int(rows[i]), dropped))
            first, dropped, begin = int(rows[i]), [], int(i)
        else:
            again = begin + int(np.argmax(x[begin:i] >= x[i]))
            dropped.append((int(rows[again]), int(rows[i])))
            resumed += 1
    pieces.append((first, end, dropped))
    sizes = [int(((rows >= a) & (rows < b)).sum()) for a, b, _ in pieces]
    kept = [piece for piece, size in zip(pieces, sizes, strict=True) if size >= min(FEWEST, max(sizes))]
    notes = []
    if resumed:
        notes.append(f"resumed {resumed} time{'s' * (resumed > 1)}: of what was logged twice the later values were taken")
    if len(kept) < len(pieces):
        notes.append(f"{len(pieces) - len(kept)} pieces of fewer than {FEWEST} points were passed over")
    kept[0] = (0, kept[0][1], kept[0][2]) if kept[0] is pieces[0] else kept[0]
    return kept, notes


@dataclass(frozen=True)
class _Cut:
    """One run's rows of a table: from ``first`` up to ``last``, without those in ``dropped``."""

    log: Log
    table: Table
    axis: str
    first: int
    last: int
    dropped: list[tuple[int, int]]

    def __call__(self, names: tuple[str, ...], *, mean: bool = False) -> Trace | None:
        """The values of some columns, summed or averaged; None when there are none."""
        if not names:
            return None
        rows, values = _joined(self.table, names, mean=mean)
        keep = (rows >= self.first) & (rows < self.last)
        for begin, end in self.dropped:
            keep &= (rows < begin) | (rows >= end)
        rows, values = rows[keep], values[keep]
        return Trace(_positions(self.log, self.table, self.axis, rows), values) if len(values) else None


def _joined(table: Table, names: tuple[str, ...], *, mean: bool) -> tuple[NDArray[np.int64], Numbers]:
    """Several columns as one: their sum, or their mean, in the order of the file. Parts that stand in different rows are paired in order."""
    rows, values = table[names[0]]
    if len(names) == 1:
        return rows, values
    parts = [table[name] for name in names]
    shared = rows
    for own, _ in parts[1:]:
        shared = np.intersect1d(shared, own)
    if len(shared) < 0.5 * len(rows):
        size = min(len(own) for own, _ in parts)
        stacked = np.stack([own[:size] for _, own in parts])
        rows = parts[0][0][:size]
    else:
        stacked = np.stack([own[np.searchsorted(at, shared)] for at, own in parts])
        rows = shared
    return rows, stacked.mean(axis=0) if mean else stacked.sum(axis=0)
