"""Pairs of model and data of every kind that check() takes; each function gives the arguments of one call."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

Call = tuple[tuple[Any, ...], dict[str, Any]]
KINDS: dict[str, Callable[[], Call]] = {}


def kind(build: Callable[[], Call]) -> Callable[[], Call]:
    KINDS[build.__name__.replace("_", "-")] = build
    return build


N, WIDTH, CLASSES = 48, 6, 3
x = torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
images = torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(1))
tokens = torch.randint(1, 30, (N, 7), generator=torch.Generator().manual_seed(2))


def mlp(out: int = CLASSES, wide: int = WIDTH) -> nn.Module:
    return nn.Sequential(nn.Linear(wide, 16), nn.ReLU(), nn.Linear(16, out))


def loader(*tensors: Tensor, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(*tensors), 8, shuffle=True, **options)


class Dicts(Dataset):
    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {k: v[index] for k, v in self.columns.items()}


@kind
def classification() -> Call:
    return (mlp(), loader(x, y)), {}


@kind
def with_loss_optimizer_scheduler_and_validation() -> Call:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return (model, loader(x, y)), {
        "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer, "val_loader": DataLoader(TensorDataset(torch.randn(16, WIDTH), torch.arange(16) % 3), 8),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2),
    }  # fmt: skip


@kind
def list_of_batches() -> Call:
    return (mlp(), list(loader(x, y))), {}


@kind
def regression() -> Call:
    return (mlp(1), loader(x, x[:, :1] * 2)), {}


@kind
def regression_of_one_axis() -> Call:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).squeeze(-1)

    return (Flat(), loader(x, x[:, 0])), {}


@kind
def multi_label() -> Call:
    return (mlp(4), loader(x, (x[:, :4] > 0).float())), {}


@kind
def segmentation() -> Call:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return (model, loader(images, (images[:, 0] > 0).long())), {}


@kind
def segmentation_whose_output_is_a_mapping() -> Call:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.body(x)}

    return (Named(), loader(images, (images[:, 0] > 0).long())), {}


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp(), mlp()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)


@kind
def several_inputs() -> Call:
    return (Sum(), loader(x, x.flip(1), y)), {}


@kind
def several_inputs_in_a_tuple() -> Call:
    pairs = [((a, b), t) for a, b, t in loader(x, x.flip(1), y)]
    return (Sum(), pairs), {}


@kind
def mapping_of_inputs_and_a_target() -> Call:
    pairs = [({"a": a, "b": b}, t) for a, b, t in loader(x, x.flip(1), y)]
    return (Sum(), pairs), {}


@kind
def mapping_with_a_label() -> Call:
    return (Sum(), DataLoader(Dicts(a=x, b=x, label=y), 8, shuffle=True)), {}


@kind
def mapping_with_other_names_than_the_model() -> Call:
    return (mlp(), DataLoader(Dicts(features=x, target=y), 8, shuffle=True)), {}


@kind
def named_tuple() -> Call:
    sample = namedtuple("sample", "features target")
    return (mlp(), [sample(a, b) for a, b in loader(x, y)]), {}


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
