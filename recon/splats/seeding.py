"""How seeds are made: depth maps, fusion, selection, colours, splat shapes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32

from corr.errors import UserError
from recon.dense.colour import fit_sh, sample_colours, solve_exposures
from recon.dense.fusion import DensePoints, fuse
from recon.dense.neighbours import choose_neighbours, covisibility
from recon.dense.selection import fill_holes, lonely_tracks, pick, spacing
from recon.dense.stereo import DepthMap, depth_maps
from recon.scene import Reconstruction
from recon.splats.gaussians import Gaussians
from recon.splats.given_points import given_points
from recon.splats.seeds import Seeds

if TYPE_CHECKING:
    from recon.splats.seeder import Seeder

log = logging.getLogger(__name__)
AGREED_OPACITY = 0.7  # the surface is where photos agree: start nearly closed
FILL_OPACITY = 0.3
SIZE_PER_SPACING = 0.6  # standard deviation over neighbour distance: overlapping, not blurred
THICKNESS = 0.15  # across the surface, relative to along it


def make_seeds(
    options: "Seeder",
    reconstruction: Reconstruction,
    pictures: Mapping[str, np.ndarray],
    masks: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> tuple[Seeds, DensePoints]:
    """The seeds and all the agreed points they were chosen from.

    Raises:
        UserError: The photos agree nowhere.
    """
    near = choose_neighbours(covisibility(reconstruction), options.neighbours)
    maps = depth_maps(
        reconstruction, pictures, near, max_side=options.max_side, iterations=options.iterations
    )
    if not maps:
        raise _agreed_nowhere(0)
    _apply_masks(maps, masks)
    if options.points:
        points = given_points(Path(options.points).expanduser(), reconstruction.views, pictures)
    else:
        points = fuse(
            maps,
            pictures,
            depth_tolerance=options.depth_tolerance,
            reproject_px=options.reproject_px,
            max_cost=options.max_cost,
            min_angle_deg=options.min_angle_deg,
        )
        if len(points) < 50:
            raise _agreed_nowhere(len(points))
    chosen = points.select(pick(points, options.budget, rng))
    seeds = _assemble(options, reconstruction, maps, points, chosen, pictures, masks)
    log.info(
        "seeds: %d splats (%d agreed of %d points, %d from lone tracks, %d in holes)",
        len(seeds.gaussians),
        len(chosen),
        len(points),
        seeds.summary["from_tracks"],
        seeds.summary["in_holes"],
    )
    return seeds, points


def _agreed_nowhere(count: int) -> UserError:
    return UserError(
        f"only {count} surface points are seen alike by two photos; "
        "add photos between the existing ones, or try seeder.max_cost=0.8"
    )


def _apply_masks(maps: list[DepthMap], masks: Mapping[str, np.ndarray]) -> None:
    """Masked pixels match nothing."""
    import cv2

    for m in maps:
        if m.view.name in masks:
            mask = masks[m.view.name].astype(np.uint8)
            size = m.cost.shape[::-1]
            m.cost[cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) == 0] = 2.0


def _assemble(
    options: "Seeder",
    reconstruction: Reconstruction,
    maps: list[DepthMap],
    points: DensePoints,
    chosen: DensePoints,
    pictures: Mapping[str, np.ndarray],
    masks: dict[str, np.ndarray],
) -> Seeds:
    pixel = float(np.median(points.footprint))
    lone = lonely_tracks(reconstruction, points.xyz, 6 * pixel)
    lone_xyz = reconstruction.xyz_world[lone].astype(np.float32)
    xyz = np.concatenate([chosen.xyz, lone_xyz])
    normal = np.concatenate([chosen.normal, _towards_cameras(lone_xyz, reconstruction)])
    # A splat is never smaller than a pixel sees, nor larger than a coarse patch.
    low = np.concatenate([chosen.footprint, np.full(len(lone), pixel, np.float32)])
    size = np.clip(SIZE_PER_SPACING * spacing(xyz), 0.5 * low, 6 * low)
    confidence = np.concatenate(
        [1.0 - 1.0 / (1.0 + chosen.support), np.full(len(lone), 0.4)]
    ).astype(np.float32)
    opacity = np.full(len(xyz), AGREED_OPACITY, np.float32)
    if options.fill:
        holes = fill_holes(
            points.xyz.astype(np.float64),
            maps,
            max_cost=options.max_cost,
            stride_px=options.fill_stride,
            masks=masks,
        )
        xyz = np.concatenate([xyz, holes[0]])
        size = np.concatenate([size, SIZE_PER_SPACING * holes[1]])
        normal = np.concatenate([normal, holes[2]])
        confidence = np.concatenate([confidence, np.full(len(holes[0]), 0.1, np.float32)])
        opacity = np.concatenate([opacity, np.full(len(holes[0]), FILL_OPACITY, np.float32)])
    sh, exposures = _colours(options, xyz, maps, reconstruction, pictures)
    gaussians = _gaussians(xyz, size, normal, opacity, sh)
    summary = {
        "agreed_points": len(points),
        "agreed": len(chosen),
        "from_tracks": len(lone),
        "in_holes": len(xyz) - len(chosen) - len(lone),
        "median_pixel_footprint": pixel,
        "support_histogram": np.bincount(points.support).tolist(),
        "depth_maps": len(maps),
    }
    return Seeds(gaussians, confidence, exposures, summary)


def _towards_cameras(
    xyz: Float32[np.ndarray, "n 3"], reconstruction: Reconstruction
) -> Float32[np.ndarray, "n 3"]:
    centre = np.mean([v.cam_from_world.centre for v in reconstruction.views], axis=0)
    direction = centre - xyz
    return (direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32)


def _colours(
    options: "Seeder",
    xyz: Float32[np.ndarray, "n 3"],
    maps: list[DepthMap],
    reconstruction: Reconstruction,
    pictures: Mapping[str, np.ndarray],
) -> tuple[Float32[np.ndarray, "n k 3"], Float[np.ndarray, "v 3"]]:
    """Harmonics per point after taking the photos' exposure differences out."""
    colours, visible = sample_colours(xyz, maps, pictures)
    gains = solve_exposures(colours, visible)
    centres = np.array([m.view.cam_from_world.centre for m in maps])
    sh = fit_sh(
        xyz,
        (colours / gains.astype(np.float32)),
        visible,
        centres,
        degree=options.sh_degree,
        ridge=options.sh_ridge,
    )
    index = {v.name: i for i, v in enumerate(reconstruction.views)}
    exposures = np.ones((len(index), 3))
    for m, gain in zip(maps, gains, strict=True):
        exposures[index[m.view.name]] = gain
    return sh, exposures


def _gaussians(
    xyz: Float32[np.ndarray, "n 3"],
    size: Float32[np.ndarray, " n"],
    normal: Float32[np.ndarray, "n 3"],
    opacity: Float32[np.ndarray, " n"],
    sh: Float32[np.ndarray, "n k 3"],
) -> Gaussians:
    """Flat discs: the splat's own z axis along the normal."""
    scales = np.stack([size, size, THICKNESS * size], -1)
    return Gaussians(
        torch.from_numpy(xyz.astype(np.float32)),
        torch.from_numpy(np.log(scales).astype(np.float32)),
        torch.from_numpy(quats_from_normals(normal)),
        torch.logit(torch.from_numpy(opacity)),
        torch.from_numpy(np.ascontiguousarray(sh)),
    )


def quats_from_normals(normal: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 4"]:
    """The shortest rotation (w x y z) that turns +z into the normal."""
    n = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12)
    quats = np.stack([1.0 + n[:, 2], -n[:, 1], n[:, 0], np.zeros(len(n))], -1)
    opposite = quats[:, 0] < 1e-6
    quats[opposite] = np.array([0.0, 1.0, 0.0, 0.0])
    return (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32)
