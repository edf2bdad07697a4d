"""Reads as much of the training and validation data as a few seconds allow: values that are not finite, and how often each label occurs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from trainlint.location import Location
from trainlint.measurements import DataScan, LabelCount, NonFiniteSample
from trainlint.probes.data.datasets import Samples, is_rebuilt, is_used_up, label_vectors, spread
from trainlint.probes.data.leaves import describe
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.source.asked import asked_at
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.settings import Settings

__all__ = ["loaders_in", "measure_data_scan"]

#: Seconds for each phase: a glance, not an epoch.
_SECONDS = 3.0
#: What is kept of samples that are not finite; different labels that are counted; samples that may fail before a dataset is given up.
_MOST_KEPT, _MOST_COLUMNS, _MOST_LABELS, _MOST_FAILURES = 50, 64, 1000, 5
#: Elements that are searched in one go.
_CHUNK = 2**24


def measure_data_scan(recording: Recording, deadline: float, settings: Settings) -> DataScan:
    """Scan the datasets behind the loaders. Empty for a loop without loaders: its batches are all there is to see."""
    flow = DataFlow(recording)
    scans: list[_Scan] = []
    where: dict[str, Location] = {}
    asked: dict[str, Location] = {}
    for phase in ("train", "val"):
        loaders = loaders_in(flow, phase)
        end = min(deadline, time.monotonic() + _SECONDS)
        for place, entry in enumerate(loaders):
            if (location := recording.frames.location(recording.dataset_place(entry))) is not None:
                where.setdefault(phase, location)
            if (location := recording.frames.location(asked_at(entry, recording.dataset_place(entry)))) is not None:
                asked.setdefault(phase, location)
            now = time.monotonic()
            scan = _Scan(phase, entry, _targets(flow, phase, entry), now + max(end - now, 0.0) / (len(loaders) - place))
            with randomness_kept(), torch.no_grad():
                scan.run()
            scans.append(scan)
    totals = [scan.total for scan in scans]
    return DataScan(
        samples_seen=sum(scan.seen for scan in scans),
        samples_total=sum(t for t in totals if t is not None) if totals and None not in totals else None,
        nonfinite=tuple(sample for scan in scans for sample in scan.nonfinite)[:_MOST_KEPT],
        nonfinite_samples=sum(len(scan.broken) for scan in scans),
        labels=tuple(count for scan in scans for count in scan.counts()),
        where=where or None,
        asked=asked or None,
        error=next((scan.error for scan in scans if scan.error), ""),
    )


def loaders_in(flow: DataFlow, phase: str) -> list[Loader]:
    """Loaders whose batches were used in a phase, each once though it may be built anew in each epoch."""
    kept = [b for b in flow.batches if b.iteration is not None and flow.phase(b) == phase]
    found = [b.iteration.loader for b in kept if b.iteration is not None] or flow.recording.loaders_of(phase)
    unique: list[Loader] = []
    for entry in found:
        if not any(is_rebuilt(entry, other) for other in unique):
            unique.append(entry)
    return unique


def _targets(flow: DataFlow, phase: str, entry: Loader) -> set[str]:
    """Paths of the targets that have countable labels."""
    batch = next((b for b in flow.batches if b.iteration is not None and b.iteration.loader is entry), None)
    if batch is None:
        return set()
    found = {path: t for path, t in batch.leaves.items() if flow.role(entry.index, path) == "target"}
    tokens = any(
        flow.role(entry.index, path) == "input" and describe(path, "input", t).kind == "tokens" for path, t in batch.leaves.items()
    )
    return {path for path, t in found.items() if describe(path, "target", t, beside_tokens=tokens).kind in ("labels", "mask")}


@dataclass
class _Scan:
    """The scan of one loader's dataset."""

    phase: str
    entry: Loader
    targets: set[str]
    end: float
    seen: int = 0
    total: int | None = None
    nonfinite: list[NonFiniteSample] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    error: str = ""
    _counters: dict[str, Counter[float]] = field(default_factory=dict)
    _single: dict[str, dict[int, float]] = field(default_factory=dict)
    """path -> label by dataset index, where a sample has one."""
    _whole: set[str] = field(default_factory=set)
    _dropped: set[str] = field(default_factory=set)
    """Targets with too many different values to be labels."""
    _failures: int = 0

    def run(self) -> None:
        """Read until the end of the data or of the time."""
        loader = self.entry.loader
        indices = next((i.indices for i in self.entry.iterations if i.indices), [])
        samples = Samples(loader, by_lists=bool(indices) and isinstance(indices[0], list))
        try:
            if samples.iterable:
                self._run_iterable(samples)
                return
            pool = samples.pool
            self.total = len(pool)
            if type(samples.dataset) in (TensorDataset, Subset) and samples.stacked and self._run_tensors(samples.dataset, pool):
                return
            for position in spread(len(pool)):
                if time.monotonic() > self.end or self._failures >= _MOST_FAILURES:
                    break
                self._read(samples, pool[position])
            with suppress(Exception):
                self._complete(samples, pool)
        except Exception as error:
            self._failed(error, "")

    def counts(self) -> Iterator[LabelCount]:
        """Yield how often each label was seen."""
        for path, counter in self._counters.items():
            if not counter or path in self._dropped:
                continue
            whole = path in self._whole
            values = sorted(counter)
            yield LabelCount(
                phase=self.phase,
                path=path,
                counts={f"{int(v)}" if whole else f"{v}": counter[v] for v in values},
                complete=self.total is not None and (self.seen == self.total or sum(counter.values()) == self.total),
                minimum=values[0],
                maximum=values[-1],
                integer=all(v == int(v) for v in values),
            )

    def _read(self, samples: Samples, index: int) -> None:
        try:
            leaves = samples[index]
        except Exception as error:
            self._failed(error, f" on sample {index}")
            return
        self._look(index, leaves)

    def _look(self, index: int, leaves: dict[str, Tensor]) -> None:
        self.seen += 1
        for path, tensor in leaves.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                self._note(path, index, tensor)
            if path in self.targets and path not in self._dropped:
                self._count(path, index, tensor)

    def _note(self, path: str, index: int, values: Tensor) -> None:
        self.broken.add(index)
        if len(self.nonfinite) < _MOST_KEPT:
            bad = ~torch.isfinite(values)
            columns: list[int] = bad.any(dim=0).nonzero().flatten().tolist() if values.dim() == 2 and values.shape[1] > 1 else []
            found = values[bad]
            value = "nan" if bool(found.isnan().any()) else "inf" if bool((found > 0).any()) else "-inf"
            kept = tuple(columns[:_MOST_COLUMNS])
            self.nonfinite.append(NonFiniteSample(phase=self.phase, path=path, index=index, columns=kept, value=value))

    def _count(self, path: str, index: int, tensor: Tensor) -> None:
        values, counts = torch.unique(tensor, return_counts=True) if tensor.numel() > 1 else (tensor.reshape(-1), None)
        counter = self._counters.setdefault(path, Counter())
        numbers = values.tolist()
        for number, count in zip(numbers, counts.tolist() if counts is not None else [1] * len(numbers), strict=True):
            if number == number:  # a NaN is no label
                counter[float(number)] += count
        if not tensor.is_floating_point():
            self._whole.add(path)
        if counts is None and index >= 0:
            self._single.setdefault(path, {})[index] = float(numbers[0])
        if len(counter) > _MOST_LABELS:
            self._dropped.add(path)

    def _complete(self, samples: Samples, pool: Sequence[int]) -> None:
        """Count the whole dataset where it keeps its labels in an array that agrees with every sample that was read."""
        if self.seen == self.total or not self.seen:
            return
        for path, read in self._single.items():
            if path in self._dropped or len(read) != self.seen:
                continue
            indices = np.fromiter(read, np.int64, len(read))
            values = np.fromiter(read.values(), np.float64, len(read))
            for labels in label_vectors(samples.dataset):
                if np.array_equal(labels[indices].astype(np.float64), values):
                    chosen = labels if isinstance(pool, range) else labels[np.asarray(pool)]
                    different, counts = np.unique(chosen, return_counts=True)
                    if len(different) <= _MOST_LABELS:
                        self._counters[path] = Counter(dict(zip(different.astype(float).tolist(), counts.tolist(), strict=True)))
                    break

    def _run_tensors(self, dataset: Any, pool: Sequence[int]) -> bool:
        """Search tensors in memory as a whole; False when the dataset is something else."""
        rows: Tensor | None = None
        if not isinstance(pool, range):
            rows = torch.as_tensor(pool, dtype=torch.int64)
        while type(dataset) is Subset:
            indices = torch.as_tensor(np.asarray(dataset.indices), dtype=torch.int64)
            rows, dataset = indices if rows is None else indices[rows], dataset.dataset
        if type(dataset) is not TensorDataset or any(t.layout is not torch.strided for t in dataset.tensors):
            return False
        step = max(1, _CHUNK // max(t[:1].numel() for t in dataset.tensors))
        for start in range(0, len(pool), step):
            if time.monotonic() > self.end:
                break
            stop = min(start + step, len(pool))
            for place, tensor in enumerate(dataset.tensors):
                part = tensor[start:stop] if rows is None else tensor[rows[start:stop].to(tensor.device)]
                self._look_at_rows(f"[{place}]", part.detach().cpu(), pool[start:stop])
            self.seen = stop
        return True

    def _look_at_rows(self, path: str, part: Tensor, indices: Sequence[int]) -> None:
        if part.is_floating_point() and not math.isfinite(float(part.sum())):  # finite where all are, unless they overflow
            bad = (~torch.isfinite(part)).reshape(len(part), -1).any(dim=1)
            for row in bad.nonzero().flatten().tolist():
                self._note(path, indices[row], part[row][None])
        if path in self.targets and path not in self._dropped:
            self._count(path, -1, part)

    def _run_iterable(self, samples: Samples) -> None:
        """Read the beginning of an iterable dataset, if a fresh pass over it leaves the next one what it was."""
        if is_used_up(samples.dataset):
            return
        for index, sample in enumerate(samples.dataset):
            if time.monotonic() > self.end:
                return
            self._look(index, samples.leaves(sample))
        self.total = self.seen

    def _failed(self, error: Exception, where: str) -> None:
        self._failures += 1
        if not self.error:
            said = str(error).splitlines()
            self.error = f"{type(error).__name__}{where} of the {self.phase} data: {said[0][:200] if said else 'no message'}"
