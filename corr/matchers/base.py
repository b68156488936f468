"""The matcher contract: photos in, matches in original pixels out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from corr.matches import Matches
from corr.photos import Image
from corr.weights import find_weights


@dataclass
class Matcher(ABC):
    """Matches many pairs of one photo set; whatever depends on one photo is computed once."""

    SIGMA_PX: ClassVar[float] = 0.0  # `Matches.sigma_px` at one network pixel per original pixel
    RIGID: ClassVar[bool] = True  # whether matches are meant to be the same points of one scene

    def needed_weights(self) -> list[tuple[str, str]]:
        """Names in the manifest of what the networks are filled with, and the paths given."""
        return []

    def check(self) -> None:
        """Look for what is needed, so that its absence is told before anything slow is done.

        Raises:
            UserError: Weights or a package are missing.
        """
        for name, path in self.needed_weights():
            find_weights(name, path)

    @abstractmethod
    def match_pairs(
        self, images: Sequence[Image], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Matches]]:
        """Yield every pair with its matches (possibly none), in the order of `pairs`.

        Matches are in original pixels, masked-out places removed, scores in [0, 1]; `Matches`
        says which side is sub-pixel. A pair's matches depend on its two photos and the options
        alone, never on which other pairs are asked for.
        """
