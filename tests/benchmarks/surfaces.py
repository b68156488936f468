"""Meshes from a few photos beside the usual other ways, from the same cameras, in the same run.

`python -m tests.benchmarks.surfaces --out surfaces/ [--sets sample_9 sample_3 redkitchen]`

Sets: the bundled sample with exact truth (9 and 3 photos), and six frames of 7-Scenes' red kitchen
(of $CORR_DATA, evaluation only), all without poses; its truth are the sensor's own depth frames,
good to a centimetre or two, and its frames are 15 cm apart at most. Every way starts from the same
run: our mesh; Open3D's Poisson on the dense points and on the sparse ones (normals of 20
neighbours, turned to the nearest camera, octree of depth 9, the least dense 5 % trimmed). Scores
after a similarity on the cameras; F1 against what two of the photos see; seconds on top of the
shared stages.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import open3d as o3d

from recon.camera_metrics import read_cameras, score_cameras
from recon.colmap_io import read_colmap
from recon.export.mesh import read_mesh_ply
from recon.export.points_ply import read_points
from recon.options import RunOptions, SceneOptions
from recon.scene import View
from recon.splats.fitted import load_fitted
from recon.surface.compare import compare, sampled_evenly, scores
from recon.surface.mesh import Mesh
from recon.surface.truth import Truth, count_views, read_truth
from recon.surface.tsdf import Box
from tests.benchmarks.surface_sets import kitchen

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"


@dataclass(frozen=True, eq=False)
class Case:
    """Photos, options and truth of one set."""

    options: RunOptions
    true_views: dict[str, View]
    truth: Truth


def case(name: str, out: Path) -> Case:
    """A set by its name."""
    if name == "redkitchen":
        return Case(*kitchen(out / "redkitchen_photos"))
    use = {"sample_9": "all", "sample_3": "photo_05*,photo_06*,photo_08*"}[name]
    held = f"@{SAMPLE / 'truth' / 'held_out.txt'}"
    scene = SceneOptions(images=str(SAMPLE / "photos"), use=use, hold_out=held)
    views = read_cameras(SAMPLE / "truth" / "transforms.json")
    return Case(RunOptions(scene=scene), views, read_truth(SAMPLE / "truth" / "surface.ply"))


def ours(run: Path) -> tuple[Mesh, float]:
    """The mesh of the run, and what its stage took."""
    seconds = json.loads((run / "5_mesh" / "stage.json").read_text())["seconds"]
    return read_mesh_ply(run / "5_mesh" / "mesh.ply"), seconds


def as_mesh(mesh: o3d.geometry.TriangleMesh) -> Mesh:
    vertices = np.asarray(mesh.vertices)
    return Mesh(vertices, np.asarray(mesh.triangles), np.zeros((len(vertices), 3), np.uint8))


def poisson(xyz: np.ndarray, views: tuple[View, ...]) -> Mesh:
    """Open3D's Poisson with the usual settings."""
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz))
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(20))
    normals = np.asarray(cloud.normals)
    centres = np.stack([v.cam_from_world.centre for v in views])
    nearest = centres[np.linalg.norm(xyz[:, None] - centres, axis=2).argmin(1)]
    away = ((nearest - xyz) * normals).sum(1) < 0
    cloud.normals = o3d.utility.Vector3dVector(np.where(away[:, None], -normals, normals))
    mesh, density = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=9)
    density = np.asarray(density)
    mesh.remove_vertices_by_mask(density < np.quantile(density, 0.05))
    return as_mesh(mesh)


def poisson_dense(run: Path) -> tuple[Mesh, float]:
    start = perf_counter()
    xyz, _ = read_points(run / "3_seeds" / "points.ply")
    return poisson(xyz, load_fitted(run / "4_splats").views), perf_counter() - start


def poisson_sparse(run: Path) -> tuple[Mesh, float]:
    start = perf_counter()
    model = read_colmap(run / "4_splats" / "sparse")
    return poisson(model.xyz_world, model.views), perf_counter() - start


WAYS: dict[str, Callable[[Path], tuple[Mesh, float]]] = {
    "ours": ours,
    "Poisson, dense points": poisson_dense,
    "Poisson, sparse points": poisson_sparse,
}


def score(mesh: Mesh, run: Path, asked: Case) -> dict[str, float]:
    """F1 at 1 and 2 % and Chamfer in % of the diagonal, against what two photos see."""
    views = load_fitted(run / "4_splats").views
    fit = score_cameras(views, asked.true_views).true_from_world
    assert fit is not None
    placed = [View(v.name, v.camera, fit.apply_to_camera(v.cam_from_world)) for v in views]
    moved = Mesh(fit.apply(mesh.vertices), mesh.faces, mesh.rgb)
    diagonal = Box.around(asked.truth.xyz, percentile=0.5).diagonal
    samples, normals = sampled_evenly(moved, spacing=0.002 * diagonal, seed=0)
    wanted = count_views(asked.truth, placed) >= 2
    found = scores(
        compare(samples, normals, asked.truth, wanted=wanted), (0.01 * diagonal, 0.02 * diagonal)
    )
    return {
        "f1_1": found.f1[0], "f1_2": found.f1[1], "precision_2": found.precision[1],
        "recall_2": found.recall[1], "chamfer_percent": 100 * found.chamfer / diagonal,
        "triangles": len(mesh.faces),
    }  # fmt: skip


def main() -> None:
    from recon.pipeline import run as reconstruct

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("surfaces"))
    parser.add_argument("--sets", nargs="*", default=["sample_9", "sample_3", "redkitchen"])
    given = parser.parse_args()
    print("| set | way | F1@1 % | F1@2 % | precision, recall @2 % | Chamfer | triangles | s |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for name in given.sets:
        asked = case(name, given.out)
        asked.options.out = str(given.out / name)
        reconstruct(asked.options)
        for way, make in WAYS.items():
            mesh, seconds = make(given.out / name)
            s = score(mesh, given.out / name, asked)
            rows.append({"set": name, "way": way, "seconds": seconds, **s})
            print(
                f"| {name} | {way} | {s['f1_1']:.3f} | {s['f1_2']:.3f} | {s['precision_2']:.3f}, "
                f"{s['recall_2']:.3f} | {s['chamfer_percent']:.2f} % | {s['triangles']} | "
                f"{seconds:.0f} |",
                flush=True,
            )
    (given.out / "surfaces.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
