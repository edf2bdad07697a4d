"""A recorded step, called again, is the step: the same loss and the same gradients, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.operation import without_regularisation
from trainlint.record.recorder import Recorder
from trainlint.record.tape import Tape
from trainlint.settings import Settings

Batch = tuple[Tensor, ...]


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout2d(0.2), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).flatten(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 8, num_layers=2, dropout=0.3, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, sequences: Tensor) -> Tensor:
        return self.head(self.rnn(sequences)[0][:, -1])


class LanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.head(self.blocks(self.tokens(ids), mask=mask, is_causal=True))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 8), nn.Linear(4, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return torch.sigmoid(self.decoder(latent)), mean, log_variance


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


class WithOwnFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return Doubled.apply(self.linear(x))


def images() -> Batch:
    return torch.randn(4, 3, 32, 32), torch.randint(0, 5, (4,))


def classify(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def mixed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    share, other = torch.rand(()), torch.randperm(len(x))
    output = model(share * x + (1 - share) * x[other])
    return share * F.cross_entropy(output, y) + (1 - share) * F.cross_entropy(output, y[other])


def half_precision(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.cross_entropy(model(x), y)


def reconstruct(model: nn.Module, x: Tensor) -> Tensor:
    again, mean, log_variance = model(x)
    divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum()
    return F.binary_cross_entropy(again, x, reduction="sum") + divergence


def next_token(model: nn.Module, ids: Tensor) -> Tensor:
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


PROGRAMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Batch], Callable[..., Tensor]]] = {
    "cnn": (Convolutional, images, classify),
    "resnet": (lambda: timm.create_model("resnet10t", num_classes=5, drop_path_rate=0.2), images, classify),
    "vit": (
        lambda: timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=5, drop_path_rate=0.2, proj_drop_rate=0.1
        ),
        images,
        classify,
    ),
    "lstm": (Recurrent, lambda: (torch.randn(4, 7, 6), torch.randint(0, 3, (4,))), classify),
    "transformer": (LanguageModel, lambda: (torch.randint(0, 20, (3, 9)),), next_token),
    "vae": (Autoencoder, lambda: (torch.rand(5, 12),), reconstruct),
    "bfloat16": (Convolutional, images, half_precision),
    "mixup": (Convolutional, images, mixed),
    "bert": (bert, lambda: (torch.randint(0, 50, (3, 8)), torch.randint(0, 3, (3,))), lambda m, x, y: m(input_ids=x, labels=y).loss),
    "own autograd function": (WithOwnFunction, lambda: (torch.randn(4, 6), torch.randint(0, 3, (4,))), classify),
}


def recorded(name: str) -> tuple[Recorder, nn.Module, list[tuple[Tensor, list[Tensor | None]]]]:
    """Train two steps of a program under the recorder; returns each step's loss and gradients."""
    build, draw, loss_of = PROGRAMS[name]
    torch.manual_seed(0)
    model = build().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    recorder = Recorder(Settings(), Frames())
    seen = []
    with listening(recorder):
        for _ in range(2):
            batch = draw()
            recorder.writer.start([{f"[{i}]": t for i, t in enumerate(batch)}])
            optimizer.zero_grad()
            loss = loss_of(model, *batch)
            loss.backward()
            seen.append((loss.detach().clone(), [None if p.grad is None else p.grad.clone() for p in model.parameters()]))
            if len(seen) == 1:
                optimizer.step()
    return recorder, model, seen


@pytest.mark.parametrize("name", PROGRAMS)
def test_replay_gives_the_loss_and_gradients_of_the_step_bit_for_bit(name: str) -> None:
    recorder, model, seen = recorded(name)
    tape = recorder.recording.backwards[-1].tape
    assert tape is not None
    loss = tape.replay(random_of=tape)[tape.loss]
    assert torch.equal(loss.detach(), seen[-1][0])
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for again, original in zip(gradients, seen[-1][1], strict=True):
        assert (again is None) == (original is None)
        assert again is None or torch.equal(again, original)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_tape_is_trusted_after_it_reproduced_the_next_step(name: str) -> None:
    recorder, _, seen = recorded(name)
    assert recorder.recording.trust == "next step", recorder.recording.trust_reason
    assert recorder.recording.trust_losses[3] == pytest.approx(float(seen[1][0]), rel=1e-6)


def test_a_step_that_depends_on_more_than_torch_is_not_trusted_for_other_batches() -> None:
    model, factors = nn.Linear(4, 2), iter([1.0, 3.0, 5.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(Settings(), Frames())
    with listening(recorder):
        for _ in range(2):
            x, y = torch.randn(3, 4), torch.randint(0, 2, (3,))
            recorder.writer.start([{"[0]": x, "[1]": y}])
            optimizer.zero_grad()
            (F.cross_entropy(model(x), y) * next(factors)).backward()
            optimizer.step()
    assert recorder.recording.trust == "same batch"
    assert "changes from step to step" in recorder.recording.trust_reason


def test_dropout_and_stochastic_depth_are_off_without_regularisation() -> None:
    recorder, _, _ = recorded("vit")
    tape = recorder.recording.backwards[-1].tape
    assert isinstance(tape, Tape)
    first, second = (float(tape.replay(change=without_regularisation, grad=False)[tape.loss]) for _ in range(2))
    noisy = {float(tape.replay(grad=False)[tape.loss]) for _ in range(3)}
    assert first == second
    assert len(noisy) > 1


def test_replay_follows_the_weights_as_they_are_now() -> None:
    recorder, model, seen = recorded("transformer")
    tape = recorder.recording.backwards[-1].tape
    assert tape is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert float(tape.replay(grad=False)[tape.loss]) == pytest.approx(math.log(20))
    assert float(seen[-1][0]) != pytest.approx(math.log(20), abs=1e-4)


def test_other_batches_can_be_fed_by_their_path() -> None:
    recorder, _, _ = recorded("cnn")
    tape = recorder.recording.backwards[-1].tape
    assert tape is not None
    assert set(tape.batch) == {"[0]", "[1]"}
    x, y = images()
    loss = tape.replay({tape.batch["[0]"]: x, tape.batch["[1]"]: y}, change=without_regularisation, grad=False)[tape.loss]
    assert float(loss) != float(tape.replay(change=without_regularisation, grad=False)[tape.loss])
