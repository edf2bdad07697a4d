"""``trainer.add_callback(TrainlintCallback(trainer))`` for the Hugging Face Trainer: checked when training starts, watched while it runs."""

from __future__ import annotations

from typing import Any

from transformers import Trainer, TrainerCallback

from trainlint.adapters.preflight import Preflight
from trainlint.checking import check

__all__ = ["TrainlintCallback"]


class TrainlintCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Takes the trainer, for its data and its loss, and the options of :class:`~trainlint.adapters.preflight.Preflight`."""

    def __init__(self, trainer: Trainer, **options: Any) -> None:
        self.trainer = trainer
        self.preflight = Preflight(**options)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Check the trainer's model on its own data, on the first rank."""
        if state.is_world_process_zero:
            self.preflight.start(self.trainer.model, self.trainer.optimizer, lambda **options: check(self.trainer, **options))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Pass logged values on."""
        self.preflight.log(logs or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """End the watch."""
        self.preflight.end()
