"""Optimizer groups, schedules, losses, mixing, layers, augmentation."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from trainlint.errors import UsageError
from trainlint.recipe import Recipe
from trainlint.recipe.augment import TrainTransform
from trainlint.recipe.layers import hold_frozen_statistics, layers_from_head, set_learning_layers
from trainlint.recipe.losses import Mixer, build_loss, class_weights
from trainlint.recipe.optimizers import build_optimizer, build_schedule, cycle_ends

from .pictures import net


def rates(recipe: Recipe, updates: int = 100) -> list[float]:
    optimizer = build_optimizer(net(), recipe)
    schedule = build_schedule(optimizer, recipe, updates)
    seen = []
    for update in range(updates):
        schedule.step(update)
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return seen


def test_norms_and_biases_are_not_decayed_unless_asked() -> None:
    decays = {g["weight_decay"]: {p.dim() for p in g["params"]} for g in build_optimizer(net(), Recipe(weight_decay=0.1)).param_groups}
    assert decays == {0.1: {4, 2}, 0.0: {1}}
    assert {g["weight_decay"] for g in build_optimizer(net(), Recipe(weight_decay=0.1, decay_all=True)).param_groups} == {0.1}


@pytest.mark.parametrize("name", ["lion", "muon", "adafactor", "lamb", "sgd"])
def test_optimizers_come_by_name(name: str) -> None:
    model = net()
    optimizer = build_optimizer(model, Recipe(optimizer=name))
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    before = model[4].weight.clone()
    optimizer.step()
    assert not torch.equal(before, model[4].weight)


def test_an_unknown_optimizer_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'adamw'"):
        build_optimizer(net(), Recipe(optimizer="adamww"))


def test_layer_decay_slows_layers_far_from_the_head() -> None:
    model = timm.create_model("test_vit", num_classes=3)
    groups = build_optimizer(model, Recipe(layer_decay=0.5)).param_groups
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    assert scale[id(model.head.weight)] == 1.0
    assert scale[id(model.patch_embed.proj.weight)] < scale[id(model.blocks[-1].attn.qkv.weight)] < 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear", "inverse-sqrt", "cyclic", "step", "constant"])
def test_schedules_warm_up_linearly_to_the_peak(schedule: str) -> None:
    seen = rates(Recipe(schedule=schedule, lr=1.0, warmup=0.1))
    assert seen[0] == pytest.approx(0.01)
    assert seen[5] == pytest.approx(0.505)
    assert max(seen) == pytest.approx(1.0)


def test_schedules_end_where_they_should() -> None:
    assert rates(Recipe(schedule="cosine", lr=1.0))[-1] < 0.02
    assert rates(Recipe(schedule="linear", lr=1.0))[55] == pytest.approx(0.505, abs=0.01)
    assert rates(Recipe(schedule="step", lr=1.0))[-1] == pytest.approx(0.01)
    assert rates(Recipe(schedule="constant", lr=1.0))[-1] == 1.0
    slowing = rates(Recipe(schedule="inverse-sqrt", lr=1.0, warmup=0.1))
    assert slowing[40] == pytest.approx((1 + 30 / 10) ** -0.5, abs=0.01)


def test_the_cyclic_schedule_restarts() -> None:
    seen = rates(Recipe(schedule="cyclic", lr=1.0, warmup=0.0, cycles=4))
    restarts = [update for update in range(1, 100) if seen[update] > 10 * seen[update - 1]]
    assert restarts == [25, 50, 75]
    assert cycle_ends(Recipe(schedule="cyclic", warmup=0.0, cycles=4), 100) == {*restarts, 100}
    assert cycle_ends(Recipe(), 100) == frozenset()


def test_onecycle_moves_momentum_against_the_rate() -> None:
    recipe = Recipe(schedule="onecycle", lr=1.0, warmup=0.3)
    optimizer = build_optimizer(net(), recipe)
    schedule = build_schedule(optimizer, recipe, 100)
    seen = []
    for update in range(100):
        schedule.step(update)
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
    assert max(seen)[0] == pytest.approx(1.0, abs=0.01)
    assert max(seen)[1] == min(momentum for _, momentum in seen)
    assert seen[-1][0] < 0.01


def test_losses_agree_with_their_formulas() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    smooth = build_loss(Recipe(label_smoothing=0.1), mixing=False)
    assert torch.equal(smooth(logits, labels), functional.cross_entropy(logits, labels, label_smoothing=0.1))
    focal = build_loss(Recipe(loss="focal", focal_gamma=2.0, label_smoothing=0.0), mixing=False)
    hot = functional.one_hot(labels, 4).float()
    p = torch.where(hot > 0, logits.sigmoid(), 1 - logits.sigmoid())
    assert focal(logits, labels) == pytest.approx(float((-((1 - p) ** 2) * p.log()).sum(1).mean()), rel=1e-5)
    binary = build_loss(Recipe(loss="binary-cross-entropy", label_smoothing=0.0), mixing=False)
    assert binary(logits, labels) == pytest.approx(float(functional.binary_cross_entropy_with_logits(logits, hot, reduction="none").sum(1).mean()), rel=1e-5)  # fmt: skip
    for loss in ("cross-entropy", "focal", "binary-cross-entropy"):
        hard, soft = (build_loss(Recipe(loss=loss, label_smoothing=0.0), mixing=mixing) for mixing in (False, True))
        assert float(hard(logits, labels)) == pytest.approx(float(soft(logits, hot)), rel=1e-5)


def test_rare_classes_weigh_more() -> None:
    weights = class_weights([100, 10, 0])
    assert weights[0] < weights[1] < weights[2]
    assert weights.mean() == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_mixing_leaves_the_loaders_tensors_alone_and_targets_sum_to_one(count: int) -> None:
    pixels, labels = torch.rand(count, 3, 8, 8), torch.arange(count) % 3
    before = pixels.clone()
    mixed, targets = Mixer(Recipe(mix_prob=1.0), 3)(pixels, labels)
    assert torch.equal(pixels, before)
    assert mixed.shape == pixels.shape
    assert torch.allclose(targets.sum(1), torch.ones(count))


def test_layers_are_listed_from_the_head_and_none_is_lost() -> None:
    for model, head in (
        (timm.create_model("test_resnet", num_classes=3), "fc.weight"),
        (timm.create_model("test_vit", num_classes=3), "head.weight"),
        (net(), "4.weight"),
    ):
        layers = layers_from_head(model)
        assert head in layers[0]
        assert sorted(n for layer in layers for n in layer) == sorted(n for n, _ in model.named_parameters())


def test_progressive_unfreezing_goes_from_the_head_down() -> None:
    model, recipe = timm.create_model("test_resnet", num_classes=3), Recipe(tune="progressive", epochs=10)
    counts = [set_learning_layers(model, recipe, epoch) for epoch in range(10)]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert counts[5] == len(layers_from_head(model))
    assert all(p.requires_grad for p in model.parameters())


def test_a_frozen_body_keeps_its_weights_and_statistics() -> None:
    from trainlint.recipe import train

    from .pictures import loaders

    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, *loaders(), Recipe(epochs=2, tune="head", ema=False, keep_best=False))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"4.weight", "4.bias"}


def test_only_frozen_norms_are_held() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    model[0].requires_grad_(False)
    model.train()
    hold_frozen_statistics(model)
    assert [m.training for m in model] == [False, True]


@pytest.mark.parametrize("augment", ["rand", "trivial", "auto", "none"])
def test_augmentation_grows_with_its_strength(augment: str) -> None:
    picture = Image.fromarray(torch.randint(0, 255, (32, 32, 3)).byte().numpy())
    transform = TrainTransform(Recipe(augment=augment, hflip=0.0, erase=1.0), 16, (0.5,) * 3, (0.5,) * 3)

    def variety() -> float:
        shown = torch.stack([transform(picture) for _ in range(12)])
        assert shown.shape == (12, 3, 16, 16)
        assert torch.isfinite(shown).all()
        return float(shown.std(0).mean())

    strong = variety()
    transform.strengthen(0.0)
    assert variety() < 0.01 < strong
    assert not math.isnan(strong)
