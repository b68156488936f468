"""Splats as binary glTF with the extension KHR_gaussian_splatting (ratified by Khronos).

One POINTS primitive: linear scales, quaternions x y z w, opacities in [0, 1], harmonics as vectors;
`COLOR_0` lets a viewer that does not know splats show coloured points. The coordinates are those of
the other exports and the node is the identity, as in `mesh.glb`.

Source: https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0/Khronos/KHR_gaussian_splatting
"""

import json
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from corr.geometry import Sim3
from recon.splats.gaussians import SH_C0, Gaussians
from recon.splats.transform import moved

log = logging.getLogger(__name__)
_NAME = "KHR_gaussian_splatting"
_LARGEST_DEGREE = 3
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_JSON, _BIN = 0x4E4F534A, 0x004E4942
_LIKENESS = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display",
             "projection": "perspective", "sortingMethod": "cameraDistance"}  # fmt: skip


def write_splat_glb(path: str | Path, gaussians: Gaussians) -> None:
    """Write the splats, degree 3 at most.

    Raises:
        ValueError: Degree over 3, or no splats: glTF has no empty accessors.
    """
    if gaussians.sh_degree > _LARGEST_DEGREE:
        raise ValueError(f"glTF holds harmonics up to degree 3, got {gaussians.sh_degree}")
    if not len(gaussians):
        raise ValueError("there must be splats to be written as GLB, got none")
    arrays = _attributes(gaussians)
    views, accessors, body = [], [], b""
    for array in arrays.values():
        data = array.tobytes()
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": len(data)})
        accessors.append(_accessor(len(views) - 1, array))
        body += data + bytes(-len(data) % 4)
    position = arrays["POSITION"]
    accessors[0] |= {"min": position.min(axis=0).tolist(), "max": position.max(axis=0).tolist()}
    primitive = {
        "mode": 0,
        "attributes": {name: i for i, name in enumerate(arrays)},
        "extensions": {_NAME: _LIKENESS},
    }
    tree = {
        "asset": {"version": "2.0", "generator": "few-view-recon"},
        "extensionsUsed": [_NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(body), _BIN)
    header = struct.pack("<4sII", b"glTF", 2, 12 + len(chunks) + len(body))
    Path(path).write_bytes(header + chunks + body)


def read_splat_glb(path: str | Path) -> Gaussians:
    """Read the first splat primitive of a GLB, carried by its nodes' transforms.

    Files of the review draft stored logarithms of the scales: scales under zero tell them.

    Raises:
        ValueError: No GLB, no uncompressed splats in it, or a node that is not a similarity.
    """
    tree, body = _chunks(Path(path))
    primitive, node = _find(path, tree)
    names = primitive["attributes"]

    def array(name: str) -> np.ndarray:
        if name not in names:
            raise ValueError(f"{path}: its splats lack {name} (compressed ones are not read)")
        return _decode(tree, body, names[name])

    scales = array(f"{_NAME}:SCALE")
    if (scales < 0).any():
        log.info("%s: scales are logarithms, as in the draft of the extension", path)
    else:
        scales = np.log(np.maximum(scales, 1e-30))
    opacity = np.clip(array(f"{_NAME}:OPACITY")[:, 0], 1e-7, 1 - 1e-7)
    degree = max(d for d in range(_LARGEST_DEGREE + 1)
                 if d == 0 or f"{_NAME}:SH_DEGREE_{d}_COEF_0" in names)  # fmt: skip
    sh = np.stack([array(name) for name in _harmonic_names(degree)], axis=1)
    wxyz = np.roll(array(f"{_NAME}:ROTATION"), 1, axis=1)
    parts = (array("POSITION"), scales, wxyz, np.log(opacity / (1 - opacity)), sh)
    stored = Gaussians(*(torch.from_numpy(p.astype(np.float32)) for p in parts))
    world_from_mesh = _placed(path, tree, node)
    return stored if world_from_mesh is None else moved(stored, world_from_mesh)


def _harmonic_names(degree: int) -> list[str]:
    return [f"{_NAME}:SH_DEGREE_{d}_COEF_{c}" for d in range(degree + 1) for c in range(2 * d + 1)]


def _attributes(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """Every vertex attribute by its name in glTF."""
    g = gaussians.detached().to("cpu").to(torch.float32)
    quats = g.quats_wxyz.double()
    norm = quats.norm(dim=1, keepdim=True)
    unit = torch.where(norm > 0, quats / norm.clamp_min(1e-300), torch.tensor([1.0, 0, 0, 0]))
    rgba = torch.cat([0.5 + SH_C0 * g.sh[:, 0], g.opacities[:, None]], dim=1).clamp(0, 1).numpy()
    s = rgba[:, :3]
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    colour = np.rint(65535 * np.concatenate([linear, rgba[:, 3:]], axis=1)).astype("<u2")
    plain = {
        "POSITION": g.means.numpy(),
        f"{_NAME}:ROTATION": np.roll(unit.numpy(), -1, axis=1).astype("<f4"),
        f"{_NAME}:SCALE": g.scales.numpy(),
        f"{_NAME}:OPACITY": g.logit_opacities.double().sigmoid().numpy()[:, None].astype("<f4"),
        "COLOR_0": colour,
    }
    sh = np.ascontiguousarray(g.sh.transpose(0, 1).numpy())
    return plain | dict(zip(_harmonic_names(g.sh_degree), sh, strict=True))


def _accessor(view: int, array: np.ndarray) -> dict[str, Any]:
    kind = {"<f4": 5126, "float32": 5126, "uint16": 5123}[str(array.dtype)]
    width = {w: name for name, w in _WIDTHS.items()}[array.shape[1]]
    accessor = {"bufferView": view, "componentType": kind, "count": len(array), "type": width}
    return accessor | ({"normalized": True} if kind == 5123 else {})


def _chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    try:
        magic, version, _, size, kind = struct.unpack_from("<4sIIII", data)
        if magic != b"glTF" or version != 2 or kind != _JSON:
            raise ValueError("no header of glTF 2")
        tree = json.loads(data[20 : 20 + size])
        length, kind = struct.unpack_from("<II", data, 20 + size)
    except (struct.error, ValueError) as error:
        raise ValueError(f"{path}: not a binary glTF file ({error})") from None
    return tree, data[28 + size : 28 + size + length]


def _find(path: str | Path, tree: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The first splat primitive and the node that shows its mesh."""
    for number, mesh in enumerate(tree.get("meshes", [])):
        for primitive in mesh["primitives"]:
            if _NAME in primitive.get("extensions", {}):
                nodes = [i for i, n in enumerate(tree.get("nodes", [])) if n.get("mesh") == number]
                return primitive, nodes[0] if nodes else None
    raise ValueError(f"{path}: no {_NAME} in it; a mesh is not splats")


def _decode(tree: dict[str, Any], body: bytes, index: int) -> Float[np.ndarray, "n w"]:
    accessor = tree["accessors"][index]
    view = tree["bufferViews"][accessor["bufferView"]]
    kind, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    step = view.get("byteStride", width * kind.itemsize)
    shape, strides = (accessor["count"], width), (step, kind.itemsize)
    values = np.ndarray(shape, kind, body, start, strides).astype(np.float64)
    if accessor.get("normalized"):
        values = np.maximum(values / np.iinfo(kind).max, -1.0)
    return values


def _placed(path: str | Path, tree: dict[str, Any], node: int | None) -> Sim3 | None:
    """World from mesh, over all parents; None where nothing moves it."""
    matrix = np.eye(4)
    while node is not None:
        matrix = _local(tree["nodes"][node]) @ matrix
        node = next((i for i, n in enumerate(tree["nodes"]) if node in n.get("children", [])), None)
    if np.array_equal(matrix, np.eye(4)):
        return None
    scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
    try:
        return Sim3(scale, matrix[:3, :3] / scale, matrix[:3, 3])
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{path}: the splats' node is stretched or mirrored") from None


def _local(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    from scipy.spatial.transform import Rotation

    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    turn = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
    matrix[:3, :3] = turn * np.array(node.get("scale", [1, 1, 1]))
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix
