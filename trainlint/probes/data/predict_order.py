"""Whether a framework that predicts through its validation loader was told to shuffle it: skorch's ``iterator_valid``."""

from __future__ import annotations

import ast
import sys

from torch.utils.data import RandomSampler

from trainlint.probes.data.datasets import sampler_of
from trainlint.probes.data.value_source import argument_named
from trainlint.probes.source.scopes import called
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording

__all__ = ["mixed_predictions"]

_ARGUMENT = "iterator_valid__shuffle"
#: Calls, of a net or of scikit-learn's, that set predictions beside their inputs.
_PREDICTING = frozenset({
    "GridSearchCV", "RandomizedSearchCV", "cross_val_predict", "cross_val_score", "cross_validate", "forward", "predict", "predict_proba", "score",
})  # fmt: skip


def mixed_predictions(recording: Recording) -> Place | None:
    """The argument that shuffles what skorch's ``predict()`` reads, where the same file predicts; None where nothing is shuffled."""
    if "skorch" not in sys.modules:
        return None
    for entry in recording.loaders_of("val"):
        filename = entry.place[0] if entry.place is not None else ""
        tree = source_tree(filename) if filename and isinstance(sampler_of(entry.loader), RandomSampler) else None
        if tree is not None and any(isinstance(n, ast.Call) and called(n) in _PREDICTING for n in ast.walk(tree)):
            line = argument_named(filename, _ARGUMENT)
            if line is not None:
                return filename, line, ""
    return None
