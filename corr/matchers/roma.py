"""RoMa through the optional package `romatch`.

Source: Edstedt et al., RoMa, CVPR 2024; network and weights are the authors'.
"""

import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from PIL import Image as PilImage

from corr.errors import UserError
from corr.matchers.checkpoint import read_state
from corr.matchers.photo_matcher import NetworkMatcher
from corr.matchers.picture import Picture
from corr.matches import Matches
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

SEED = 0  # of the samples drawn from the warp


@dataclass
class Roma(NetworkMatcher):
    """A dense warp, from which matches are drawn evenly; best across wide baselines, slow on a CPU.

    The package takes pairs of photos, so nothing is kept per photo. It resizes every photo to its
    own squares; `max_side` only bounds what it is given.
    """

    samples: int = 5000  # matches drawn from the warp
    min_score: float = 0.05  # least certainty of a match, 0 … 1
    coarse_px: int = 560  # side of the first pass, a multiple of 14
    fine_px: int = 864  # side of the second pass, a multiple of 8
    weights: str = ""  # path of roma_outdoor.pth; empty: hub cache
    encoder_weights: str = ""  # path of dinov2_vitl14_pretrain.pth; empty: hub cache

    def __post_init__(self):
        super().__post_init__()
        if self.samples < 1:
            raise ValueError(f"matcher.samples must be positive, got {self.samples}")
        if not 0 <= self.min_score < 1:
            raise ValueError(f"matcher.min_score must lie in [0, 1), got {self.min_score}")
        for name, value, multiple in (("coarse", self.coarse_px, 14), ("fine", self.fine_px, 8)):
            if value < multiple or value % multiple:
                raise ValueError(f"matcher.{name}_px must be a multiple of {multiple}, got {value}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """RoMa's and its encoder's."""
        return [("roma_outdoor", self.weights), ("dinov2_vitl14", self.encoder_weights)]

    def check(self) -> None:
        """The package as well."""
        _package()
        super().check()

    @cached_property
    def _network(self) -> Any:
        import torch

        romatch = _package()
        cuda = self._device.type == "cuda"
        return romatch.roma_outdoor(
            device=self._device,
            weights=read_state(find_weights("roma_outdoor", self.weights)),
            dinov2_weights=read_state(find_weights("dinov2_vitl14", self.encoder_weights)),
            coarse_res=self.coarse_px,
            upsample_res=self.fine_px,
            amp_dtype=torch.float16 if cuda else torch.float32,
            use_custom_corr=False,  # its compiled kernel is one more package
        )

    def _describe(self, picture: Picture) -> Picture:
        return picture

    def _match(self, a: Picture, b: Picture) -> Matches:
        import torch

        size_a, size_b = ((p.place.width, p.place.height) for p in (a, b))
        given = [PilImage.fromarray(_masked(p)) for p in (a, b)]
        if self.max_side:
            for photo in given:
                photo.thumbnail((self.max_side, self.max_side))
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(SEED)
            warp, certainty = self._network.match(*given, device=self._device)
            warp, certainty = warp.reshape(-1, 4), certainty.reshape(-1)
            certainty = certainty * torch.tensor(
                _usable(warp, a, b), dtype=certainty.dtype, device=certainty.device
            )
            if not (certainty > self.min_score).any():
                return Matches.none()
            warp, score = self._network.sample(warp, certainty, num=self.samples)
        uv_a, uv_b = (_pixels(w, s) for w, s in ((warp[:, :2], size_a), (warp[:, 2:], size_b)))
        score = np.clip(score.cpu().numpy().astype(np.float64), 0.0, 1.0)
        return Matches(uv_a, uv_b, score).select(score > self.min_score)


def _package() -> Any:
    try:
        return importlib.import_module("romatch")
    except ImportError as error:
        raise UserError(
            f"matcher=roma needs the package romatch ({error}); pip install romatch, which "
            f"brings torchvision along"
        ) from None


def _masked(picture: Picture) -> np.ndarray:
    """The pixels, with the mean colour where they may not be used."""
    if picture.usable is None or not picture.usable.any():
        return picture.rgb
    mean = picture.rgb[picture.usable].mean(0).astype(np.uint8)
    return np.where(picture.usable[..., None], picture.rgb, mean)


def _pixels(normalised: "torch.Tensor", size: tuple[int, int]) -> Float[np.ndarray, "n 2"]:
    """From [-1, 1] over the whole extent to picture pixels."""
    return (normalised.cpu().numpy().astype(np.float64) + 1) / 2 * np.array(size)


def _usable(warp: "torch.Tensor", a: Picture, b: Picture) -> np.ndarray:
    """Where both ends of the warp lie on usable pixels."""
    inside = np.ones(len(warp), dtype=bool)
    for side, picture in ((warp[:, :2], a), (warp[:, 2:], b)):
        if picture.usable is not None:
            size = picture.place.width, picture.place.height
            xy = np.floor(_pixels(side, size)).astype(np.int64).clip(0, np.array(size) - 1)
            inside &= picture.usable[xy[:, 1], xy[:, 0]]
    return inside
