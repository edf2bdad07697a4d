"""Labels that lie at another place of their own sample: tags beside their tokens, tokens too far ahead, coordinates in mirrored pictures."""

from __future__ import annotations

from dataclasses import dataclass

from trainlint.location import Location

__all__ = ["MirroredPictures", "ShiftedTags", "TokensAhead"]


@dataclass(frozen=True, kw_only=True)
class ShiftedTags:
    """Tags of sequences that are told by a token beside theirs, and not by their own."""

    phase: str
    shift: int
    """The token's place less the tag's: -1 where each tag belongs to the token before."""
    accuracy: float
    own_accuracy: float
    base: float
    """Held-out shares of right tags of a table from token to tag: for the token at ``shift``, for the tag's own, and by the most frequent tag."""
    z: float
    """How much better the former is, in standard deviations between sequences."""
    sequences: int
    places: int
    where: Location | None = None
    """The line that makes the tags."""
    path: str = ""
    """The tags, in the loader's batch."""


@dataclass(frozen=True, kw_only=True)
class MirroredPictures:
    """Boxes or points that stay where they are when the dataset mirrors their picture at random."""

    kind: str
    """``boxes`` or ``points``."""
    way: str
    """``mirrored``, ``upside down`` or ``turned by 180°``; the most frequent one."""
    mirrored: int
    """Training pictures of which one reading was another mirrored."""
    stayed: int
    """Of these, those whose coordinates were the same in both, and do not lie alike on both sides."""
    where: Location | None = None
    """The line of the dataset's own code that draws whether to mirror."""


@dataclass(frozen=True, kw_only=True)
class TokensAhead:
    """Targets that are the input's own tokens, further ahead than the one that follows what a prediction sees."""

    ahead: int
    """Places between a predicted token and the last one that its prediction depends on: 1 for the next token, 2 for the token after it."""
    in_data: int = 0
    """By how many of them the targets in the loader's batch are ahead of its tokens."""
    moves: int = 1
    """How often targets were moved against tokens on the way from the data to the loss."""
    where: Location | None = None
    """The first line that moves them: of the dataset's own, else of the loop's."""
    path: str = ""
    """The targets, in the loader's batch."""
