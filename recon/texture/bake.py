"""From a mesh and photos to a textured mesh."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from recon.surface.mesh import Mesh
from recon.texture.charts import Layout, choose_photos, components, lay_out, neighbours
from recon.texture.sight import SLACK, Sight, face_scores

log = logging.getLogger(__name__)
_POWER = 8.0  # of a photo's resolution on the surface, cosine / depth, in its weight
_MOST_TEXELS = 16_000_000
_LARGEST_SIDE = 8192


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A mesh with a picture on it: `uv` in [0, 1], per corner of each face, v downward as in glTF.

    The geometry is that of `mesh`; its vertex colours are what no photo's texture replaces.
    """

    mesh: Mesh
    uv: Float[np.ndarray, "f 3 2"]
    picture: UInt8[np.ndarray, "h w 3"]
    photo: Int[np.ndarray, " f"]  # which view gave the chart, -1 for none


def textured(mesh: Mesh, seen: Sequence[Sight], *, detail: float = 1.0) -> TexturedMesh:
    """Bake the photos onto the mesh.

    Every face belongs to the chart of one photo, which says how finely it is sampled. A texel's
    colour is a mean over all photos that see its place in the world, weighted to the one that
    resolves it best, with the photos' exposures evened out. It depends on the place alone, so two
    charts that meet agree on their common border and no seam shows.

    Args:
        mesh: World coordinates, with vertex colours for what no photo sees.
        seen: The photos, from `sights` of this mesh.
        detail: Texels per photo pixel along a side; less if the picture would grow too large.

    Raises:
        ValueError: The mesh has no triangles.
    """
    if len(mesh.faces) == 0:
        raise ValueError("mesh must have triangles to be textured, got none")
    scores = face_scores(mesh, seen)
    pairs = neighbours(mesh.faces)
    photo = choose_photos(scores, pairs)
    chart = components(photo, pairs)
    corners = _corners(mesh, seen, photo)
    layout = lay_out(photo, chart, corners, scale=detail)
    while layout.width * layout.height > _MOST_TEXELS or max(layout.width, layout.height) > (
        _LARGEST_SIDE
    ):
        detail *= 0.85
        layout = lay_out(photo, chart, corners, scale=detail)
    picture = _paint(mesh, layout, seen, exposure_gains(mesh, seen))
    log.info(
        "texture: %d charts, %d x %d, %.1f %% of the triangles seen by no photo",
        len(np.unique(chart[photo >= 0])), layout.width, layout.height,
        100 * float((photo < 0).mean()),
    )  # fmt: skip
    uv = layout.corners / [layout.width, layout.height]
    return TexturedMesh(mesh, uv, picture, photo)


def _corners(
    mesh: Mesh, seen: Sequence[Sight], photo: Int[np.ndarray, " f"]
) -> Float[np.ndarray, "f 3 2"]:
    """Where each face's corners lie in its photo, pixels."""
    corners = np.zeros((len(mesh.faces), 3, 2))
    for i, s in enumerate(seen):
        mine = photo == i
        uv, _ = s.view.camera.project(s.view.cam_from_world.apply(mesh.vertices))
        corners[mine] = uv[mesh.faces[mine]]
    return corners


def exposure_gains(mesh: Mesh, seen: Sequence[Sight]) -> Float[np.ndarray, "s 3"]:
    """Per photo and channel the factor that makes photos of one vertex agree; their product is 1.

    Medians of log ratios between every two photos, then least squares weighted by vertices shared.
    """
    from recon.texture.kernels import add_photo

    logs = np.full((len(seen), len(mesh.vertices), 3), np.nan)
    for i, s in enumerate(seen):
        colour, total = _blank(len(mesh.vertices))
        _add(add_photo, mesh.vertices, mesh.vertex_normals, s, np.ones(3), colour, total)
        value = colour / np.maximum(total, 1e-300)[:, None]
        good = (total > 0) & (value > 12).all(axis=1) & (value < 243).all(axis=1)
        logs[i, good] = np.log(value[good])
    rows, right, weight = [], [], []
    for i in range(len(seen)):
        for j in range(i + 1, len(seen)):
            gap = logs[j] - logs[i]
            gap = gap[np.isfinite(gap[:, 0])]
            if len(gap) >= 50:
                row = np.zeros(len(seen))
                row[i], row[j] = 1.0, -1.0
                rows.append(row)
                right.append(np.median(gap, axis=0))
                weight.append(np.sqrt(len(gap)))
    if not rows:
        return np.ones((len(seen), 3))
    w = np.array(weight)[:, None]
    # a weak pull to 1 keeps photos that share nothing with the others as they are
    pull = 1e-3 * w.max() * np.eye(len(seen))
    A = np.concatenate([np.array(rows) * w, pull])
    b = np.concatenate([np.array(right) * w, np.zeros((len(seen), 3))])
    gains = np.linalg.lstsq(A, b, rcond=None)[0]
    return np.exp(gains - gains.mean(axis=0))


def _paint(
    mesh: Mesh, layout: Layout, seen: Sequence[Sight], gains: Float[np.ndarray, "s 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    from scipy.ndimage import distance_transform_edt

    from recon.texture.kernels import add_photo, rasterise

    owner = np.full((layout.height, layout.width), -1, dtype=np.int32)
    weights = np.zeros((layout.height, layout.width, 3), dtype=np.float32)
    shown = np.flatnonzero(layout.photo >= 0)
    rasterise(layout.corners[shown], owner, weights)
    row, column = np.nonzero(owner >= 0)
    face = mesh.faces[shown[owner[row, column]]]
    share = weights[row, column].astype(np.float64)[..., None]
    points = (mesh.vertices[face] * share).sum(axis=1)
    normals = (mesh.vertex_normals[face] * share).sum(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    colour, total = _blank(len(points))
    for s, gain in zip(seen, gains, strict=True):
        _add(add_photo, points, normals, s, gain, colour, total)
    value = (mesh.rgb[face] * share).sum(axis=1)  # for texels that no photo sees
    value[total > 0] = colour[total > 0] / total[total > 0, None]
    picture = np.zeros((layout.height, layout.width, 3), dtype=np.uint8)
    known = np.zeros(owner.shape, dtype=bool)
    picture[row, column] = np.clip(np.rint(value), 0, 255)
    known[row, column] = True
    hidden = np.flatnonzero(layout.photo < 0)
    x, y = np.floor(layout.corners[hidden, 0]).astype(np.int64).T
    picture[y, x] = np.rint(mesh.rgb[mesh.faces[hidden]].mean(axis=1))
    known[y, x] = True
    # what lies between charts takes the nearest colour: viewers and JPEG mix neighbouring texels
    near = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return picture[tuple(near)]


def _blank(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((count, 3)), np.zeros(count)


def _add(add_photo, points, normals, s: Sight, gain, colour, total) -> None:  # type: ignore[no-untyped-def]
    pose = s.view.cam_from_world
    K = s.view.camera.K
    add_photo(
        points, normals, K, np.ascontiguousarray(pose.R), pose.t, s.depth, s.edge, s.photo, gain,
        SLACK, _POWER, colour, total,
    )  # fmt: skip
