"""Tracks: which observations, in which photos, are the same scene point."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Tracks:
    """A packed table of observations, sorted by track and within a track by image."""

    track: Int[np.ndarray, " m"]
    image: Int[np.ndarray, " m"]
    uv: Float[np.ndarray, "m 2"]
    names: tuple[str, ...]

    def __post_init__(self):
        if not (len(self.track) == len(self.image) == len(self.uv)):
            raise ValueError("track, image and uv must have the same length")
        if len(self.track) and np.any(np.diff(self.track) < 0):
            raise ValueError("observations must be sorted by track")

    @property
    def num_tracks(self) -> int:
        """How many tracks there are."""
        return int(self.track[-1]) + 1 if len(self.track) else 0

    @property
    def lengths(self) -> Int[np.ndarray, " t"]:
        """Observations per track."""
        return np.bincount(self.track, minlength=self.num_tracks)
