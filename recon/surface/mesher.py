"""Splats to mesh: depth maps, consistency votes, TSDF fusion, cleaning, colour."""

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from corr.errors import UserError
from recon.scene import View
from recon.surface.clean import canonical, remove_small_pieces, simplified, smoothed, without_backs
from recon.surface.colour import coloured
from recon.surface.depth_maps import (
    ALONE,
    DepthMap,
    cos_incidence,
    count_votes,
    draw_depth,
    pixel_points,
    ray_lengths,
    seen_alone,
)
from recon.surface.holes import find_holes
from recon.surface.mesh import Mesh
from recon.surface.poisson import poisson
from recon.surface.tsdf import Box, fitting_blocks, fuse, pixel_footprint

if TYPE_CHECKING:
    from recon.render.base import Renderer
    from recon.splats.gaussians import Gaussians

log = logging.getLogger(__name__)
_HOLE_VOXELS = 12.0  # shorter borders are the voxels' own roughness
SURFACES = ("tsdf", "poisson")
_SUPPORT_VOXELS = 1.0  # a Poisson surface farther from all depth pixels is made up
_MAX_WEIGHT = 4.0  # of a pixel, relative to the median pixel


@dataclass
class Mesher:
    """TSDF meshing; sizes are taken from the data, the options scale them."""

    VERSION = 1

    surface: str = "tsdf"  # tsdf | poisson: smooth, closes small holes, trimmed to its support
    min_alpha: float = 0.6  # pixels that the splats cover less are holes
    max_spread: float = 0.1  # standard deviation of depth along a ray, share of depth
    max_incidence_deg: float = 84.0  # flatter pixels, and depth edges, are left out
    min_views: int = 2  # views that must see a point, its own included; 1 turns the vote off
    agreement: float = 0.02  # two depths agree within this share of depth
    keep_percent: float = 99.8  # of the depth pixels' points per axis; the rest is background
    box_margin: float = 0.05  # the box around those points grows by this share
    voxel_pixels: float = 3.0  # voxel edge in median pixel footprints
    voxel_size: float = 0.0  # voxel edge in scene units; 0 takes it from voxel_pixels
    truncation_voxels: float = 4.0  # half width of the fused band, at least
    behind: float = 0.5  # a pixel fills so much of the band behind it, share of its half width
    truncation_residuals: float = 3.0  # and at least so many median depth residuals between views
    memory_mb: float = 768.0  # the voxel grows until the grid fits
    min_piece: float = 0.002  # connected pieces below this share of the area are dropped
    max_triangles: int = 200_000  # edge collapse down to this; 0 keeps all
    smooth_iterations: int = 0  # Taubin steps after simplification
    texture: bool = True  # bake the photos into mesh.glb; false: vertex colours as in mesh.ply
    glb_mb: float = (
        8.0  # of mesh.glb with its texture, at most; larger meshes are simplified for it
    )

    def __post_init__(self):
        if self.surface not in SURFACES:
            raise ValueError(
                f"mesher.surface must be one of {', '.join(SURFACES)}, got {self.surface}"
            )
        for name, low, high in (
            ("min_alpha", 0, 1),
            ("keep_percent", 50, 100),
            ("max_incidence_deg", 0, 90),
            ("behind", 0, 1),
        ):
            value = getattr(self, name)
            if not low < value <= high:
                raise ValueError(f"mesher.{name} must be in ({low}, {high}], got {value}")
        for name in (
            "max_spread",
            "agreement",
            "voxel_pixels",
            "truncation_voxels",
            "memory_mb",
            "glb_mb",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"mesher.{name} must be positive, got {getattr(self, name)}")
        if self.min_views < 1:
            raise ValueError(f"mesher.min_views must be 1 or more, got {self.min_views}")

    def mesh(
        self,
        gaussians: "Gaussians",
        views: Sequence[View],
        images: Mapping[str, np.ndarray],
        renderer: "Renderer",
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> tuple[Mesh, dict[str, Any]]:
        """Mesh the splats as seen by the views.

        Args:
            gaussians: Splats, world.
            views: Cameras whose depth maps are fused (any sizes).
            images: Photos by view name, h w 3 bytes, for the vertex colours; other sizes than the
                camera's are allowed, missing ones do not colour.
            renderer: Draws the depth maps.
            masks: By view name, h w of the camera; depth is used where the mask is true.

        Returns:
            The mesh in world coordinates and a report: voxel size, views, triangles, share of
            depth pixels rejected per reason, seconds.

        Raises:
            UserError: No depth pixel was accepted.
        """
        start = time.perf_counter()
        masks = masks or {}
        maps = [self._draw(gaussians, v, renderer, masks.get(v.name)) for v in views]
        drawn = time.perf_counter()
        return self._mesh_maps(maps, images, {"render_s": drawn - start})

    def mesh_from_depths(
        self,
        views: Sequence[View],
        depths: Sequence[np.ndarray],
        images: Mapping[str, np.ndarray],
    ) -> tuple[Mesh, dict[str, Any]]:
        """Mesh depth maps that came from elsewhere (h w, z in scene units, 0 unknown)."""
        maps = [
            self._judged(DepthMap(v, d.astype(np.float32), np.ones(d.shape, np.float32)))
            for v, d in zip(views, depths, strict=True)
        ]
        return self._mesh_maps(maps, images, {})

    def _draw(
        self,
        gaussians: "Gaussians",
        view: View,
        renderer: "Renderer",
        mask: np.ndarray | None,
    ) -> DepthMap:
        """One depth map with the pixels that its own view refuses already dropped."""
        depth, alpha, spread = draw_depth(gaussians, view, renderer)
        depth[~np.isfinite(depth)] = 0
        m = DepthMap(view, depth, alpha.copy())
        m.weight /= 1 + (spread / (0.5 * self.max_spread)) ** 2
        m.rejected["nothing drawn"] = int((depth <= 0).sum())
        if mask is not None:
            m.reject(~mask.astype(bool), "masked")
        m.reject(alpha < self.min_alpha, "transparent")
        m.reject(spread > self.max_spread, "blended depths")
        return self._judged(m)

    def _judged(self, m: DepthMap) -> DepthMap:
        """Drop grazing pixels and depth edges; weight by cos / depth^2."""
        cos = cos_incidence(m.depth, m.view.camera)
        m.slant = np.where(cos > 0, cos * ray_lengths(m.view.camera), 1).astype(np.float32)
        m.reject(cos < np.cos(np.radians(self.max_incidence_deg)), "grazing or edge")
        with np.errstate(divide="ignore", invalid="ignore"):
            m.weight = np.where(m.depth > 0, m.weight * cos / m.depth**2, 0).astype(np.float32)
        return m

    def _vote(self, maps: list[DepthMap]) -> float:
        """Drop pixels that too few views confirm; returns the median relative depth residual."""
        votes = [count_votes(maps, i, self.agreement) for i in range(len(maps))]
        residuals = [r[np.isfinite(r) & (r < self.agreement)] for _, _, r in votes]
        for m, (agree, against, residual) in zip(maps, votes, strict=True):
            if self.min_views > 1:
                m.reject(~np.isfinite(residual), ALONE)
                m.reject((agree + 1 < self.min_views) | (against > agree), "depths disagree")
        pooled = np.concatenate(residuals) if residuals else np.zeros(0)
        return float(np.median(pooled)) if len(pooled) else 0.0

    def _mesh_maps(
        self, maps: list[DepthMap], images: Mapping[str, np.ndarray], seconds: dict[str, float]
    ) -> tuple[Mesh, dict[str, Any]]:
        start = time.perf_counter()
        residual = self._vote(maps)
        accepted = np.concatenate([m.depth[m.depth > 0] for m in maps]) if maps else np.zeros(0)
        report = _rejections(maps)
        if len(accepted) == 0:
            raise UserError(
                f"no surface: all depth pixels of {len(maps)} views were rejected "
                f"({report['rejected_share']}); lower mesher.min_alpha or set mesher.min_views=1"
            )
        points = np.concatenate([pixel_points(m, 4)[0] for m in maps])
        tail = 0.5 * (100.0 - self.keep_percent)
        box = Box.around(points, percentile=tail, margin=self.box_margin)
        median_weight = np.median(np.concatenate([m.weight[m.depth > 0] for m in maps]))
        for m in maps:
            m.weight = np.minimum(m.weight / median_weight, _MAX_WEIGHT)
        voxel = self.voxel_size or self.voxel_pixels * pixel_footprint(maps)
        blocks, voxel, truncation = fitting_blocks(
            maps,
            voxel=voxel,
            truncation_voxels=self.truncation_voxels,
            min_truncation=self.truncation_residuals * residual * float(np.median(accepted)),
            box=box,
            memory_mb=self.memory_mb,
        )
        voted = time.perf_counter()
        vertices, faces = self._surface(maps, blocks, voxel, truncation, box)
        fused = time.perf_counter()
        mesh, dropped = self._cleaned(vertices, faces, [m.view for m in maps])
        if len(mesh.faces) == 0:
            raise UserError(
                f"no surface: {len(faces)} triangles were fused and none was left after cleaning; "
                "lower mesher.min_piece or mesher.voxel_pixels"
            )
        holes, outline = find_holes(mesh, maps, smallest=_HOLE_VOXELS * voxel)
        cleaned = time.perf_counter()
        mesh, seen = coloured(mesh, maps, images, tolerance=truncation)
        seconds |= {"vote_s": voted - start, "fuse_s": fused - voted, "clean_s": cleaned - fused}
        seconds["colour_s"] = time.perf_counter() - cleaned
        report |= {
            "views": sum(bool((m.depth > 0).any()) for m in maps),
            "voxel": voxel,
            "truncation": truncation,
            "box_diagonal": box.diagonal,
            "depth_residual": residual,
            "blocks": len(blocks),
            "triangles_fused": len(faces),
            "triangles": len(mesh.faces),
            "pieces_dropped": dropped,
            "holes": [dataclasses.asdict(h) | {"centre": h.centre.tolist()} for h in holes],
            "outline": outline.perimeter if outline else 0.0,
            "seen_alone": {m.view.name: seen_alone(m) for m in maps},
            "vertices_coloured": float(seen.mean()) if len(seen) else 0.0,
            "seconds": {k: round(v, 3) for k, v in seconds.items()},
        }
        log.info(
            "mesh: %d triangles from %d views, voxel %.4g, %.1f s",
            len(mesh.faces),
            report["views"],
            voxel,
            sum(seconds.values()),
        )
        return mesh, report

    def _surface(
        self,
        maps: Sequence[DepthMap],
        blocks: np.ndarray,
        voxel: float,
        truncation: float,
        box: Box,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.surface == "poisson":
            return poisson(maps, voxel=voxel, support=_SUPPORT_VOXELS * voxel, box=box)
        behind = self.behind * truncation
        return fuse(maps, blocks=blocks, voxel=voxel, truncation=truncation, behind=behind, box=box)

    def _cleaned(
        self, vertices: np.ndarray, faces: np.ndarray, views: Sequence[View]
    ) -> tuple[Mesh, int]:
        vertices, faces = without_backs(*canonical(vertices, faces), views)
        vertices, faces, dropped = remove_small_pieces(vertices, faces, share=self.min_piece)
        if self.max_triangles > 0:
            vertices, faces = simplified(vertices, faces, max_triangles=self.max_triangles)
        mesh = Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))
        return smoothed(mesh, iterations=self.smooth_iterations), dropped


def _rejections(maps: Sequence[DepthMap]) -> dict[str, Any]:
    """Shares of all depth pixels, per reason and kept."""
    pixels = max(1, sum(m.depth.size for m in maps))
    reasons: dict[str, int] = {}
    for m in maps:
        for reason, count in m.rejected.items():
            reasons[reason] = reasons.get(reason, 0) + count
    kept = sum(int((m.depth > 0).sum()) for m in maps)
    shares = {reason: round(count / pixels, 4) for reason, count in reasons.items()}
    return {"kept_share": round(kept / pixels, 4), "rejected_share": shares}
