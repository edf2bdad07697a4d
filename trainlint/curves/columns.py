"""What a column means, read from its name: which split, loss or metric or learning rate or axis, and which way is better."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Meaning", "kind_of", "meaning", "meanings_of", "says_split"]

_TRAIN = frozenset({"train", "training", "trn", "tr", "fit", "trainset", "insample"})
_VAL = frozenset({
    "val", "valid", "validation", "vali", "vld", "vl", "valset", "eval", "evaluation", "dev", "devset", "holdout", "heldout", "cv", "xval", "crossval", "oos",
    "oof", "unseen",
})  # fmt: skip
_TEST = frozenset({"test", "testing", "tst", "te"})
_LOSS = frozenset({"loss", "losses", "cost", "nll", "xent", "crossentropy", "objective", "ce", "bce", "elbo", "logloss"})
_RATE = frozenset({"lr", "lrs"})
_AXIS = (
    "step",
    "steps",
    "iter",
    "iters",
    "iteration",
    "iterations",
    "it",
    "update",
    "updates",
    "epoch",
    "epochs",
    "ep",
    "index",
    "round",
    "s",
)
#: Splits of several words, as one.
_PHRASES = (
    (re.compile(r"(?<![a-z])out[\W_]*of[\W_]*sample(?![a-z])"), "oos"),
    (re.compile(r"(?<![a-z])out[\W_]*of[\W_]*fold(?![a-z])"), "oof"),
    (re.compile(r"(?<![a-z])in[\W_]*sample(?![a-z])"), "insample"),
    (re.compile(r"(?<![a-z])(held|hold)[\W_]*out(?![a-z])"), "heldout"),
    (re.compile(r"(?<![a-z])cross[\W_]*val(idation)?(?![a-z])"), "crossval"),
)
#: A split and what was measured, written as one word: ``cvloss``.
_JOINED = re.compile(r"([a-z]+?)(loss|acc|err|error|mse|mae)")
#: Words that say train and validation only beside each other: ``t_loss`` and ``v_loss``.
_PAIRS = (("t", "v"), ("tr", "ts"), ("train", "ts"), ("seen", "unseen"))
#: Words that change nothing about what a column is.
_FILLERS = frozenset({
    "total", "avg", "average", "mean", "running", "smoothed", "smooth", "step", "epoch", "batch", "iter", "metrics", "metric", "global", "trainer", "all",
    "overall", "sum", "the", "set", "per", "on", "x", "lm", "model", "main", "value", "vae", "s", "0", "1", "logs", "stats", "scalars", "phase", "info",
})  # fmt: skip
#: Words that make a column something else than its other words say.
_ELSE = frozenset({
    "scale", "scaler", "scaling", "weight", "weights", "coef", "coefficient", "lambda", "time", "seconds", "secs", "sec", "ms", "eta", "best", "min", "max", "std",
    "var", "memory", "mem", "gpu", "cpu", "size", "speed", "runtime", "timestamp", "wall", "count", "samples", "num", "number", "norm", "flos", "params",
    "threshold", "patience", "momentum", "decay", "temperature", "window", "seed", "grad", "gradient", "duration", "elapsed", "tokens", "throughput", "freq",
    "ratio", "sparsity", "entropy", "beta", "alpha", "gamma", "skipped", "rank", "shape", "kernel", "fct", "function", "delta", "diff", "gap", "improvement",
})  # fmt: skip
#: Metric words, the more telling first, and whether higher is better.
_METRICS: dict[str, bool] = {
    "accuracy": True, "acc": True, "top": True, "prec": True, "map": True, "miou": True, "iou": True, "jaccard": True, "dice": True, "dsc": True, "f": True,
    "f1": True, "fscore": True, "auc": True, "auroc": True, "roc": True, "mauc": True, "ap": True, "bleu": True, "rouge": True, "rougel": True, "meteor": True,
    "cider": True, "em": True, "exact": True, "match": True, "psnr": True, "ssim": True, "r2": True, "return": True, "reward": True, "rewards": True, "score": True,
    "success": True, "kappa": True, "mcc": True, "corr": True, "correlation": True, "pearson": True, "spearman": True, "spearmanr": True, "ndcg": True, "mrr": True,
    "hit": True, "hits": True, "recall": True, "precision": True, "sensitivity": True, "specificity": True, "fps": False,
    "error": False, "err": False, "wer": False, "cer": False, "mae": False, "mse": False, "rmse": False, "mape": False, "smape": False, "rmsle": False, "perplexity": False, "ppl": False,
    "fid": False, "kl": False, "lpips": False, "bpc": False, "bpb": False, "eer": False,
}  # fmt: skip
#: Words that may stand beside a bare F; a module is called ``C2f``.
_OF_F = frozenset(
    {"f", "1", "2", "score", "measure", "beta", "macro", "micro", "weighted", "mean", "avg", "average", "best", "overall", "b"}
)
#: Metrics that a model can be fitted to, so that training and validation values of one are a loss where there is none.
_ERRORS = frozenset(
    {"error", "err", "wer", "cer", "mae", "mse", "rmse", "mape", "smape", "rmsle", "perplexity", "ppl", "bpc", "bpb", "eer"}
)
_NOT_METRICS = frozenset({"fps", "kl"})
_SHORT = {
    "trl": "train loss", "tel": "test loss", "vll": "val loss", "vl": "val loss", "tloss": "train loss", "vloss": "val loss", "tacc": "train acc", "vacc": "val acc",
    "learningrate": "lr",
}  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """What a name says."""

    kind: str
    """``loss``, ``metric``, ``lr``, ``axis``, ``gradient`` or ``other``."""
    split: str = ""
    """``train``, ``val``, ``test`` or empty."""
    rest: tuple[str, ...] = ()
    """The words that tell this loss from others (``box``, ``cls``); empty for a total."""
    total: bool = False
    """Whether the name says that it is the sum."""
    rank: int = 0
    """Among axes and metrics, which to take first: the smaller."""
    higher_is_better: bool = False
    error: bool = False
    """Whether it is a metric that can stand for a loss: an error, a perplexity."""


def kind_of(name: str) -> str:
    """``loss``, ``metric``, ``lr``, ``axis``, ``gradient`` or ``other``."""
    return meaning(name).kind


def says_split(name: str) -> bool:
    """Whether the name itself says train, validation or test."""
    return bool(meaning(name).split)


def meanings_of(names: Iterable[str]) -> dict[str, Meaning]:
    """Read the names of one table, in which some tell their split only beside another: ``t_loss`` and ``v_loss``."""
    words = {name: _words(name) for name in names}
    found = {name: meaning(name) for name in words}
    bare = [m.split for m in found.values() if m.kind == "loss" and m.rest == ("",)]
    if bare == ["train"]:  # "train,test" as "train,valid"
        tested = [n for n, own in words.items() if len(own) == 1 and own[0] in _VAL | _TEST]
        found |= {n: Meaning("loss", found[n].split, rest=("",)) for n in tested}
    for pair in _PAIRS:
        if not _splits(pair, list(words.values())):
            continue
        said = dict(zip(pair, ("train", "val"), strict=True))
        for name, own in words.items():
            alike = meaning(" ".join(said.get(w, w) for w in own)) if set(own) & set(pair) else found[name]
            if alike.kind in ("loss", "metric"):
                found[name] = alike
    return found


def _splits(pair: tuple[str, str], names: list[list[str]]) -> bool:
    """Whether a quantity is there with both words of a pair, and neither bare nor with a word for training."""
    train, val = pair
    for own in names:
        rest = [w for w in own if w != train]
        if len(rest) == len(own) or kind_of(" ".join(rest)) not in ("loss", "metric"):
            continue
        bare = [[w for w in other if w not in _TRAIN] for other in names if train not in other]
        if [val if w == train else w for w in own] in names and rest not in bare:
            return True
    return False


@lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning:
    """Read a column's name."""
    words = _words(name)
    kinds = set(words)
    split = "train" if kinds & _TRAIN else "val" if kinds & _VAL else "test" if kinds & _TEST else ""
    own = [w for w in words if w not in _TRAIN | _VAL | _TEST]
    left = set(own)
    if left & _RATE or {"learning", "rate"} <= left:
        return Meaning("lr", split)
    if {"grad", "norm"} <= left or {"gradient", "norm"} <= left or left == {"gnorm"}:
        return Meaning("gradient", split)
    if (
        own
        and own not in (["num", "epoch"], ["num", "epochs"])
        and left <= {*_AXIS, "global", "trainer", "num", "current", "no", "number", "idx"}
        and left & set(_AXIS)
    ):
        return Meaning("axis", split, rank=min(_AXIS.index(w) for w in own if w in _AXIS))
    if not own and split in ("train", "val") and len(words) == 1 and words[0] in ("train", "valid", "val"):
        return Meaning("loss", split, rest=("",))  # "train=0.17 valid=0.23"; a plain loss is preferred
    if left & _ELSE and not ("cross" in left and "entropy" in left):
        return Meaning("other", split)
    if left & _LOSS or {"cross", "entropy"} <= left or re.match(r"l_[a-z]", name.lower()):  # BasicSR: l_pix
        rest = tuple(w for w in own if w not in _LOSS | _FILLERS | {"cross", "entropy"})
        return Meaning("loss", split, rest=rest, total=bool(left & {"total", "sum", "all", "overall"}))
    ranks = [i for i, w in enumerate(_METRICS) if w in left and w not in _NOT_METRICS and (w != "f" or left <= _OF_F)]
    if ranks:
        first = min(ranks)
        late = 100 if {"top", "5"} <= left or {"acc", "5"} <= left or {"top", "3"} <= left else 0
        wide = 1 if "map" in left and "95" not in left else 0
        word = list(_METRICS)[first]
        lower = any(w in left and not _METRICS[w] for w in ("error", "err"))
        return Meaning(
            "metric",
            split,
            rest=tuple(own),
            rank=first + late + wide,
            higher_is_better=_METRICS[word] and not lower,
            error=lower or word in _ERRORS,
        )
    return Meaning("other", split)


def _words(name: str) -> list[str]:
    text = re.sub(r"mAP", "map", name)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower()
    for phrase, word in _PHRASES:
        text = phrase.sub(word, text)
    words: list[str] = []
    for word in re.findall(r"r2|f1|[a-z]+|\d+", text):
        joined = _JOINED.fullmatch(word)
        words += joined.groups() if joined and joined[1] in _TRAIN | _VAL | _TEST else _SHORT.get(word, word).split()
    return words
