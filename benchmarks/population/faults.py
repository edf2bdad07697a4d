"""What can be wrong: changes of models, data and losses that are planted in healthy pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

__all__ = [
    "Begun",
    "Changed",
    "Ended",
    "across_batch",
    "alike",
    "all_zero",
    "as_if_channels_last",
    "below_zero",
    "beside",
    "blank",
    "body_and_head",
    "detached",
    "drowned",
    "freeze_body",
    "hardened_mixup",
    "heads_by_view",
    "in_training",
    "in_validation",
    "jittered",
    "large_head",
    "leaked",
    "mirrored_alone",
    "next_class",
    "no_mask",
    "noisy_labels",
    "one_over",
    "rare",
    "read_all",
    "relu_recurrence",
    "reversed_channels",
    "root_of_zero",
    "rows_as_features",
    "scaled",
    "shuffled_labels",
    "smoothed_twice",
    "squeeze_loss",
    "summed",
    "swapped",
    "with_nan",
]


class Ended(nn.Module):
    """A model with something behind it."""

    def __init__(self, model: nn.Module, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.end = model, end

    def forward(self, *inputs: Tensor) -> Tensor:
        """The model's output, changed."""
        return self.end(self.model(*inputs))


class Begun(nn.Module):
    """A model with something before it."""

    def __init__(self, model: nn.Module, begin: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.begin = model, begin

    def forward(self, x: Tensor) -> Tensor:
        """The model's output for a changed input."""
        return self.model(self.begin(x))


def large_head(model: nn.Module) -> None:
    """Start with large logits."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=4.0)


def freeze_body(model: nn.Module) -> None:
    """Only the output layer learns, over random features."""
    for parameter in list(model.parameters())[:-2]:
        parameter.requires_grad = False


def with_nan(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every twentieth row lacks a value."""
    x.flatten(1)[::20, 3] = float("nan")
    return x, y


def shuffled_labels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Labels joined in another order."""
    return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(5))]


def rare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Few of one class."""
    keep = torch.cat([(y == 0).nonzero().flatten(), (y == 1).nonzero().flatten()[:4]])
    return x[keep], y[keep].clamp(max=1)


def no_mask(model: nn.Module) -> None:
    """A language model that sees what it is to predict."""
    model.forward = lambda ids: model.head(model.blocks(model.tokens(ids) + model.places(torch.arange(ids.shape[1]))))


def across_batch(x: Tensor) -> Tensor:
    """Normalise over the batch instead of the classes."""
    return x - x.mean(0, keepdim=True).mul(2)


def squeeze_loss(model: nn.Module, batch: Any) -> Tensor:
    """(B, 1) against (B,)."""
    return F.mse_loss(model(batch[0]), batch[1].squeeze(1))


def summed(model: nn.Module, batch: Any) -> Tensor:
    """The sum over elements."""
    return (
        F.mse_loss(model(batch[0]), batch[1], reduction="sum")
        if batch[1].dtype.is_floating_point
        else F.cross_entropy(model(batch[0]), batch[1], reduction="sum")
    )


def detached(model: nn.Module, batch: Any) -> Tensor:
    """The features are cut off from the output layer."""
    *body, head = list(model.children())
    features = batch[0]
    for layer in body:
        features = layer(features)
    return F.cross_entropy(head(features.detach()), batch[1])


def root_of_zero(model: nn.Module, batch: Any) -> Tensor:
    """A distance whose gradient at zero is not a number."""
    out = model(batch[0])
    return F.cross_entropy(out, batch[1]) + torch.sqrt((out - out.detach()).square().sum(1)).mean()


def scaled(factor: float) -> Callable[[nn.Module], None]:
    """Weight matrices that start this many times too large."""

    def change(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(factor)

    return change


def all_zero(model: nn.Module) -> None:
    """Every weight starts at zero, so that all units stay alike."""
    for parameter in model.parameters():
        nn.init.zeros_(parameter)


def alike(model: nn.Module) -> None:
    """All weights start at one value, so that units stay copies."""
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.02)


def below_zero(model: nn.Module) -> None:
    """Biases so low that no unit of the first layer ever fires."""
    first = next(m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    nn.init.constant_(first.bias, -50.0)


def blank(x: Tensor) -> Tensor:
    """Nothing of the input is left."""
    return torch.zeros_like(x)


def read_all(model: nn.Module) -> None:
    """The padding is attended to, and averaged over."""
    model.forward = lambda ids, lengths: model.head(model.blocks(model.embed(ids)).mean(1))


def relu_recurrence(model: nn.Module) -> None:
    """A plain recurrent layer whose weights enlarge the state at every step."""
    model.rnn = nn.RNN(3, 32, batch_first=True, nonlinearity="relu")
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(1.6 * torch.eye(32))


def noisy_labels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every twelfth label is another one."""
    y[::12] = (y[::12] + 3) % 10
    return x, y


def beside(step: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Tags that lie this many places further on than their tokens."""
    return lambda x, y: (x, y.roll(step, 1))


def mirrored_alone(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The picture is mirrored at random, and what lies in it is told as before."""
    if torch.rand(()) < 0.5:
        x = x.flip(-1)
    return x, y


def as_if_channels_last(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures with channels last, reshaped to channels first."""
    return x.permute(0, 2, 3, 1).reshape(x.shape), y


def one_over(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """As many samples as leave one for the last training batch of 32."""
    return x[:1241], y[:1241]


class Changed(Dataset[Any]):
    """A dataset with each sample changed as it is read."""

    def __init__(self, dataset: Dataset[Any], change: Callable[..., tuple[Any, ...]] | None) -> None:
        self.dataset, self.transform = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        sample = self.dataset[index]
        return self.transform(*sample) if self.transform else sample


def in_validation(change: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Dataset[Any], Dataset[Any]]]:
    """Only validation samples are changed."""
    return lambda train, val: (Changed(train, None), Changed(val, change))


def in_training(change: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Dataset[Any], Dataset[Any]]]:
    """Only training samples are changed."""
    return lambda train, val: (Changed(train, change), Changed(val, None))


def leaked(train: Dataset[Any], val: Dataset[Any]) -> tuple[Dataset[Any], Dataset[Any]]:
    """A hundred training samples are validated on too."""
    return train, ConcatDataset([val, Subset(train, range(100))])


def next_class(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Labels counted from another class."""
    return x, (y + 1) % 10


def swapped(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two pairs of classes exchanged, as another order of folders makes it."""
    return x, torch.tensor([0, 7, 2, 5, 4, 3, 6, 1, 8, 9])[y]


def drowned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Noise far stronger than the picture."""
    return x + 8 * torch.randn_like(x), y


def jittered(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Augmentation by a little noise."""
    return x + 0.3 * torch.randn_like(x), y


def reversed_channels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """BGR for RGB."""
    return x.flip(0), y


class SplitByView(nn.Module):
    """Attention whose heads are cut out of time steps."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = attention.qkv, attention.proj, attention.num_heads

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        q, k, v = (part.reshape(len(x), self.heads, x.shape[1], -1) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


def heads_by_view(model: nn.Module) -> None:
    """Every attention of a vision transformer splits its heads by a reshape alone."""
    for block in model.blocks:  # type: ignore[union-attr]
        block.attn = SplitByView(block.attn)


def rows_as_features(x: Tensor) -> Tensor:
    """Sequences (B, T, C) handed on as (B, C, T) by a reshape, and turned back."""
    return x.reshape(len(x), x.shape[2], x.shape[1]).transpose(1, 2)


def hardened_mixup(model: nn.Module, batch: Any) -> Tensor:
    """Inputs are mixed; of the mixed targets only the larger is kept."""
    x, y = batch
    if not model.training:
        return F.cross_entropy(model(x), y)
    share, order = float(torch.empty(()).uniform_(0.3, 0.7)), torch.randperm(len(x))
    target = share * F.one_hot(y, 10) + (1 - share) * F.one_hot(y[order], 10)
    return F.cross_entropy(model(share * x + (1 - share) * x[order]), target.argmax(1))


def smoothed_twice(model: nn.Module, batch: Any) -> Tensor:
    """Targets are smoothed, and smoothed again by the loss."""
    soft = F.one_hot(batch[1], 10) * 0.9 + 0.01
    return F.cross_entropy(model(batch[0]), soft, label_smoothing=0.1 if model.training else 0.0)


def body_and_head(body: float, head: float) -> Callable[[nn.Module], list[dict[str, Any]]]:
    """Two groups with learning rates of their own."""

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        last = list(model.get_classifier().parameters())  # type: ignore[operator]
        rest = [p for p in model.parameters() if not any(p is one for one in last)]
        return [{"params": rest, "lr": body}, {"params": last, "lr": head}]

    return groups
