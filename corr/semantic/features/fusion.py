"""Two kinds of features as one: each of unit length, weighted, perhaps reduced together.

With weight w of the second, the cosine of two fused cells is (1 - w) times the first's cosine plus
w times the second's. The reduction is a principal component analysis of all photos of a collection
at once, one per part: what they have in common is kept, what one photo alone shows is not.

Source: Zhang et al., A Tale of Two Features, NeurIPS 2023, section 3.3 (Stable Diffusion and DINO,
components of both photos of a pair; here of the whole collection, so that features stay one per
photo and can be kept on disk).
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, UInt8

from corr.semantic.features.dino import DinoFeatures
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.stable_diffusion import StableDiffusionFeatures
from corr.semantic.features.xfeat import XFeatFeatures

log = logging.getLogger(__name__)
PARTS = ("lite", "xfeat", "dino", "sd")
GRIDS = ("first", "second")
_PHOTOS, _CELLS = 64, 256  # drawn for the components: photos of the collection, cells of each

Basis = tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d k"]]  # mean and directions


@dataclass
class FusionFeatures(Extractor):
    """The features of two extractors at the cells of one of them."""

    first: str = "lite"  # lite | xfeat | dino | sd
    second: str = "xfeat"  # another of them
    weight: float = 0.5  # 0 … 1, the second's share in the cosine
    grid: str = "first"  # first | second: whose cells
    components: int = 0  # principal components kept of each part, of the collection; 0 = no such
    lite: LiteFeatures = field(default_factory=LiteFeatures)
    xfeat: XFeatFeatures = field(default_factory=XFeatFeatures)
    dino: DinoFeatures = field(default_factory=DinoFeatures)
    sd: StableDiffusionFeatures = field(default_factory=StableDiffusionFeatures)

    def __post_init__(self):
        for name, chosen in (("first", self.first), ("second", self.second)):
            if chosen not in PARTS:
                raise ValueError(f"features.{name} must be one of {', '.join(PARTS)}, got {chosen}")
        if self.first == self.second:
            raise ValueError(f"features.second must differ from features.first, got {self.second}")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"features.weight must lie in 0 … 1, got {self.weight}")
        if self.grid not in GRIDS:
            raise ValueError(f"features.grid must be one of {', '.join(GRIDS)}, got {self.grid}")
        if self.components < 0:
            raise ValueError(f"features.components must be 0 or more, got {self.components}")
        self._bases: tuple[Basis, Basis] | None = None
        self._collection = ""

    @property
    def _parts(self) -> tuple[Extractor, Extractor]:
        return getattr(self, self.first), getattr(self, self.second)

    def settings(self) -> dict[str, object]:
        """Its own options and those of its two parts, under `<part>.<option>`."""
        own: dict[str, object] = {
            n: getattr(self, n) for n in ("first", "second", "weight", "grid", "components")
        }
        for name, part in zip((self.first, self.second), self._parts, strict=True):
            own |= {f"{name}.{k}": v for k, v in part.settings().items()}
        return own | ({"collection": self._collection} if self._collection else {})

    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """Both parts at the chosen part's cells.

        Raises:
            ValueError: Components are wanted, and no collection was given to find them in.
        """
        if self.components and self._bases is None:
            raise ValueError("features.components needs a collection: use `for_collection` first")
        return self._joined(*(part.extract(rgb) for part in self._parts))

    def _joined(self, first: FeatureGrid, second: FeatureGrid) -> FeatureGrid:
        like = first if self.grid == "first" else second
        uv = like.centres()
        cells = [g.flat if g is like else g.sample(uv) for g in (first, second)]
        if self._bases is not None:
            cells = [unit((c - m) @ d) for c, (m, d) in zip(cells, self._bases, strict=True)]
        shares = np.sqrt([1 - self.weight, self.weight]).astype(np.float32)
        joined = unit(np.concatenate([s * c for s, c in zip(shares, cells, strict=True)], 1))
        return replace(like, descriptor=joined.reshape(*like.shape, -1).astype(np.float32))

    def for_collection(
        self, photos: Sequence[str], read: Callable[[str], UInt8[np.ndarray, "_ _ 3"]]
    ) -> "FusionFeatures":
        """The same features with the principal components of these photos; found once, they stay.

        Args:
            photos: Names; equally spaced ones of the sorted list are looked at if there are many.
            read: A photo's pixels by its name.
        """
        if not self.components or self._bases is not None:
            return self
        names = sorted(set(photos))
        chosen = [names[k] for k in _spaced(len(names), _PHOTOS)]
        log.info("components of %d of %d photos", len(chosen), len(names))
        drawn: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for name in chosen:
            rgb = read(name)
            for kept, part in zip(drawn, self._parts, strict=True):
                flat = part.extract(rgb).flat
                kept.append(flat[_spaced(len(flat), _CELLS)])
        made = copy(self)
        first, second = (_components(np.concatenate(d), self.components) for d in drawn)
        made._bases = (first, second)
        made._collection = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        return made


def _spaced(total: int, most: int) -> np.ndarray:
    """Up to `most` indices, equally spaced."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))


def _components(rows: Float[np.ndarray, "n d"], count: int) -> Basis:
    """Mean and the `count` directions of largest variance, or as many as there are."""
    mean = rows.mean(0)
    centred = (rows - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    directions = vectors[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary: the largest entry is made positive.
    largest = np.abs(directions).argmax(0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    return mean.astype(np.float32), directions.astype(np.float32)
