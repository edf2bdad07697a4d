"""How a schedule that is stepped too often or too rarely is mended, for each way in which it may be stepped."""

from __future__ import annotations

from trainlint.finding import Edit, Fix
from trainlint.measurements import SchedulerInfo

__all__ = ["each_epoch", "each_step"]


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


def _attach(event: str) -> Edit:
    """Attach the schedule to another event of ignite."""
    return Edit(kind="schedule-event", values={"event": event})
