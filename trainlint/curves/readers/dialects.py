"""Who wrote a table, told by its columns; and tables whose rows are runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainlint.curves.log import Log

__all__ = ["dialect", "is_table_of_runs"]

#: Format -> columns that are all there, checked in order.
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tensorboard-csv", (r"wall time", r"step", r"value")),
    ("wandb-runs-table", (r"name", r"state", r"created|runtime")),
    ("wandb-csv", (r".* - .*__(min|max)",)),
    ("wandb-csv", (r"_step", r"_runtime|_timestamp")),
    ("ultralytics-csv", (r"train/box_loss|metrics/map.*|metrics/accuracy_top1",)),
    ("lightning-csv", (r"epoch", r"step", r".*(_step|_epoch|loss|acc).*")),
    ("timm-csv", (r"epoch", r"train_loss", r"eval_(loss|top1)")),
    ("fastai-csv", (r"epoch", r"train_loss", r"valid_loss")),
    ("keras-csv", (r"loss", r"val_loss|accuracy|acc|lr|learning_rate")),
)
_IDENTITIES = re.compile(r"(run[ _]?)?(name|id)|run|experiment|model|trial|config", re.IGNORECASE)
_AXES = re.compile(r"_?(global_?)?(step|epoch|iter|iteration|index)s?|trainer/global_step", re.IGNORECASE)


def dialect(names: Sequence[str], delimiter: str) -> str:
    """The format's name: that of the program whose columns these are, else ``csv``, ``tsv`` or ``table``."""
    lower = [name.lower() for name in names]
    for found, signs in _SIGNS:
        if all(any(re.fullmatch(sign, name) for name in lower) for sign in signs):
            return found
    return {"\t": "tsv", ",": "csv", ";": "csv"}.get(delimiter, "table")


def is_table_of_runs(log: Log) -> bool:
    """Whether each row has a name of its own and nothing counts steps."""
    if log.format == "wandb-runs-table":
        return True
    if any(_AXES.fullmatch(name) for name in log.columns):
        return False
    named = [w for w in log.words.values() if _IDENTITIES.fullmatch(w.name)]
    return log.rows >= 2 and any(w.seen == log.rows and len(w.distinct) == log.rows for w in named)
