"""The data: recorded batches, a scan of the loaders, and the order of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.details import ImageGrid, Series, Table
from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["BatchView", "Batches", "DataScan", "LabelCount", "Leaf", "NonFiniteSample", "Normaliser", "SampleOrder", "SharedBuffer"]


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One tensor of a batch, after all transforms."""

    path: str
    """Where it sits in the batch: ``[0]``, ``['input_ids']``, ``.x``; for loops without a loader ``input 0``, ``target 0``."""
    role: str
    """``input`` (enters the model), ``target`` (enters the loss) or ``other``."""
    kind: str
    """``image`` (B,C,H,W with 1, 3 or 4 channels), ``tokens`` (integer ids), ``table`` (B,F), ``sequence`` (B,T,F), ``labels`` (integer class
    per sample), ``mask`` (integer or binary map), ``scalar`` (one number a sample) or ``tensor``."""
    shape: tuple[int, ...]
    dtype: str
    minimum: float = 0.0
    maximum: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    """Over finite elements."""
    channel_mean: tuple[float, ...] = ()
    """Per channel for images, per column for tables (at most 64)."""
    channel_std: tuple[float, ...] = ()
    distinct: int = 0
    """Number of different values, at most 1,000 counted."""
    commonest: float = 0.0
    """Of token ids the one that is there most often, what fills up the ends of the texts left out."""
    commonest_share: float = 0.0
    """Its share of the tokens; 0 for what are no texts."""
    nonfinite: int = 0
    """NaN or infinite elements."""
    nonfinite_rows: tuple[int, ...] = ()
    constant_rows: int = 0
    """Samples in which every element is the same."""
    repeated_rows: int = 0
    """Samples equal to an earlier one in the batch."""
    channels_last: bool = False
    """The last axis looks like colour channels (B,H,W,3)."""
    interleaved: float = 0.0
    """How many times less neighbouring pixels of pictures differ when the same memory is read as (H, W, C), along the axis where that gains
    least: above 1 where channels-last pictures were given another shape without moving the axis. 0 for what is no colour picture."""
    made_where: Location | None = None
    """The line of the user's code that made the values, where it was seen."""


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """One batch as the loop received it (what the model received, where the loop changes it after loading, is in ``inputs``)."""

    phase: str
    """``train`` or ``val``."""
    leaves: tuple[Leaf, ...]
    inputs: tuple[Leaf, ...] = ()
    """The tensors that entered the model's forward for this batch."""
    where: Location | None = None
    """Where its loader was built, or the loop's line."""
    drawn_again: int = 0
    """Samples whose index came earlier in the batch already, as a sampler that draws with replacement makes them."""
    transform: str = ""
    """repr of the dataset's transform when it has one."""
    pictures: ImageGrid | None = None
    table: Table | None = None
    columns: Table | None = None
    """Statistics of each column, for tables."""
    histograms: tuple[Series, ...] = ()
    """How the values of the main input and of a regression target are spread."""


@dataclass(frozen=True, kw_only=True)
class SharedBuffer:
    """One array that was stored for many samples, so that all of them are what was written into it last."""

    path: str
    """The input that it enters as."""
    samples: int
    """Of a batch, all of them equal."""
    batches: int
    stored: int
    """Places that hold the array."""
    attribute: str = ""
    """Name of the attribute of the user's object that holds it too, and returns it; empty where none is known."""
    array: bool = True
    """It is an array of NumPy, not a tensor."""
    where: Location | None = None
    """Where it is returned."""


@dataclass(frozen=True, kw_only=True)
class Normaliser:
    """A transform that takes a mean from pictures and divides them by a standard deviation."""

    means: tuple[float, ...]
    """A channel each."""
    stds: tuple[float, ...]
    where: Location | None = None
    """Where it was built."""


@dataclass(frozen=True, kw_only=True)
class Batches(Measurement):
    """Recorded batches, the first training batch first."""

    name: ClassVar[str] = "batches"
    train: tuple[BatchView, ...] = ()
    val: tuple[BatchView, ...] = ()
    pretrained: bool = False
    """Weights were loaded into the model, so that inputs should have the statistics it was trained with."""
    first_layer: str = ""
    """Class of the first layer that receives the input: ``Conv2d``, ``Linear``, ``BatchNorm1d``, ``Embedding`` …"""
    normalised_inside: bool = False
    """The model normalises its input itself (first operation is a norm layer or an affine rescale of the input)."""
    shared: SharedBuffer | None = None
    """Looked for without a loader."""
    wrapped: float = 0.0
    """Share of the pairs of readings of a training picture in which pixels ran over the end of 8 bits; 0 where too few for that did."""
    wrapped_where: Location | None = None
    """Where the training dataset casts to 8 bits, by its source."""
    val_scaled_to: str = ""
    """What each measured column of the validation table has exactly, in its own rows: ``the range 0 to 1`` or ``mean 0 and standard deviation 1``;
    empty where it has neither."""
    val_scaled_columns: int = 0
    val_scaled_where: Location | None = None
    """Where the scaler was fitted a second time, where that is known."""
    lost_scaling: Location | None = None
    """Where the source scales what becomes the training input, and nothing reads the result."""
    normaliser: Normaliser | None = None
    """What the training dataset's transform normalises pictures by."""
    in_place_of_loader: bool = False
    """There is no DataLoader; batches are what entered the model and the loss."""


