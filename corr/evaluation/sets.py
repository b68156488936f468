"""What is evaluated: pairs of photos with their true relative pose or homography."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry import Rigid3


@dataclass(frozen=True, eq=False)
class PhotoFile:
    """A photo of a benchmark; pixels are counted as the file stores them, EXIF is left alone."""

    name: str  # the identity within the set
    path: Path
    K: Float[np.ndarray, "3 3"] | None = None  # of the file's own pixels; None for homographies
    distortion: tuple[float, float, float, float] | None = None  # k1 k2 p1 p2 of OpenCV


@dataclass(frozen=True, eq=False)
class TruePair:
    """Two photos and the truth between them: a pose or a homography."""

    key: str
    a: PhotoFile
    b: PhotoFile
    b_from_a: Rigid3 | None = None
    H: Float[np.ndarray, "3 3"] | None = None  # b ~ H a, pixels with centres at +0.5
    group: str = ""  # scene or sequence kind, for numbers by group


@dataclass(frozen=True, eq=False)
class PairSet:
    """A benchmark, or the part of it that is there.

    `side` is the size that errors and thresholds are stated at: pixels of a copy of each photo
    whose longer side (`side_of = "long"`) or shorter side ("short") has that length.
    """

    name: str
    kind: str  # pose | homography
    pairs: tuple[TruePair, ...]
    side: int
    side_of: str
    official_pairs: int = 0  # 0: there is no official number
    correct_epipolar: float = 1e-4  # squared normalised distance under which a match is right
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether this is the whole benchmark, or has no official size."""
        return not self.official_pairs or len(self.pairs) == self.official_pairs

    def chosen(self, *, every: int) -> "PairSet":
        """Every n-th pair.

        Raises:
            ValueError: None is left.
        """
        if not self.pairs:
            raise ValueError(f"{self.name} has no pairs")
        return replace(self, pairs=self.pairs[::every])


def required(path: Path, what: str) -> Path:
    """A file or folder that must be there.

    Raises:
        UserError: It is not.
    """
    if not path.exists():
        raise UserError(f"{what} is missing: {path}")
    return path


def safe_key(text: str) -> str:
    """A pair's key as a file name."""
    return re.sub(r"[^\w.-]+", "_", text)


Reader = Callable[[Path], PairSet]
