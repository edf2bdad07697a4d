"""Labels against inputs: what a cheap probe finds in the samples of the training and of the validation data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.details import ImageGrid
from trainlint.location import Location
from trainlint.measurements.base import Measurement
from trainlint.measurements.kept_answers import KeptAnswers
from trainlint.measurements.places import MirroredPictures, ShiftedTags, TokensAhead
from trainlint.measurements.view_pairs import ViewPairs

__all__ = [
    "BetweenLabels",
    "ClassMatch",
    "GivenAway",
    "Labels",
    "Lesson",
    "Mismatch",
    "Repair",
    "Signal",
    "Suspect",
]


@dataclass(frozen=True, kw_only=True)
class Repair:
    """Another pairing of labels and inputs under which they fit each other."""

    name: str
    """The change in words: ``labels moved by 1``, ``files in numeric instead of alphabetic order`` …"""
    score: float
    z: float
    """Distance of the score from that of random pairings, in standard deviations."""
    share: float = 1.0
    """Share of the samples that the change concerns (masks: those that fit better when turned)."""
    where: Location | None = None
    """The last line of the dataset's own code that draws random numbers, for masks of augmented pictures."""
    stackable: bool = False
    """Each mask and its picture are floats of one type, with channels first and of one size, so that a transform can take both as one."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Samples whose labels a probe cannot predict that was fitted on other samples, which look alike and are predicted well."""

    other: str
    """What the probe was fitted on: ``the training data``, ``the validation data``, ``the other samples``."""
    samples: int
    first: int | None = None
    """First and last dataset index, when it is a stretch of one dataset."""
    last: int | None = None
    other_score: float
    """Held-out score where the probe was fitted."""
    score: float
    z: float
    """The score on these samples, and its distance from that of permuted labels."""
    expected_z: float
    """The distance that as many samples as these should show."""
    own_z: float
    """The distance that a probe fitted on these samples shows."""
    confidence: float
    """How far apart the predictions for these samples are, against those for the others; near 1 when both sets look alike."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Whether the labels of one part of the data can be told from its inputs."""

    phase: str
    kind: str
    """``classes``, ``values``, ``flags`` (several a sample) or ``masks``."""
    samples: int
    total: int
    score: float
    """Correlation of held-out predictions with the labels, a mean over classes (masks: over samples)."""
    chance: float
    z: float
    p: float
    accuracy: float | None = None
    """Balanced held-out accuracy, for classes."""
    classes: int | None = None
    nearest: float | None = None
    """Median distance of a sample to its nearest neighbour, against that of two samples."""
    close_pairs: int = 0
    """Samples with a very close neighbour, and the share of equal labels among them, here and in permuted pairs."""
    close_agree: float | None = None
    close_chance: float | None = None
    random: bool = False
    """Samples are augmented at random."""
    pictures: bool = False
    """The main input is a picture."""
    relational: bool = False
    """Inputs are ids, or several alike, whose labels may say what they have to do with each other; negatives drawn for them follow any order."""
    repair: Repair | None = None
    mismatch: Mismatch | None = None


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the model itself learned of labels in a short training, where the cheap probe found nothing."""

    steps: int
    learned: int
    """Samples that it was trained on."""
    held_out: int
    """Samples that it was judged on."""
    left: float
    """Loss on the samples trained on, against that with targets exchanged between samples."""
    by_heart: bool
    """It got them by heart."""
    z: float
    """How far the loss on the held-out samples came to lie below that with exchanged targets, in standard deviations, at best."""
    relational: bool = False
    """Inputs are ids, or several of one kind that labels may compare: such a relation takes more samples than knowing some by heart."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A training sample whose label disagrees with what the other samples teach."""

    index: int
    label: float
    predicted: float
    confidence: float
    """Probability of the predicted class."""
    twin: int | None = None
    """Index of a sample with the same input and another label."""


