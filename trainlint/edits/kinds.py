"""Every kind of edit by its name, with whether it may be applied without a look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trainlint.edits import (
    activation,
    averages,
    axes,
    counting,
    data,
    dividing,
    dropout,
    filling,
    gradients,
    graph,
    in_place,
    loader,
    loop,
    loss,
    mixing,
    modes,
    module,
    optimizer,
    pairing,
    returns,
    scaling,
    schedule,
    seeding,
    tokens,
)
from trainlint.edits.changes import Changes
from trainlint.edits.script import Script
from trainlint.finding import Json

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """One kind of edit."""

    make: Callable[[Script, int, dict[str, Json]], Changes]
    """Makes the change of a script at a line, from ``Edit.values``; raises :class:`trainlint.edits.script.Unsure` when in doubt."""
    safe: bool = False
    """It does what its rule says and nothing that a user might not want: order of calls, modes, registration. What changes the
    meaning of a number or of an output is to be reviewed."""


KINDS: Mapping[str, Kind] = {
    "shuffle-loader": Kind(loader.shuffle, safe=True),
    "set-epoch": Kind(loader.cover_sampler, safe=True),
    "weigh-samples": Kind(loader.weigh_samples),
    "predict-in-order": Kind(loader.predict_in_order, safe=True),
    "drop-last": Kind(loader.drop_last, safe=True),
    "batch-size": Kind(loader.set_batch_size),
    "reseed-workers": Kind(loader.reseed_workers, safe=True),
    "seed-workers": Kind(loader.seed_workers),
    "clear-gradients": Kind(loop.clear, safe=True),
    "divide-loss": Kind(loss.divide_loss),
    "divide-once": Kind(dividing.divide_once),
    "order-step": Kind(loop.reorder, safe=True),
    "clear-after-step": Kind(loop.clear_after_step, safe=True),
    "clip-before-step": Kind(loop.clip_before_step, safe=True),
    "clip-norm": Kind(loop.set_clip),
    "backward": Kind(loop.go_backward),
    "optimizer-step": Kind(loop.step),
    "unscale": Kind(loop.unscale, safe=True),
    "scaler-step": Kind(loop.scaler_step, safe=True),
    "keep-value": Kind(loop.keep_value, safe=True),
    "train-mode": Kind(modes.train, safe=True),
    "eval-mode": Kind(modes.evaluate, safe=True),
    "no-grad": Kind(modes.without_gradients, safe=True),
    "drop-activation": Kind(activation.drop_activation),
    "log-softmax": Kind(activation.log_softmax),
    "swap-loss": Kind(loss.swap_loss),
    "match-shape": Kind(loss.squeeze, safe=True),
    "drop-column": Kind(axes.drop_column),
    "reduction": Kind(loss.reduce),
    "label-smoothing": Kind(loss.drop_smoothing),
    "soft-target": Kind(loss.harden_not),
    "mix-losses": Kind(mixing.mix_losses),
    "ignore-index": Kind(loss.ignore_index),
    "fill-targets": Kind(filling.fill_targets),
    "pad-token": Kind(tokens.own_padding),
    "pos-weight": Kind(loss.pos_weight),
    "target": Kind(loss.scale_target),
    "learning-rate": Kind(optimizer.set_learning_rate),
    "restored-rate": Kind(optimizer.set_restored_rate),
    "decoupled-decay": Kind(optimizer.decouple),
    "decay-groups": Kind(optimizer.split_decay),
    "all-parameters": Kind(optimizer.complete),
    "plateau-mode": Kind(schedule.set_direction, safe=True),
    "schedule-factor": Kind(schedule.as_factor),
    "schedule-length": Kind(schedule.set_horizon),
    "schedule-share": Kind(schedule.stretch),
    "schedule-each-step": Kind(schedule.each_step),
    "schedule-event": Kind(schedule.attach_to),
    "schedule-each-epoch": Kind(schedule.each_epoch),
    "schedule-start": Kind(schedule.take_steps),
    "schedule-after-step": Kind(schedule.after_optimizer, safe=True),
    "register-modules": Kind(module.register, safe=True),
    "unfreeze": Kind(gradients.thaw),
    "learn-table": Kind(gradients.learn_table),
    "keep-gradients": Kind(gradients.keep_gradients),
    "detach-target": Kind(gradients.detach_target),
    "allow-gradients": Kind(gradients.allow_gradients),
    "keep-graph": Kind(graph.keep_graph),
    "batch-first": Kind(module.batch_first),
    "batch-axis-first": Kind(module.batch_axis_first),
    "swap-axes": Kind(axes.swap),
    "running-sum": Kind(counting.running_sum),
    "causal-mask": Kind(module.causal),
    "off-the-edge": Kind(module.off_the_edge),
    "dropout-flag": Kind(dropout.tell_mode),
    "dropout": Kind(module.lower_dropout),
    "embedding-scale": Kind(module.scale_weights),
    "norm-momentum": Kind(averages.set_momentum),
    "average-decay": Kind(averages.set_decay),
    "copy-kept": Kind(averages.copy_kept),
    "write-into": Kind(averages.write_into),
    "better-direction": Kind(averages.turn_round, safe=True),
    "rescale-input": Kind(data.rescale),
    "standardise-input": Kind(data.standardise),
    "fill-missing": Kind(data.fill_missing),
    "count-from-zero": Kind(data.count_from_zero),
    "plain-validation": Kind(data.plain_validation),
    "not-in-place": Kind(in_place.not_in_place),
    "return-loss": Kind(returns.return_loss),
    "return-copy": Kind(returns.return_copy),
    "transform-only": Kind(scaling.transform_only),
    "seed-once": Kind(seeding.seed_once),
    "restore-generator": Kind(seeding.restore_generator),
    "natural-order": Kind(pairing.order_by_number),
    "draw-once": Kind(pairing.draw_once),
    "nearest-labels": Kind(data.nearest_labels),
    "split-in-order": Kind(loader.split_in_order),
    "share-stream": Kind(loader.share_stream),
    "average-buffers": Kind(averages.average_buffers),
    "swap-shares": Kind(loss.swap_shares),
    "rebuild-schedule": Kind(schedule.rebuild_schedule),
}
