"""A run folder made by hand: a coloured ball on a checked floor, seen by cameras on an arc."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage

from corr.geometry import Camera, Rigid3
from corr.matches import Matches
from recon.export.mesh import write_mesh_ply
from recon.export.splat_ply import write_splats
from recon.poses.two_view import TwoView
from recon.poses.two_view_file import save_two_views
from recon.report.metrics import (
    CameraErrors,
    HeldOut,
    MeshCounts,
    Metadata,
    Metrics,
    PhotoCounts,
    PhotoScore,
    SplatCounts,
    StageCost,
    SurfaceErrors,
    Training,
)
from recon.splats.gaussians import SH_C0, Gaussians
from recon.surface.mesh import Mesh

LOST = "lost <script>alert(1)</script>.png"
SECRET_REASON = "only 3 matches <b>& no hope</b>"


def surface(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, normals and colours of the scene; world y points down."""
    d = rng.normal(size=(n // 2, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    floor = rng.uniform(-1.6, 1.6, size=(n - n // 2, 2))
    xyz = np.concatenate([0.6 * d, np.c_[floor[:, 0], np.full(len(floor), 0.6), floor[:, 1]]])
    normal = np.concatenate([d, np.tile([0.0, -1.0, 0.0], (len(floor), 1))])
    light = 0.45 + 0.55 * np.clip(d @ [0.4, -0.8, -0.45], 0, 1)
    bands = (np.sin(9 * d[:, 1]) > 0)[:, None]
    ball = np.where(bands, [0.95, 0.45, 0.2], [0.15, 0.5, 0.75]) * light[:, None]
    checks = ((np.floor(floor * 2.5).sum(1) % 2) > 0)[:, None]
    ground = np.where(checks, [0.85, 0.83, 0.78], [0.3, 0.33, 0.38])
    return xyz, normal, np.concatenate([ball, ground])


def gaussians(n: int, degree: int = 1) -> Gaussians:
    """Flat splats on the surface."""
    rng = np.random.default_rng(5)
    xyz, normal, rgb = surface(n, rng)
    scales = np.full((n, 3), 1.7 / np.sqrt(n / 2))
    scales[:, 2] *= 0.05
    z = np.array([0.0, 0.0, 1.0])
    quats = np.c_[1 + normal @ z, np.cross(z, normal)] + [1e-9, 0, 0, 0]
    sh = np.zeros((n, (degree + 1) ** 2, 3))
    sh[:, 0] = (rgb - 0.5) / SH_C0
    if degree:
        sh[:, 1:4] = rng.normal(0, 0.03, size=(n, 3, 3))
    arrays = (xyz, np.log(scales), quats, np.full(n, 3.0), sh)
    return Gaussians(*(torch.tensor(a, dtype=torch.float32) for a in arrays))


def look_at(centre: np.ndarray, target: np.ndarray) -> Rigid3:
    """cam_from_world with the horizon level."""
    z = target - centre
    z = z / np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return Rigid3(R, -R @ centre)


def picture(camera: Camera, pose: Rigid3, xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """A picture of many surface points by z-buffer, without depth of field or mercy."""
    uv, depth = camera.project(pose.apply(xyz))
    order = np.argsort(-depth)
    col, row = np.floor(uv[order]).astype(int).T
    ok = (col >= 0) & (col < camera.width) & (row >= 0) & (row < camera.height)
    out = np.full((camera.height, camera.width, 3), 20, np.uint8)
    colours = (rgb[order] * 255).astype(np.uint8)
    for dy in (0, 1):
        for dx in (0, 1):
            inside = ok & (col + dx < camera.width) & (row + dy < camera.height)
            out[row[inside] + dy, col[inside] + dx] = colours[inside]
    return out


def write_colmap(folder: Path, names: list[str], camera: Camera, poses: list[Rigid3]) -> None:
    """COLMAP's three text files, one camera for all, 400 points."""
    from scipy.spatial.transform import Rotation

    folder.mkdir(parents=True, exist_ok=True)
    K = camera.K
    (folder / "cameras.txt").write_text(
        f"1 PINHOLE {camera.width} {camera.height} {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}\n"
    )
    xyz, _, rgb = surface(400, np.random.default_rng(2))
    lines, tracks = [], [""] * len(xyz)
    for i, (name, pose) in enumerate(zip(names, poses, strict=True), start=1):
        x, y, z, w = Rotation.from_matrix(pose.R).as_quat()
        lines.append(f"{i} {w} {x} {y} {z} {' '.join(map(str, pose.t))} 1 {name}")
        uv, _ = camera.project(pose.apply(xyz))
        lines.append(" ".join(f"{u:.3f} {v:.3f} {k + 1}" for k, (u, v) in enumerate(uv)))
        tracks = [f"{t} {i} {k}" for k, t in enumerate(tracks)]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text(
        "".join(
            f"{k + 1} {p[0]} {p[1]} {p[2]} {' '.join(str(int(255 * v)) for v in c)} 0.5{t}\n"
            for k, (p, c, t) in enumerate(zip(xyz, rgb, tracks, strict=True))
        )
    )


def ball_mesh() -> Mesh:
    """A closed ball with colours."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    rgb = (127 + 128 * ball.vertices / 0.61).astype(np.uint8)
    return Mesh(ball.vertices, ball.faces, rgb)


def make_metrics(names: list[str], held: str) -> Metrics:
    """Metrics of the run below."""
    return Metrics(
        metadata=Metadata(
            utc="2025-01-02T03:04:05+00:00", version="0.1.0", python="3.11", platform="test",
            cpu="a processor, 2 cores", packages={"numpy": "2"}, seed=7, quality="fast",
            command="recon run photos=<b>x</b>", commit="0123456789abcdef", dirty=True,
        ),
        photos=PhotoCounts(
            given=len(names) + 2, used=len(names) + 1, placed=len(names), held_out=1,
            left_out={LOST: SECRET_REASON},
        ),
        stages=[
            StageCost("matches", 12.5, 900.0),
            StageCost("cameras", 3.25, 1000.0, reused=True),
            StageCost("splats", 181.0, 1430.0),
            StageCost("mesh", 20.0, 1600.0),
        ],
        total_seconds=216.75,
        peak_mb=1600.0,
        training=Training(
            31.5, 0.95, 96, 72,
            [PhotoScore(n, 30.0 + i / 3, 0.94) for i, n in enumerate(names)],
        ),
        held_out=HeldOut(
            24.61, 24.32, 0.871, 25.11, 96, 72, [PhotoScore(held, 24.61, 0.871, 25.11, 0.21, 0.4)],
            {"nowhere.png": "no matches"},
        ),
        cameras=CameraErrors(0.08, 0.31, 0.9),
        surface=SurfaceErrors(0.41, 0.93, 0.912, 0.97),
        splats=SplatCounts(4000, 4000, 0.9),
        mesh=MeshCounts(642, 1280, 0.02),
        notes=["a note"],
    )  # fmt: skip


def make_run(run: Path, *, num: int = 5, splats: int = 4000, width: int = 96) -> Path:
    """Write everything that a complete run leaves behind."""
    rng = np.random.default_rng(1)
    height = width * 3 // 4
    camera = Camera.simple(width, height, 1.1 * width)
    dense, _, colours = surface(width * height * 14, rng)
    angles = np.linspace(-0.9, 0.9, num + 1)
    centres = np.stack([2.6 * np.sin(angles), np.full(num + 1, -1.1), -2.6 * np.cos(angles)], 1)
    poses = [look_at(c, np.array([0, 0.15, 0])) for c in centres]
    names = [f"photo_{i:02d}.png" for i in range(num)]
    held, held_pose = "held.png", poses[num]
    for folder in ("0_photos/work", "1_matches", "2_cameras/images", "4_splats", "renders",
                   "held_out", "5_mesh/views", "export"):  # fmt: skip
        (run / folder).mkdir(parents=True)
    for name, pose in [*zip(names, poses, strict=False), (held, held_pose)]:
        photo = picture(camera, pose, dense, colours)
        noisy = np.clip(photo + rng.normal(0, 9, photo.shape), 0, 255).astype(np.uint8)
        PilImage.fromarray(photo).save(run / "0_photos/work" / name)
        if name == held:
            PilImage.fromarray(photo).save(run / "held_out/held_photo.png")
            PilImage.fromarray(noisy).save(run / "held_out/held_render.png")
        else:
            PilImage.fromarray(photo).save(run / "2_cameras/images" / name)
            PilImage.fromarray(noisy).save(run / "renders" / name)
    entries = [
        {"name": n, "width": 2 * width, "height": 2 * height, "work_path": f"work/{n}"}
        for n in names
    ]
    listed = {"images": entries, "left_out": {LOST: SECRET_REASON}}
    (run / "0_photos/photos.json").write_text(json.dumps(listed))
    write_pairs(run, camera, poses[:num], names)
    write_colmap(run / "2_cameras", names, camera, poses[:num])
    write_colmap(run / "4_splats/sparse", names, camera, poses[:num])
    (run / "2_cameras/left_out.json").write_text("{}")
    write_splats(run / "4_splats/splats.ply", gaussians(splats))
    history = [
        {"iteration": k, "loss": 0.3 * np.exp(-k / 200) + 0.02,
         "psnr_train": 18 + 4 * np.log1p(k / 60),
         "psnr_stop": 17 + 2.4 * np.log1p(k / 60) if k else None,
         "num_splats": splats, "seconds": k / 9, "scale": 1.0}
        for k in range(0, 1001, 50)
    ]  # fmt: skip
    (run / "4_splats/history.json").write_text(json.dumps(history))
    write_mesh_ply(run / "5_mesh/mesh.ply", ball_mesh())
    PilImage.fromarray(np.full((60, 80, 3), 180, np.uint8)).save(run / "5_mesh/views/front.png")
    (run / "config.yaml").write_text("seed: 7\nname: </pre><script>alert(2)</script>\n")
    (run / "export/scene.glb").write_bytes(b"glb")
    make_metrics(names, held).write(run)
    return run


def write_pairs(run: Path, camera: Camera, poses: list[Rigid3], names: list[str]) -> None:
    """Match files in original pixels (twice the working size) and the verified pairs."""
    rng = np.random.default_rng(3)
    xyz, _, _ = surface(700, rng)
    pairs = []
    for a in range(len(poses)):
        for b in range(a + 1, len(poses)):
            n = 700 - 130 * (b - a)
            if n < 60:
                continue
            uv_a, uv_b = (2 * camera.project(poses[k].apply(xyz[:n]))[0] for k in (a, b))
            score = rng.beta(4, 2, n)
            Matches(uv_a, uv_b, score).save(run / f"1_matches/{a}_{b}.npz")
            inliers = np.flatnonzero(score > 0.4)
            share = 0.9 if b > a + 2 else 0.1
            b_from_a = poses[b] @ poses[a].inverse()
            pairs.append(TwoView(a, b, n, inliers, 15, b_from_a, 0.5, 9.0, share))
    save_two_views(run / "2_cameras", pairs, names)
