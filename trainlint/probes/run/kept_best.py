"""By which metric, and in which direction, the trainer of a framework picks the best checkpoint or stops early.

The trainer is found on the stack: a recording ends within its loop. Which way a metric gets better is told by its name.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from trainlint.location import Location
from trainlint.measurements import KeptBest
from trainlint.probes.source.own_files import own_files
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording

__all__ = ["kept_best", "rises"]

#: Words in the name of a metric that falls with success, and of one that rises.
_FALLS = {
    "loss", "losses", "mae", "mse", "rmse", "rmsle", "mape", "smape", "nmse", "nrmse", "err", "error", "errors", "wer", "cer", "ter",
    "eer", "ppl", "perplexity", "nll", "bce", "brier", "crps", "logloss", "fid", "lpips",
}  # fmt: skip
_RISES = {
    "acc", "accuracy", "accuracies", "f1", "fbeta", "auc", "auroc", "auprc", "iou", "miou", "jaccard", "dice", "precision", "recall",
    "bleu", "sacrebleu", "rouge", "meteor", "chrf", "r2", "mcc", "kappa", "map", "psnr", "ssim", "ndcg", "mrr", "pearson",
    "spearman",
}  # fmt: skip
#: Words that may turn a metric round, or name what is left of one.
_TURNS = {
    "neg", "negative", "negated", "minus", "inv", "inverse", "reduction", "improvement", "gain", "free", "drop", "decrease", "gap",
    "diff", "difference", "adv", "adversarial", "reward",
}  # fmt: skip
#: Calls on the stack that are looked at.
_DEEP = 200


def rises(metric: str) -> bool | None:
    """Whether a metric gets better by rising, by the words of its name; None where they do not tell."""
    words = re.findall(r"[a-z]+\d*", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", metric).lower())
    words += [word.rstrip("0123456789") for word in words]
    if _TURNS & {*words}:
        return None
    falling, rising = bool(_FALLS & {*words}), bool(_RISES & {*words})
    return rising if falling != rising else None


def kept_best(recording: Recording) -> tuple[KeptBest, ...]:
    """Every way in which the running trainer picks the best, whose metric is known to rise or to fall."""
    trees = [(file, tree) for file in own_files(recording.frames, sys.modules) if (tree := source_tree(file)) is not None]
    found = []
    for holder, metric, setting, value, keeps, stops in _chosen():
        better = rises(metric)
        if better is None:
            continue
        kind = type(holder).__name__
        built = [(file, *pair) for file, tree in trees for pair in _built(tree, kind, metric)]
        file, call, written = built[0] if len(built) == 1 else ("", None, None)
        given = {k.arg: k.value for k in call.keywords} if call is not None else {}
        found.append(
            KeptBest(
                kind=kind,
                metric=metric,
                rises=better,
                rising_is_better=value,
                setting=setting,
                by_default=call is not None and setting not in given and None not in given,
                keeps=keeps,
                stops=stops,
                where=_location(recording, file, written),
                built_where=_location(recording, file, call),
            )
        )
    return tuple(found)


def _location(recording: Recording, file: str, node: ast.expr | None) -> Location | None:
    return recording.frames.location((file, node.lineno, "")) if node is not None else None


def _built(tree: ast.Module, kind: str, metric: str) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls that build an object of this class with this metric's name among the arguments, each with the argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == kind:
            given = [*node.args, *(k.value for k in node.keywords)]
            named = [a for a in given if isinstance(a, ast.Constant) and a.value == metric]
            if named:
                yield node, named[0]


def _chosen() -> Iterator[tuple[Any, str, str, bool, bool, bool]]:
    """Yield ``(holder, metric, setting, whether higher is better, whether weights are kept, whether it stops)`` of the trainer on the stack."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_DEEP):
        if frame is None:
            return
        package, owner = str(frame.f_globals.get("__name__", "")).partition(".")[0], frame.f_locals.get("self")
        if package == "transformers" and hasattr(getattr(owner, "args", None), "metric_for_best_model"):
            yield from _of_transformers(owner)
            return
        if (
            package in ("lightning", "pytorch_lightning")
            and hasattr(owner, "fit_loop")
            and isinstance(getattr(owner, "callbacks", None), list)
        ):
            yield from _of_lightning(owner)
            return
        frame = frame.f_back


def _of_transformers(trainer: Any) -> Iterator[tuple[Any, str, str, bool, bool, bool]]:
    arguments = trainer.args
    callbacks = getattr(getattr(trainer, "callback_handler", None), "callbacks", [])
    stops = any(c.__name__ == "EarlyStoppingCallback" for one in callbacks for c in type(one).__mro__)
    keeps = bool(arguments.load_best_model_at_end) or "best" in str(getattr(arguments, "save_strategy", ""))
    metric, higher = arguments.metric_for_best_model, arguments.greater_is_better
    if isinstance(metric, str) and isinstance(higher, bool) and (keeps or stops):
        yield arguments, metric, "greater_is_better", higher, keeps, stops


def _of_lightning(trainer: Any) -> Iterator[tuple[Any, str, str, bool, bool, bool]]:
    for callback in trainer.callbacks:
        names = {c.__name__ for c in type(callback).__mro__}
        keeps = "ModelCheckpoint" in names and getattr(callback, "save_top_k", 1) not in (0, -1)  # all are kept, or none
        stops = "EarlyStopping" in names
        metric, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if (keeps or stops) and isinstance(metric, str) and mode in ("min", "max"):
            yield callback, metric, "mode", mode == "max", keeps, stops
