"""A mesh coloured by how well the photos cover it."""

import numpy as np
from jaxtyping import UInt8

from recon.surface.coverage import Coverage
from recon.surface.error_pictures import error_colours
from recon.surface.mesh import Mesh

# None, one, two, three, four and more photos: from grey over red to blue.
VIEW_COLOURS = np.array(
    [(120, 120, 120), (190, 40, 50), (240, 170, 70), (130, 190, 160), (50, 110, 160)], np.uint8
)
FULL_DEG = 80.0


def by_views(covered: Coverage) -> UInt8[np.ndarray, "v 3"]:
    """One colour per number of photos, four and more alike."""
    return VIEW_COLOURS[np.minimum(covered.views, len(VIEW_COLOURS) - 1)]


def by_angle(covered: Coverage) -> UInt8[np.ndarray, "v 3"]:
    """Blue: a photo looks straight at it; red: at 80 degrees or more, or none does."""
    return error_colours(covered.angle_deg, FULL_DEG)


def by_sigma(covered: Coverage, full: float) -> UInt8[np.ndarray, "v 3"]:
    """Blue: sure; dark red: a sigma of `full` (scene units) and more, or fewer than two photos."""
    return error_colours(covered.sigma, full)


def painted(mesh: Mesh, rgb: UInt8[np.ndarray, "v 3"]) -> Mesh:
    """The same mesh in other colours."""
    return Mesh(mesh.vertices, mesh.faces, rgb)
