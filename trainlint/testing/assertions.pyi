"""Written by `python -m trainlint.testing.assertions` from the installed rules; a test keeps the two equal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from trainlint.finding import Finding
from trainlint.report import Report

__all__ = ["Assertions", "stub"]

class _RuleAssertion(Protocol):
    def __call__(
        self,
        model: Any,
        loader: Any = None,
        *,
        loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        val_loader: Iterable[Any] | None = None,
        scheduler: Any = None,
        step: Callable[[Any, Any], Tensor] | None = None,
        ignore: Sequence[str] = ...,
        budget: float | None = None,
        device: str | None = None,
        seed: int | None = None,
    ) -> Finding: ...

class Assertions:
    """What the `trainlint` fixture gives: besides the general ones an assertion for each rule that can judge objects."""

    def __init__(
        self,
        *,
        select: Sequence[str] = ...,
        ignore: Sequence[str] = ...,
        budget: float | str = ...,
        device: str = ...,
        seed: int = ...,
    ) -> None: ...
    def check(
        self,
        model: Any,
        loader: Any = None,
        *,
        only: Sequence[str] = ...,
        loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        val_loader: Iterable[Any] | None = None,
        scheduler: Any = None,
        step: Callable[[Any, Any], Tensor] | None = None,
        ignore: Sequence[str] = ...,
        budget: float | None = None,
        device: str | None = None,
        seed: int | None = None,
    ) -> Report:
        """trainlint.check with the marker's settings."""
    def assert_clean(
        self,
        model: Any,
        loader: Any = None,
        *,
        only: Sequence[str] = ...,
        loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        val_loader: Iterable[Any] | None = None,
        scheduler: Any = None,
        step: Callable[[Any, Any], Tensor] | None = None,
        ignore: Sequence[str] = ...,
        budget: float | None = None,
        device: str | None = None,
        seed: int | None = None,
    ) -> Report:
        """Nothing but notes may be found."""
    def assert_rule(
        self,
        rule: str,
        model: Any,
        loader: Any = None,
        *,
        loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        val_loader: Iterable[Any] | None = None,
        scheduler: Any = None,
        step: Callable[[Any, Any], Tensor] | None = None,
        ignore: Sequence[str] = ...,
        budget: float | None = None,
        device: str | None = None,
        seed: int | None = None,
    ) -> Finding:
        """One rule, by name or code, must pass."""
    def assert_can_overfit(
        self,
        model: Any,
        batch: Any,
        *,
        loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        val_loader: Iterable[Any] | None = None,
        scheduler: Any = None,
        step: Callable[[Any, Any], Tensor] | None = None,
        ignore: Sequence[str] = ...,
        budget: float | None = None,
        device: str | None = None,
        seed: int | None = None,
    ) -> Finding:
        """One batch can be learned by heart."""
    def assert_no_leak(self, train: Iterable[Any], val: Iterable[Any], *, budget: float | None = None, seed: int | None = None) -> Finding:
        """No validation sample is trained on."""

    assert_init_loss: _RuleAssertion
    """TL101: The first loss is what an untrained model should have."""
    assert_label_range: _RuleAssertion
    """TL102: Labels are class indices that the outputs can answer."""
    assert_output_activation: _RuleAssertion
    """TL103: The model's output is what its loss function expects."""
    assert_loss_shape: _RuleAssertion
    """TL104: Each prediction is compared with its own target."""
    assert_loss_reduction: _RuleAssertion
    """TL105: The loss is a mean over samples, or the learning rate is made for a sum."""
    assert_init_scale: _RuleAssertion
    """TL106: The untrained network keeps the scale of its signal."""
    assert_input_ignored: _RuleAssertion
    """TL107: Predictions depend on the inputs."""
    assert_sample_mixing: _RuleAssertion
    """TL108: The loss of one sample does not depend on the others, nor on tokens to come."""
    assert_axis_order: _RuleAssertion
    """TL109: Axes are swapped by transposing, not by reshaping."""
    assert_token_order: _RuleAssertion
    """TL110: The order of tokens reaches the prediction."""
    assert_batch_view: _RuleAssertion
    """TL201: The batch that enters the model looks as it should."""
    assert_input_finite: _RuleAssertion
    """TL202: Every input and target is a finite number."""
    assert_input_scale: _RuleAssertion
    """TL203: Inputs and regression targets are on a scale that can be learned from."""
    assert_channel_order: _RuleAssertion
    """TL204: Pictures have their channels where the model expects them."""
    assert_input_degenerate: _RuleAssertion
    """TL205: Samples hold something, and differ from each other."""
    assert_label_signal: _RuleAssertion
    """TL206: Labels belong to the inputs they come with."""
    assert_label_mapping: _RuleAssertion
    """TL207: Training and validation mean the same class by the same label."""
    assert_class_imbalance: _RuleAssertion
    """TL208: Classes are even enough, or loss or sampler make up for it."""
    assert_split_leak: _RuleAssertion
    """TL209: No validation sample is trained on."""
    assert_shuffle: _RuleAssertion
    """TL210: Training samples come in a new, mixed order in every epoch."""
    assert_worker_seed: _RuleAssertion
    """TL211: Augmentation is drawn anew in each worker and epoch."""
    assert_eval_augment: _RuleAssertion
    """TL212: A validation sample is the same each time it is read."""
    assert_last_batch: _RuleAssertion
    """TL213: Every batch holds enough samples, and validation drops none."""
    assert_label_noise: _RuleAssertion
    """TL214: The data itself contradicts hardly any of its labels."""
    assert_padding: _RuleAssertion
    """TL215: Padding is neither counted in the loss nor read by the model."""
    assert_rank_data: _RuleAssertion
    """TL216: Each process trains on data of its own, in an order that changes."""
    assert_overfit_batch: _RuleAssertion
    """TL301: The model can fit one batch perfectly."""
    assert_frozen_params: _RuleAssertion
    """TL302: Only parameters with loaded values are frozen."""
    assert_params_not_optimized: _RuleAssertion
    """TL303: Every parameter that receives gradients is held by an optimizer."""
    assert_no_gradient: _RuleAssertion
    """TL304: Every parameter that is to learn receives a gradient."""
    assert_gradient_vanishing: _RuleAssertion
    """TL307: The first layers receive gradients of the same order as the last."""
    assert_dead_units: _RuleAssertion
    """TL309: Activation units respond to some samples and not to others."""
    assert_update_ratio: _RuleAssertion
    """TL310: Each step changes the weights by a sound fraction of themselves."""
    assert_non_finite: _RuleAssertion
    """TL311: Loss, activations and gradients are finite numbers."""
    assert_graph_retained: _RuleAssertion
    """TL315: Each step lets go of its graph."""
    assert_rank_sync: _RuleAssertion
    """TL317: All processes train one model: equal weights, averaged gradients, the same steps."""
    assert_memory_growth: _RuleAssertion
    """TL318: Memory stops growing after the first epoch."""
    assert_lr_range: _RuleAssertion
    """TL401: The configured learning rate trains this model."""
    assert_warmup_missing: _RuleAssertion
    """TL404: The first steps bear the full learning rate, or are warmed up."""
    assert_lr_groups: _RuleAssertion
    """TL405: Pretrained layers learn no faster than a new head, and slower towards the input."""
    assert_coupled_weight_decay: _RuleAssertion
    """TL501: Weight decay acts on the weights, not through an adaptive optimizer's gradient."""
    assert_decay_groups: _RuleAssertion
    """TL502: Weight decay leaves norm weights and biases alone."""
    assert_soft_targets: _RuleAssertion
    """TL503: The loss sees soft and mixed targets as they are."""
    assert_finetune_lr: _RuleAssertion
    """TL504: Pretrained weights are adapted, not overwritten."""
    assert_over_regularized: _RuleAssertion
    """TL505: Regularisation leaves the model able to learn."""
    assert_ema: _RuleAssertion
    """TL506: Averaged and kept copies of the weights are what they are meant to be."""
    assert_batch_size: _RuleAssertion
    """TL507: The batch suits batch normalisation, the data and the gradient's noise."""
    assert_curve_shape: _RuleAssertion
    """TL601: The curves of the whole run show no fault."""
    assert_capacity: _RuleAssertion
    """TL701: The model is large enough to learn one batch by heart."""

def stub() -> str:
    """The text of this file."""
