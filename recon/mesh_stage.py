"""What the mesh stage leaves behind: mesh, textured GLB, coverage, pictures, facts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from corr.store import strict_json, write_atomic
from recon.export.mesh import write_coverage_ply, write_mesh_glb, write_mesh_ply
from recon.held_out import save_picture
from recon.scene import View
from recon.surface.coverage import Coverage, coverage
from recon.surface.coverage_pictures import by_angle, by_sigma, by_views, painted
from recon.surface.mesh import Mesh
from recon.surface.mesher import Mesher
from recon.surface.preview import shaded_views
from recon.surface.statement import stated
from recon.texture.sight import Sight, sights

COVERAGE_FILE = "coverage.json"
_BYTES_PER_TRIANGLE = 28  # of a textured GLB: three indices and 0.8 vertices
_GEOMETRY_SHARE = 0.8  # of the GLB's size that the geometry may take


def write_mesh_stage(
    folder: Path,
    options: Mesher,
    mesh: Mesh,
    facts: dict[str, Any],
    views: Sequence[View],
    photos: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> None:
    """Write `mesh.ply`, `mesh.glb`, `mesh_coverage.ply`, `coverage.json`, `mesh.json`, `views/`.

    Args:
        folder: Where to.
        options: Texture or not, size of the GLB.
        mesh: The surface, world.
        facts: The mesher's report; seconds, texture and GLB are added.
        views: Cameras.
        photos: By view name.
        masks: By view name, true where a photo counts.
    """
    started = perf_counter()
    write_mesh_ply(folder / "mesh.ply", mesh)
    seen = sights(mesh, views, photos, masks)
    covered = coverage(mesh, seen)
    statement = stated(mesh, covered, seen, facts)
    write_coverage_ply(folder / "mesh_coverage.ply", painted(mesh, by_views(covered)), covered)
    record = {"unit": "scene units", "statement": statement.lines,
              "templates": statement.templates, **statement.figures, "holes": facts["holes"],
              "outline": facts["outline"], "seen_alone": facts["seen_alone"]}  # fmt: skip
    write_atomic(folder / COVERAGE_FILE, strict_json(record))
    facts["seconds"]["coverage_s"] = round(perf_counter() - started, 3)
    started = perf_counter()
    facts["glb"] = _write_glb(folder / "mesh.glb", options, mesh, seen, views, photos, masks)
    facts["seconds"]["texture_s"] = round(perf_counter() - started, 3)
    write_atomic(folder / "mesh.json", json.dumps(facts, indent=1, default=str))
    _write_pictures(folder / "views", mesh, covered, views, 3.0 * facts["voxel"])


def _write_glb(
    path: Path,
    options: Mesher,
    mesh: Mesh,
    seen: Sequence[Sight],
    views: Sequence[View],
    photos: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The GLB, and its size, triangles and texture for the record."""
    from recon.export.textured_glb import write_textured_glb
    from recon.texture.bake import textured

    if not options.texture:
        write_mesh_glb(path, mesh)
        return {"mb": path.stat().st_size / 1e6, "triangles": len(mesh.faces), "texture": None}
    most = int(_GEOMETRY_SHARE * options.glb_mb * 1e6 / _BYTES_PER_TRIANGLE)
    small = lighter(mesh, most)
    if small is not mesh:
        seen = sights(small, views, photos, masks)
    baked = textured(small, seen)
    mb = write_textured_glb(path, baked, max_mb=options.glb_mb)
    return {
        "mb": mb,
        "triangles": len(small.faces),
        "texture": [baked.picture.shape[1], baked.picture.shape[0]],
        "unseen_share": float((baked.photo < 0).mean()),
    }


def lighter(mesh: Mesh, max_triangles: int) -> Mesh:
    """The mesh, or one of about `max_triangles` with the nearest vertices' colours."""
    from scipy.spatial import cKDTree

    from recon.surface.clean import simplified

    if len(mesh.faces) <= max_triangles:
        return mesh
    vertices, faces = simplified(mesh.vertices, mesh.faces, max_triangles=max_triangles)
    nearest = cKDTree(mesh.vertices).query(vertices)[1]
    return Mesh(vertices, faces, mesh.rgb[nearest])


def _write_pictures(
    folder: Path, mesh: Mesh, covered: Coverage, views: Sequence[View], full: float
) -> None:
    folder.mkdir(exist_ok=True)
    for i, picture in enumerate(shaded_views(mesh, views)):
        save_picture(folder / f"view_{i}.png", picture / 255.0)
    colours = {
        "photos": by_views(covered), "angle": by_angle(covered), "sigma": by_sigma(covered, full)
    }  # fmt: skip
    for name, rgb in colours.items():
        (picture,) = shaded_views(painted(mesh, rgb), views, count=1)
        save_picture(folder.parent / f"coverage_{name}.png", picture / 255.0)