@dataclass(frozen=True, kw_only=True)
class NonFiniteSample:
    """A sample with NaN or infinite elements."""

    phase: str
    path: str
    index: int
    """Dataset index where known, else its position in the order of loading."""
    columns: tuple[int, ...] = ()
    """Last-axis positions, for tables."""
    value: str = "nan"


@dataclass(frozen=True, kw_only=True)
class LabelCount:
    """How often each label occurs."""

    phase: str
    path: str
    counts: dict[str, int]
    """At most 1,000 different values, by value as text (``3``, ``1.0``)."""
    complete: bool = False
    """The whole dataset was counted."""
    minimum: float = 0.0
    maximum: float = 0.0
    integer: bool = True


@dataclass(frozen=True, kw_only=True)
class DataScan(Measurement):
    """A pass over the loaders within a budget, without the model."""

    name: ClassVar[str] = "data_scan"
    samples_seen: int = 0
    samples_total: int | None = None
    nonfinite: tuple[NonFiniteSample, ...] = ()
    """At most 50."""
    nonfinite_samples: int = 0
    labels: tuple[LabelCount, ...] = ()
    where: dict[str, Location] | None = None
    """Where each phase's dataset was built (``train``, ``val``)."""
    asked: dict[str, Location] | None = None
    """Where the function was called that did so, where the loader was built in another and its source tells."""
    error: str = ""
    """A loader that failed while scanning: what it raised, and on which sample."""


@dataclass(frozen=True, kw_only=True)
class SampleOrder(Measurement):
    """The order in which the training loader hands out samples."""

    name: ClassVar[str] = "sample_order"
    where: Location | None = None
    """Where the loader was built."""
    sampler: str = ""
    """Class name of the sampler that decides the order (looked up inside batch samplers)."""
    dataset: str = ""
    size: int | None = None
    """Samples in the dataset, None when unknown or endless."""
    batch_size: int | None = None
    iterable: bool = False
    """An IterableDataset: no indices, order is the dataset's own."""
    first_epoch: tuple[int, ...] = ()
    """Dataset indices in the order handed out (at most 4,096)."""
    second_epoch: tuple[int, ...] = ()
    sequential: bool = False
    """Indices only ever go up by one."""
    same_each_epoch: bool | None = None
    epochs_alike: float | None = None
    """Rank correlation of the samples' places in the two epochs: 0 when drawn anew, 1 in the same order; None where too few are known of both."""
    labels: tuple[float, ...] = ()
    """Labels in the order of ``first_epoch`` (as far as they could be read)."""
    label_runs: int = 0
    """Number of stretches of equal labels in ``labels``."""
    expected_runs: float = 0.0
    """Expected number when the same labels come in random order."""
    runs_z: float = 0.0
    """(label_runs - expected_runs) / standard deviation (Wald-Wolfowitz); very negative when sorted by class."""
    batch_label_share: float | None = None
    """Mean share of the most frequent label within a batch."""
    overall_label_share: float | None = None
    """Share of the most frequent label overall."""
    single_batches: int = 0
    """Recorded batches, where each of them holds one value only of the one integer a sample that is no input; 0 where one holds several."""
    single_values: int = 0
    """Different values of those batches."""
    random_dataset: bool = False
    """The same index gives a different sample each time, so a fixed index order is no fixed order."""
    epoch_size: int | None = None
    """Samples that the sampler says it draws in an epoch; None when it does not say, or hands out whole batches."""
    reach: int | None = None
    """Weights that a sampler which draws by weights was given: later indices never come; None for other samplers."""
    sampler_where: Location | None = None
    """Where such a sampler was built."""
    streamed_where: Location | None = None
    """Where a stream of the user's hands out its samples."""
    predictions_mixed: Location | None = None
    """The argument that shuffles the loader which skorch predicts through as well."""
    drawn: tuple[str, ...] = ()
    """Without a loader: the global generators that are drawn from between steps; all else but the next two is empty then."""
    reseeded: str = ""
    """The global generator (``torch``, ``numpy``, ``random``) that the loop seeds with the same number again and again and draws batches, or
    their order, from."""
    reseeded_where: Location | None = None
    handed_where: Location | None = None
    """Where a sampler of the user's hands out its indices or batches."""
    seeded_where: Location | None = None
    """Where a sampler of the user's sets a seed each time it begins an epoch."""
    distributed: bool = False
    set_epoch_called: bool | None = None
