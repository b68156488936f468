"""Results of a run in metres: the same files with every length multiplied."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from corr.geometry import Sim3
from corr.store import strict_json
from recon.scene import Reconstruction, View


def sim3(factor: float) -> Sim3:
    """Metres from units about the world's origin."""
    return Sim3(factor, np.eye(3), np.zeros(3))


def scaled_view(view: View, factor: float) -> View:
    """The camera in the scaled world."""
    return View(view.name, view.camera, sim3(factor).apply_to_camera(view.cam_from_world))


def scaled_reconstruction(model: Reconstruction, factor: float) -> Reconstruction:
    """Cameras and points in the scaled world; pixels stay."""
    views = tuple(scaled_view(v, factor) for v in model.views)
    return replace(model, views=views, xyz_world=factor * model.xyz_world)


def copy_scaled_ply(source: Path, target: Path, factor: float) -> None:
    """Copy a PLY with its vertices' `x y z` and known `sigma` multiplied, all else kept."""
    if factor == 1.0:
        shutil.copy(source, target)
        return
    from plyfile import PlyData

    data = PlyData.read(str(source))
    vertex = data["vertex"].data
    for name in ("x", "y", "z"):
        vertex[name] = factor * vertex[name].astype(np.float64)
    if "sigma" in vertex.dtype.names:
        known = vertex["sigma"] > 0
        vertex["sigma"][known] = factor * vertex["sigma"][known]
    data.write(str(target))


def copy_scaled_glb(source: Path, target: Path, factor: float) -> None:
    """Copy a GLB with one mesh at its root, its positions multiplied."""
    if factor == 1.0:
        shutil.copy(source, target)
        return
    data = bytearray(source.read_bytes())
    length = struct.unpack_from("<I", data, 12)[0]
    tree = json.loads(data[20 : 20 + length])
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    view = tree["bufferViews"][accessor["bufferView"]]
    start = 28 + length + view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    xyz = np.frombuffer(data, "<f4", 3 * accessor["count"], start).reshape(-1, 3)
    moved = (factor * xyz.astype(np.float64)).astype("<f4")
    data[start : start + moved.nbytes] = moved.tobytes()
    accessor["min"], accessor["max"] = moved.min(0).tolist(), moved.max(0).tolist()
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = bytes(data[20 + length :])
    header = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(body), len(text), b"JSON")
    target.write_bytes(header + text + body)


def scaled_coverage(record: dict[str, Any], factor: float, unit: str) -> dict[str, Any]:
    """`coverage.json` in metres: lines written anew, lengths and places multiplied."""
    out = dict(record)
    out["unit"] = unit
    out["statement"] = [t["text"].format(*[factor * v for v in t["lengths"]])
                        for t in record["templates"]]  # fmt: skip
    out["templates"] = [
        {**t, "lengths": [factor * v for v in t["lengths"]]} for t in record["templates"]
    ]
    out["holes"] = [
        {**h, "perimeter": factor * h["perimeter"], "centre": [factor * c for c in h["centre"]]}
        for h in record["holes"]
    ]
    out["outline"] = factor * record["outline"]
    if record["median_sigma"] is not None:
        out["median_sigma"] = factor * record["median_sigma"]
    return out


def copy_scaled_coverage(source: Path, target: Path, factor: float, unit: str) -> None:
    """Copy `coverage.json`, see `scaled_coverage`."""
    record = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(strict_json(scaled_coverage(record, factor, unit)), encoding="utf-8")