@dataclass(frozen=True, kw_only=True)
class ClassMatch:
    """Which training class each validation class looks like."""

    samples: int
    classes: tuple[float, ...]
    matched: tuple[float, ...]
    """The training label that stands for the same thing, by the best one-to-one assignment of the probe's predictions."""
    as_given: float
    """Balanced accuracy of the probe on validation data with the labels as they are."""
    as_matched: float
    """The same after renaming labels by the assignment."""
    held_out: float
    """Balanced held-out accuracy on the training data."""
    moved: tuple[float, ...] = ()
    """Classes for which another training class is far more often predicted than chance and confusion explain."""
    p: float = 1.0
    """Probability of the least clear of the moved classes under the labels as given."""


@dataclass(frozen=True, kw_only=True)
class TornPairs:
    """Inputs that a collate function puts beside the label of another sample, dependent on the order in which it gets them."""

    samples: int
    """Handed over in each order."""
    moved: int
    """Of these, with another label than in the first order."""
    where: Location | None = None
    """The line of the collate function that changes an order, or its head."""


@dataclass(frozen=True, kw_only=True)
class BetweenLabels:
    """Single pixels of a third class between two others in label maps, as interpolation makes them."""

    thin: int
    """Single pixels of another class than both neighbours, whose numbers differ by three or more."""
    between: int
    """Of these, those whose number lies between the neighbours'."""
    pairs: int
    """Different pairs of neighbours among the latter."""
    classes: int
    masks: int


@dataclass(frozen=True, kw_only=True)
class GivenAway:
    """A measured target that stands in the input of its own sample, always at the same place."""

    path: str
    """The input, in the loader's batch."""
    at: tuple[int, ...]
    """Where in a sample of this shape."""
    shape: tuple[int, ...]
    samples: int
    where: Location | None = None
    """The line that picks the target, where the source tells."""


@dataclass(frozen=True, kw_only=True)
class Labels(Measurement):
    """A cheap probe on samples of both parts, without the model."""

    name: ClassVar[str] = "labels"
    signals: tuple[Signal, ...] = ()
    between: BetweenLabels | None = None
    """In the training masks; None for other targets, and fewer than four classes."""
    given_away: GivenAway | None = None
    """In the training data."""
    mirrored: MirroredPictures | None = None
    """In the training data."""
    shifted: ShiftedTags | None = None
    """The first part of which that is so."""
    ahead: TokensAhead | None = None
    """In the recorded step."""
    kept: KeptAnswers | None = None
    """In the recorded steps."""
    views: ViewPairs | None = None
    """In the recorded step."""
    torn: TornPairs | None = None
    """What the training loader's collate function tears apart; None when nothing, or when that is not known."""
    lesson: Lesson | None = None
    """Made where no signal was found."""
    where: dict[str, Location] | None = None
    """Where each phase's dataset was built."""
    apart: Location | None = None
    """The line that makes one part's labels and not the other's, traced back from the loaders; None where they share all lines."""
    joined: dict[str, Location] | None = None
    """Where labels are joined to their inputs by the index of tables, one made anew and one whose rows had moved, by the source."""
    reordered: dict[str, Location] | None = None
    """Where a phase's dataset puts only one of its inputs and labels in another order, by its source."""
    reasons: dict[str, str] | None = None
    """Why a phase could not be read."""
    names: dict[str, dict[str, str]] | None = None
    """phase -> label -> class name, where datasets know it."""
    held_out: float | None = None
    """Balanced held-out accuracy of the probe on training classes."""
    suspects: tuple[Suspect, ...] = ()
    """At most 50, the surest first."""
    suspect_share: float | None = None
    """Share of the samples looked at that are suspects."""
    ambiguous: float | None = None
    """Share of the other samples that lie between two classes for a probe fitted without the suspects."""
    twins: int = 0
    """Samples with the same input as another, and how many of those have another label."""
    twins_apart: int = 0
    looked_at: int = 0
    pictures: ImageGrid | None = None
    """The surest suspects."""
    match: ClassMatch | None = None
    built: dict[str, Location] | None = None
    """Where each phase's dataset was made, whatever line its labels come from."""
    transfer: Mismatch | None = None
    """How a probe fitted on training data fares on validation data, where labels show clearly in either part by itself."""
    unseen: tuple[float, ...] = ()
    """Validation labels that no training sample has; only when all training labels are known."""
    train_labels: tuple[float, ...] = ()
    val_labels: tuple[float, ...] = ()
