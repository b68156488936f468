"""One render interface; the device decides which implementation answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from corr.geometry import Camera
from recon.splats.gaussians import Gaussians

# Shared by every implementation, so that they draw the same picture.
NEAR = 0.01  # scene units; the optimiser's world is scaled so that this is far in front of anything
ALPHA_MIN = 1.0 / 255.0  # contributions below are skipped, forward and backward alike
ALPHA_MAX = 0.999  # gsplat's, so that CPU and GPU agree
T_MIN = 1e-4  # a pixel is finished when less light than this remains
BLUR_PX2 = 0.3  # variance added to every 2-D Gaussian: the pixel's own footprint
VARIANCE_MAX_PX2 = 1e24  # a splat wider than this is broken and skipped


@dataclass
class Rendered:
    """A picture of the splats. Everything is premultiplied by what the splats cover."""

    rgb: Tensor  # h w 3, background composited in
    alpha: Tensor  # h w, covered share in [0, 1]
    depth: Tensor  # h w, sum of weight * z; divide by alpha for the expected depth (scene units)
    radius_px: Tensor | None = (
        None  # n, larger half side of the drawn box; 0: not drawn; no gradient
    )
    pairs: int = 0  # (tile, splat) pairs drawn: what the time is proportional to
    raw: dict[str, Any] | None = None  # gsplat's record of the drawing, for its strategies


class Renderer(ABC):
    """Draws Gaussians; differentiable in every tensor given, camera pose included."""

    name: str

    @abstractmethod
    def render(
        self,
        gaussians: Gaussians,
        camera: Camera,
        cam_from_world: Tensor,
        *,
        background: Tensor | None = None,
        sh_degree: int | None = None,
    ) -> Rendered:
        """Draw one picture.

        Args:
            gaussians: n splats in world coordinates.
            camera: Pinhole with the wanted picture size.
            cam_from_world: 4 x 4, may require a gradient (rows 0-2 receive it).
            background: 3 colours behind everything, black if None.
            sh_degree: Use only bands up to this degree; all if None.

        Returns:
            The picture, h w of `camera`, on the device of `gaussians`.
        """
