"""A student: the features of an extractor whose network computes with low-rank adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from jaxtyping import UInt8
from torch import nn
from torch.nn.utils import parametrize

from corr.errors import UserError
from corr.semantic.features.extractor import Adaptable, Extractor
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.low_rank import LowRank, matrices


@dataclass(frozen=True)
class StudentShape:
    """What decides the parameters."""

    rank: int
    alpha: float
    layers: Mapping[str, Sequence[int]] = field(default_factory=dict)  # rows, columns by name


class Student(nn.Module):
    """The adapters alone: what is learned and stored, 0.5 MB for EfficientNet-Lite0 at rank 8."""

    def __init__(self, shape: StudentShape):
        super().__init__()
        self.shape = shape
        self.adapters = nn.ModuleDict({
            name.replace(".", "/"): LowRank(rows, columns, shape.rank, shape.alpha)
            for name, (rows, columns) in shape.layers.items()
        })  # fmt: skip

    def on(self, extractor: Adaptable) -> "AdaptedFeatures":
        """The extractor's features as this student computes them; the given one stays as it is.

        Raises:
            UserError: Its network lacks one of the layers, or has it in another shape.
        """
        own = replace(extractor)  # loads a network of its own
        found = matrices(own.network, own.adaptable)
        wanted = {name: tuple(size) for name, size in self.shape.layers.items()}
        if found != wanted:
            raise UserError(
                f"the adapters fit another network: {len(wanted)} layers, {len(found)} here; give "
                "the features= that they were trained with"
            )
        own.network.requires_grad_(False)
        for name in wanted:
            layer = own.network.get_submodule(name)
            adapter = self.adapters[name.replace(".", "/")]
            parametrize.register_parametrization(layer, "weight", adapter)
        return AdaptedFeatures(own)


@dataclass
class AdaptedFeatures(Extractor):
    """Features of an extractor whose network carries adapters."""

    base: Adaptable

    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """Descriptors of a photo."""
        return self.base.extract(rgb)

    def settings(self) -> dict[str, object]:
        """Those of the extractor; what was learned is told by a cache's own key."""
        return self.base.settings()


def student_of(extractor: Extractor, *, rank: int, alpha: float) -> Student:
    """A student that has learned nothing yet.

    Raises:
        UserError: The extractor's network takes no adapters.
    """
    if not isinstance(extractor, Adaptable):
        raise UserError(
            f"features: the network of {type(extractor).__name__} takes no adapters; use "
            "features=lite or features=dino"
        )
    adaptable = cast(Adaptable, extractor)
    layers = matrices(adaptable.network, adaptable.adaptable)
    return Student(StudentShape(rank, alpha, layers))
