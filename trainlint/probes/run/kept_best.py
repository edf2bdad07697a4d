"""By which metric, and in which direction, the trainer of a framework picks the best checkpoint or stops early.

The trainer is found on the stack: a recording ends within its loop; what ignite's handlers are told is read off the source. Which way a metric gets better is told by its name.
"""

from __future__ import annotations

import ast
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from trainlint.location import Location
from trainlint.measurements import KeptBest
from trainlint.probes.run.kept_scores import scored
from trainlint.probes.source.own_files import own_files
from trainlint.probes.source.scopes import called
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
    for choice in _chosen():
        metric, setting = choice.metric, choice.setting
        better = rises(metric) if choice.rises is None else choice.rises
        if better is None:
            continue
        kind = type(choice.holder).__name__
        built = [(file, *pair) for file, tree in trees for pair in _built(tree, kind, metric)]
        file, call, written = built[0] if len(built) == 1 else ("", None, None)
        given = {k.arg: k.value for k in call.keywords} if call is not None else {}
        found.append(
            KeptBest(
                kind=kind,
                metric=metric,
                rises=better,
                rising_is_better=choice.higher,
                setting=setting,
                by_default=call is not None and setting not in given and None not in given and not any(map(_is_flag, call.args)),
                keeps=choice.keeps,
                stops=choice.stops,
                where=_location(recording, file, written),
                built_where=_location(recording, file, call),
            )
        )
    if _running("ignite"):
        for file, tree in trees:
            for call, metric, value, written in scored(tree):
                if (better := rises(metric)) is not None:
                    kind = called(call)
                    stops = kind == "EarlyStopping"
                    where = _location(recording, file, written)
                    found.append(
                        KeptBest(
                            kind=kind,
                            metric=metric,
                            rises=better,
                            rising_is_better=value,
                            setting="score_function",
                            keeps=not stops,
                            stops=stops,
                            where=where,
                        )
                    )
    return tuple(found)


def _running(package: str) -> bool:
    """Whether a function of a package is on the stack."""
    return any(str(frame.f_globals.get("__name__", "")).partition(".")[0] == package for frame, _ in traceback.walk_stack(sys._getframe(1)))


def _is_flag(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


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


@dataclass(frozen=True)
class _Choice:
    """By what a trainer picks the best, or when to stop."""

    holder: Any
    metric: str
    setting: str
    higher: bool
    """The higher value is taken for the better one."""
    keeps: bool
    stops: bool
    rises: bool | None = None
    """Whether the metric rises, where that does not hang on its name."""


def _chosen() -> Iterator[_Choice]:
    """What the trainer on the stack goes by."""
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
        if package == "skorch" and isinstance(getattr(owner, "callbacks_", None), list):
            yield from _of_skorch(owner)
            return
        frame = frame.f_back


def _of_transformers(trainer: Any) -> Iterator[_Choice]:
    arguments = trainer.args
    callbacks = getattr(getattr(trainer, "callback_handler", None), "callbacks", [])
    stops = any(c.__name__ == "EarlyStoppingCallback" for one in callbacks for c in type(one).__mro__)
    keeps = bool(arguments.load_best_model_at_end) or "best" in str(getattr(arguments, "save_strategy", ""))
    metric, higher = arguments.metric_for_best_model, arguments.greater_is_better
    if isinstance(metric, str) and isinstance(higher, bool) and (keeps or stops):
        yield _Choice(arguments, metric, "greater_is_better", higher, keeps, stops)


def _of_lightning(trainer: Any) -> Iterator[_Choice]:
    for callback in trainer.callbacks:
        names = {c.__name__ for c in type(callback).__mro__}
        keeps = "ModelCheckpoint" in names and getattr(callback, "save_top_k", 1) not in (0, -1)  # all are kept, or none
        stops = "EarlyStopping" in names
        metric, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if (keeps or stops) and isinstance(metric, str) and mode in ("min", "max"):
            yield _Choice(callback, metric, "mode", mode == "max", keeps, stops)


def _of_skorch(net: Any) -> Iterator[_Choice]:
    """Its early stopping, and the scores of which a checkpoint keeps what they call the best.

    Scorers of scikit-learn, told by their names there, rise by convention; what the script calls their values says nothing.
    """
    callbacks = [callback for _, callback in net.callbacks_]
    scorers = {c.name_ for c in callbacks if hasattr(c, "name_") and _is_scorer(getattr(c, "scoring", callable))}
    kept = {getattr(c, "monitor", None) for c in callbacks if any(k.__name__ == "Checkpoint" for k in type(c).__mro__)}
    for callback in callbacks:
        stops = any(k.__name__ == "EarlyStopping" for k in type(callback).__mro__)
        metric = getattr(callback, "monitor" if stops else "name_", None)
        keeps = bool(getattr(callback, "load_best", False)) if stops else f"{metric}_best" in kept
        lower = getattr(callback, "lower_is_better", None)
        if (keeps or stops) and isinstance(metric, str) and isinstance(lower, bool):
            yield _Choice(callback, metric, "lower_is_better", not lower, keeps, stops, True if metric in scorers else None)


def _is_scorer(scoring: Any) -> bool:
    """Whether it is a scorer of scikit-learn's by its name, the model's own score, or made by ``make_scorer()``: higher is better."""
    return scoring is None or isinstance(scoring, str) or hasattr(scoring, "_sign")
