"""Kinds of models and steps, beside those of batches in ``kinds``: each adds its call of ``check`` to the same list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from kinds import CLASSES, KINDS, WIDTH, Call, Dicts, N, kind, loader, mlp, tokens, x, y
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

__all__ = ["KINDS"]


class Returning(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.body, self.how = mlp(), how

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        logits = self.body(x)
        loss = F.cross_entropy(logits, labels)
        return {"scalar": loss, "mapping": {"loss": loss, "logits": logits}}[self.how]


@kind
def model_that_returns_its_loss() -> Call:
    return (Returning("scalar"), DataLoader(Dicts(x=x, labels=y), 8, shuffle=True)), {}


@kind
def model_that_returns_a_mapping() -> Call:
    return (Returning("mapping"), DataLoader(Dicts(x=x, labels=y), 8, shuffle=True)), {}


@kind
def step_function() -> Call:
    return (mlp(), loader(x, y)), {"step": lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)}


@kind
def autoencoder() -> Call:
    return (mlp(WIDTH), loader(x)), {"step": lambda model, batch: F.mse_loss(model(batch[0]), batch[0])}


@kind
def variational_autoencoder() -> Call:
    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = mlp(4), mlp(WIDTH, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, spread = self.encode(x).chunk(2, 1)
            return self.decode(mean + torch.randn_like(mean) * (spread / 2).exp()), mean, spread

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        made, mean, spread = model(batch[0])
        return F.mse_loss(made, batch[0]) - 0.05 * (1 + spread - mean.square() - spread.exp()).mean()

    return (Vae(), loader(x)), {"step": step}


@kind
def gan_with_two_optimizers() -> Call:
    model = nn.ModuleDict({"maker": mlp(WIDTH, 4), "critic": mlp(1)})
    optimizers = [torch.optim.Adam(model["maker"].parameters(), 2e-4), torch.optim.Adam(model["critic"].parameters(), 2e-4)]

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        made = model["maker"](torch.randn(len(batch[0]), 4))
        true, false = model["critic"](batch[0]), model["critic"](made)
        return F.softplus(-true).mean() + F.softplus(false).mean()

    return (model, loader(x)), {"step": step, "optimizer": optimizers}


@kind
def iterable_dataset() -> Call:
    class Stream(IterableDataset):
        def __iter__(self):
            yield from zip(x, y, strict=True)

    return (mlp(), DataLoader(Stream(), 8)), {}


@kind
def generator_that_starts_afresh() -> Call:
    class Batches:
        def __iter__(self):
            for start in range(0, N, 8):
                yield x[start : start + 8], y[start : start + 8]

    return (mlp(), Batches()), {}


@kind
def collated_lists() -> Call:
    return (
        mlp(),
        DataLoader(
            list(zip(x, y, strict=True)), 8, collate_fn=lambda rows: [torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])]
        ),
    ), {}


@kind
def lstm() -> Call:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = nn.Embedding(30, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, CLASSES)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(ids))[0][:, -1])

    return (Recurrent(), loader(tokens, y)), {}


@kind
def language_model() -> Call:
    class Lm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = nn.Embedding(30, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 30)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(ids))[0])

    return (Lm(), loader(tokens)), {"step": lambda m, b: F.cross_entropy(m(b[0][:, :-1]).flatten(0, 1), b[0][:, 1:].flatten())}


@kind
def transformer() -> Call:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True)
    return (nn.Sequential(layer, nn.Flatten(), nn.Linear(WIDTH * 4, CLASSES)), loader(torch.randn(N, 4, WIDTH), y)), {}


@dataclass
class Graph:
    x: Tensor
    edges: Tensor
    y: Tensor

    def to(self, device: torch.device) -> Graph:
        return Graph(self.x.to(device), self.edges.to(device), self.y.to(device))


@kind
def graph_network() -> Call:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(WIDTH, 16), nn.Linear(16, CLASSES)

        def forward(self, graph: Graph) -> Tensor:
            source, target = graph.edges
            h = self.first(graph.x).relu()
            return self.last(h + torch.zeros_like(h).index_add(0, target, h[source]))

    edges = torch.randint(0, N, (2, 100))
    return (Net(), [Graph(x, edges, y)] * 4), {}


@kind
def bfloat16() -> Call:
    return (mlp().bfloat16(), loader(x.bfloat16(), y)), {}


@kind
def autocast() -> Call:
    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(model(batch[0]), batch[1])

    return (mlp(), loader(x, y)), {"step": step}


@kind
def double() -> Call:
    return (mlp().double(), loader(x.double(), y)), {}


@kind
def partly_frozen() -> Call:
    model = mlp()
    model[0].requires_grad_(False)
    return (model, loader(x, y)), {}


@kind
def compiled() -> Call:
    return (torch.compile(mlp(), backend="eager"), loader(x, y)), {}


@kind
def lbfgs() -> Call:
    model = mlp()
    return (model, loader(x, y)), {"optimizer": torch.optim.LBFGS(model.parameters(), lr=0.1)}
