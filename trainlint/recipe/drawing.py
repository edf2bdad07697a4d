"""Drawings of trainings and searches as SVG."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainlint.recipe.history import History

if TYPE_CHECKING:
    from trainlint.recipe.search import Probe

__all__ = ["draw_histories", "draw_search"]

#: Okabe and Ito's colours, told apart with any colour vision.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999")
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "trainlint", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.3, "font.size": 9,
}  # fmt: skip


def draw_histories(histories: Mapping[str, History]) -> str:
    """Loss, accuracy and learning rate by epoch. A single run shows its training loss too."""
    with _drawing(3, (11, 3.2)) as (axes, done):
        loss, accuracy, rate = axes
        for (name, history), colour in zip(histories.items(), _COLOURS * (1 + len(histories) // len(_COLOURS)), strict=False):
            x = [e.epoch for e in history.epochs]
            if len(histories) == 1:
                loss.plot(x, [e.train_loss for e in history.epochs], color="#999999", linestyle="--", label="training, augmented")
            loss.plot(x, [e.val_loss for e in history.epochs], color=colour, label="validation" if len(histories) == 1 else name)
            accuracy.plot(x, [100 * e.val_accuracy if e.val_accuracy is not None else float("nan") for e in history.epochs], color=colour)
            rate.plot(x, [e.lr for e in history.epochs], color=colour)
        loss.legend(frameon=False, fontsize=8)
        for axis, title in ((loss, "loss"), (accuracy, "validation accuracy, %"), (rate, "learning rate")):
            axis.set_title(title, loc="left")
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        return done()


def draw_search(probes: Sequence[Probe]) -> str:
    """Accuracy against each setting that was drawn; filled marks ran to the end, hollow ones were given up."""
    names = list(probes[0].settings)
    with _drawing(len(names), (3.1 * len(names), 3.2)) as (axes, done):
        for axis, name in zip(axes, names, strict=True):
            for stage, colour in (("coarse", _COLOURS[0]), ("fine", _COLOURS[1])):
                for outcome in ("complete", "given up"):
                    chosen = [p for p in probes if p.stage == stage and p.accuracy is not None and (p.outcome == "complete") == (outcome == "complete")]  # fmt: skip
                    axis.scatter(
                        [p.settings[name] for p in chosen], [100 * (p.accuracy or 0) for p in chosen], s=22, edgecolors=colour,
                        facecolors=colour if outcome == "complete" else "none", label=f"{stage}, {outcome}" if chosen else None,
                    )  # fmt: skip
            if name in ("lr", "weight_decay"):
                axis.set_xscale("log")
            axis.set_xlabel(name.replace("_", " "))
        axes[0].set_ylabel("best validation accuracy, %")
        axes[0].legend(frameon=False, fontsize=7)
        return done()


@contextlib.contextmanager
def _drawing(columns: int, size: tuple[float, float]) -> Iterator[tuple[list[Any], Callable[[], str]]]:
    """A row of axes, and what gives them as SVG text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(size, layout="constrained")
        FigureCanvasSVG(figure)

        def done() -> str:
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
            return text.getvalue()

        yield list(figure.subplots(1, columns, squeeze=False)[0]), done
