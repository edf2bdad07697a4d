"""How a schedule that is stepped too often or too rarely is mended, for each way in which it may be stepped."""

from __future__ import annotations

from trainlint.finding import Edit, Fix
from trainlint.measurements import SchedulerInfo

__all__ = ["each_epoch", "each_step", "start"]


def each_epoch(scheduler: SchedulerInfo) -> Fix:
    """How a schedule of epochs that is stepped after each batch is mended."""
    if scheduler.unit:
        return Fix(
            summary="Give its length, and that of its warm-up, in updates, or let it count epochs.",
            code="t_initial=epochs * updates_per_epoch, warmup_t=warmup_epochs * updates_per_epoch, t_in_epochs=False\n"
            "# or t_in_epochs=True, and scheduler.step(epoch + 1) after each epoch",
        )
    if scheduler.attached:
        return Fix(
            summary="Attach it to EPOCH_STARTED, or give its length in iterations.",
            code="milestones = [(epoch * len(loader), value) for epoch, value in milestones]\n"
            "trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)",
            edit=_attach("EPOCH_STARTED"),
        )
    return Fix(
        summary="Step it once an epoch, or give its length in steps.",
        code="for epoch in range(epochs):\n    train(model, loader, optimizer)\n    scheduler.step()",
        edit=Edit(kind="schedule-each-epoch"),
    )


def each_step(scheduler: SchedulerInfo) -> Fix:
    """How a schedule of steps that is stepped once an epoch is mended."""
    if scheduler.unit:
        return Fix(
            summary="Give its length in epochs, or let it count updates (t_in_epochs=False) and tell it of each.",
            code="optimizer.step()\nscheduler.step_update(num_updates)",
        )
    if scheduler.attached:
        return Fix(
            summary="Attach it to each iteration.",
            code="trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)",
            edit=_attach("ITERATION_STARTED"),
        )
    return Fix(
        summary='Step it after each optimizer step (in Lightning: "interval": "step").',
        code="optimizer.step()\nscheduler.step()      # inside the loop over batches",
        edit=Edit(kind="schedule-each-step"),
    )


def start(scheduler: SchedulerInfo, *, steps: bool, by_trainer: bool) -> Fix:
    """How a schedule that is never stepped is mended; ``steps``: its length is one in steps; ``by_trainer``: a trainer is to step it."""
    if by_trainer and scheduler.stepped_where is not None:
        unit = "step(epoch)" if scheduler.unit == "epochs" else "step_update(num_updates)" if scheduler.unit else "step()"
        return Fix(
            summary=f"Have the method step it each time it is called; what it steps by need not be a metric, which is None without a `monitor`: {unit}.",
            code="def lr_scheduler_step(self, scheduler, metric):\n    scheduler.step(epoch=self.current_epoch + 1)"
            if scheduler.unit == "epochs"
            else "def lr_scheduler_step(self, scheduler, metric):\n    scheduler.step()",
        )
    if by_trainer:
        return Fix(
            summary="Return it beside the optimizer, so that the trainer steps it.",
            code=f'return [optimizer], [{{"scheduler": scheduler, "interval": "{"step" if steps else "epoch"}"}}]',
        )
    if scheduler.unit:
        told = "epochs" if scheduler.unit == "epochs" else "updates"
        return Fix(
            summary=f"Tell it the {told} that have gone by.",
            code="scheduler.step(epoch + 1)  # after each epoch"
            if told == "epochs"
            else "scheduler.step_update(num_updates)  # after each step",
        )
    return Fix(
        summary=f"Step it {'after each optimizer step' if steps else 'once an epoch'}.",
        code="optimizer.step()\nscheduler.step()" if steps else "validate(model)\nscheduler.step()",
        edit=Edit(kind="schedule-start", values={"each": "step" if steps else "epoch"}),
    )


def _attach(event: str) -> Edit:
    """Attach the schedule to another event of ignite."""
    return Edit(kind="schedule-event", values={"event": event})
