"""``attach(engine, model, loader, ...)`` for ignite: checked when the engine starts, watched while it runs."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

from trainlint.adapters.preflight import Preflight
from trainlint.checking import check

__all__ = ["attach"]

#: What goes to the check; the rest goes to the preflight.
_CHECK = ("loss_fn", "val_loader", "scheduler", "step", "device", "seed")


def attach(engine: Engine, model: Any, loader: Any = None, *, optimizer: Any = None, **options: Any) -> Preflight:
    """Add the check to a training engine; the result holds the report once the engine started.

    Args:
        engine: The engine that trains.
        model: The model that it trains; an engine does not say.
        loader: Training batches; by default those that the engine runs on.
        optimizer: The optimizer, or several.
        options: ``loss_fn``, ``val_loader``, ``scheduler``, ``step``, ``device`` and ``seed`` as for :func:`trainlint.check`; the
            others as for :class:`~trainlint.adapters.preflight.Preflight`.
    """
    given = {key: options.pop(key) for key in _CHECK if key in options}
    preflight = Preflight(**options)

    def started() -> None:
        batches = loader if loader is not None else engine.state.dataloader
        preflight.start(model, optimizer, lambda **more: check(model, batches, optimizer=optimizer, **given, **more))

    def ended() -> None:
        preflight.end()

    def failed(error: BaseException) -> None:
        preflight.end()
        raise error

    engine.add_event_handler(Events.STARTED, started)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: preflight.log(engine.state.metrics))
    engine.add_event_handler(Events.COMPLETED, ended)
    engine.add_event_handler(Events.EXCEPTION_RAISED, failed)
    return preflight
