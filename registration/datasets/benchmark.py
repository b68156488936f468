"""What every benchmark reader returns: scenes of fragments, and pairs of them with the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3


@dataclass(frozen=True, eq=False)
class FragmentPair:
    """Two fragments of a scene and how they truly lie.

    Args:
        scene: The scene's name.
        source: Index of the fragment that is moved.
        target: Index of the fragment that it is moved onto.
        target_from_source: The truth, metres.
        info: Information matrix of the true pose error (translation first, then quaternion vector
            part), summed over the true correspondences; None = the benchmark has none.
        overlap: Share of the fragments that both saw, 0..1; NaN = not stated.
        row: Its place in the scene's ground-truth file, from 0.
    """

    scene: str
    source: int
    target: int
    target_from_source: Rigid3
    info: Float[np.ndarray, "6 6"] | None = None
    overlap: float = float("nan")
    row: int = -1

    @property
    def key(self) -> tuple[str, int, int]:
        """What identifies the pair within its benchmark."""
        return self.scene, self.source, self.target

    @property
    def consecutive(self) -> bool:
        """The fragments follow each other in the recording."""
        return abs(self.source - self.target) == 1


@dataclass(frozen=True, eq=False)
class Scene:
    """The fragments of one recording, by index, and the pairs to be aligned, in file order."""

    name: str
    fragments: dict[int, Path]
    pairs: tuple[FragmentPair, ...]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The scenes that were found, and the names of those that were not."""

    name: str
    voxel: float  # working resolution that the published rows use, metres
    scenes: tuple[Scene, ...]
    missing: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[FragmentPair]:
        """All pairs, scene by scene."""
        return [pair for scene in self.scenes for pair in scene.pairs]

    def chosen(self, *, scenes: str = "", every: int = 1) -> "Benchmark":
        """The part to be run: scenes by parts of their names, colons between, and every n-th pair.

        Raises:
            ValueError: A name fits no scene, or `every` is not positive.
        """
        if every < 1:
            raise ValueError(f"every must be 1 or more, got {every}")
        kept = [s for s in self.scenes if not scenes or _fits(s.name, scenes)]
        for part in filter(None, (p.strip() for p in scenes.split(":"))):
            if not any(part in s.name for s in kept):
                known = ", ".join(s.name for s in self.scenes)
                raise ValueError(f"scenes: {part!r} fits none of {known}")
        if every == 1:
            return Benchmark(self.name, self.voxel, tuple(kept), self.missing)
        numbered = {id(p): k for k, p in enumerate(p for s in kept for p in s.pairs)}
        thinned = [
            Scene(s.name, s.fragments, tuple(p for p in s.pairs if numbered[id(p)] % every == 0))
            for s in kept
        ]
        return Benchmark(self.name, self.voxel, tuple(thinned), self.missing)


def _fits(name: str, scenes: str) -> bool:
    return any(part.strip() in name for part in scenes.split(":") if part.strip())
