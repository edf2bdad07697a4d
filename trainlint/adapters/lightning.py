"""``Trainer(callbacks=[TrainlintCallback()])`` for Lightning: checked when the fit starts, watched while it runs."""

from __future__ import annotations

from typing import Any

from trainlint.adapters.preflight import Preflight
from trainlint.checking import check

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback  # type: ignore[assignment, unused-ignore]

__all__ = ["TrainlintCallback"]


class TrainlintCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Takes the options of :class:`~trainlint.adapters.preflight.Preflight`."""

    def __init__(self, **options: Any) -> None:
        self.preflight = Preflight(**options)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Check the module on the trainer's own loaders and optimizers, on the first rank."""
        if not trainer.is_global_zero:
            return
        val = trainer.val_dataloaders
        self.preflight.start(
            pl_module,
            trainer.optimizers,
            lambda **options: check(
                pl_module,
                trainer.train_dataloader,
                val_loader=val[0] if isinstance(val, list) else val,
                optimizer=trainer.optimizers,
                **options,
            ),
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Pass logged values on."""
        self.preflight.log(trainer.logged_metrics)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """End the watch."""
        self.preflight.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        """End the watch of a fit that failed."""
        self.preflight.end()
