"""The reference recipe: what a well-trained image model uses today, each ingredient on a switch and taken from timm or torch.

Data moves one way: a frozen :class:`Recipe` -> :func:`train` on a model and its loaders -> a :class:`History`. ``ablate`` and
``search`` repeat that with changed recipes; ``image_folder_problem`` builds model and loaders for images in folders.
Importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainlint.recipe.ablation import ablate
    from trainlint.recipe.advice import Advice, advice
    from trainlint.recipe.data import balanced_loader
    from trainlint.recipe.ensemble import Ensemble, average_predictions, train_several
    from trainlint.recipe.evaluation import Evaluation, evaluate
    from trainlint.recipe.history import Epoch, History
    from trainlint.recipe.problem import Pieces, Problem, image_folder_problem
    from trainlint.recipe.search import search
    from trainlint.recipe.settings import INGREDIENTS, Recipe
    from trainlint.recipe.training import train

_HOMES = {
    "Advice": "advice",
    "Ensemble": "ensemble",
    "Epoch": "history",
    "Evaluation": "evaluation",
    "History": "history",
    "INGREDIENTS": "settings",
    "Pieces": "problem",
    "Problem": "problem",
    "Recipe": "settings",
    "ablate": "ablation",
    "advice": "advice",
    "average_predictions": "ensemble",
    "balanced_loader": "data",
    "evaluate": "evaluation",
    "image_folder_problem": "problem",
    "search": "search",
    "train": "training",
    "train_several": "ensemble",
}

__all__ = [
    "INGREDIENTS",
    "Advice",
    "Ensemble",
    "Epoch",
    "Evaluation",
    "History",
    "Pieces",
    "Problem",
    "Recipe",
    "ablate",
    "advice",
    "average_predictions",
    "balanced_loader",
    "evaluate",
    "image_folder_problem",
    "search",
    "train",
    "train_several",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"trainlint.recipe.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
