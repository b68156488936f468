"""A mesh with its texture as binary glTF, within a size.

Unlit, because the photos' light is in the texture; the coordinates are the other exports', the
node is the identity (see `recon.export.mesh`).
"""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PilImage

from recon.texture.bake import TexturedMesh

_FLOAT, _UINT = 5126, 5125
_ARRAY, _ELEMENTS = 34962, 34963
_QUALITIES = (92, 88, 84, 78, 70)
_SMALLEST_SHARE = 0.2  # of the picture's side, below which the geometry is what is too large


def write_textured_glb(path: str | Path, textured: TexturedMesh, *, max_mb: float = 8.0) -> float:
    """Write a GLB of at most `max_mb` million bytes; the texture is what gives way.

    JPEG quality falls first, then the picture shrinks.

    Returns:
        Megabytes written.

    Raises:
        ValueError: The geometry alone is too large.
    """
    arrays = _arrays(textured)
    geometry = sum(_padded(a.nbytes) for _, a, _ in arrays) + 4096
    room = max_mb * 1e6 - geometry
    picture = _jpeg_within(textured.picture, room)
    if picture is None:
        raise ValueError(
            f"{len(textured.mesh.faces)} triangles take {geometry / 1e6:.1f} MB as GLB, which "
            f"leaves no room for a texture in {max_mb:g} MB; lower mesher.max_triangles"
        )
    tree, body = _tree(arrays, picture)
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(body), b"BIN\0") + body
    data = struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
    Path(path).write_bytes(data)
    return len(data) / 1e6


def _arrays(textured: TexturedMesh) -> list[tuple[str, np.ndarray, str]]:
    """Positions, texture coordinates and indices; corners of one place and texel are one vertex.

    All coordinates are floats: glTF has shorter ones, which some readers misread.
    """
    uv = textured.uv.reshape(-1, 2)
    vertex = textured.mesh.faces.reshape(-1).astype(np.int64)
    step = np.rint(np.clip(uv, 0, 1) * 65535).astype(np.int64)
    key = (vertex << 32) | (step[:, 0] << 16) | step[:, 1]
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    xyz = textured.mesh.vertices[vertex[first]].astype(np.float32)
    return [
        ("POSITION", xyz, "VEC3"),
        ("TEXCOORD_0", uv[first].astype(np.float32), "VEC2"),
        ("indices", index.reshape(-1).astype(np.uint32), "SCALAR"),
    ]


def _jpeg_within(picture: UInt8[np.ndarray, "h w 3"], room: float) -> bytes | None:
    image = PilImage.fromarray(picture)
    share = 1.0
    while share >= _SMALLEST_SHARE:
        size = (max(1, round(share * image.width)), max(1, round(share * image.height)))
        small = image if share == 1.0 else image.resize(size, PilImage.Resampling.BOX)
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
            if buffer.tell() <= room:
                return buffer.getvalue()
        share *= 0.8
    return None


def _tree(
    arrays: list[tuple[str, np.ndarray, str]], picture: bytes
) -> tuple[dict[str, Any], bytes]:
    body = b""
    views: list[dict[str, int]] = []
    accessors: list[dict[str, Any]] = []
    kinds = {np.dtype(np.float32): _FLOAT, np.dtype(np.uint32): _UINT}
    for name, array, shape in arrays:
        target = _ELEMENTS if name == "indices" else _ARRAY
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": array.nbytes,
                      "target": target})  # fmt: skip
        accessor = {"bufferView": len(views) - 1, "componentType": kinds[array.dtype],
                    "count": len(array), "type": shape}  # fmt: skip
        if name == "POSITION":
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(accessor)
        body += array.tobytes() + b"\0" * (-array.nbytes % 4)
    views.append({"buffer": 0, "byteOffset": len(body), "byteLength": len(picture)})
    body += picture + b"\0" * (-len(picture) % 4)
    return {
        "asset": {"version": "2.0", "generator": "few-view-recon"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "mesh"}],
        "meshes": [{"primitives": [{
            "attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0,
        }]}],
        "materials": [{
            "name": "photos",
            "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0,
                                     "roughnessFactor": 1.0},
            "doubleSided": True,
            "extensions": {"KHR_materials_unlit": {}},
        }],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"bufferView": len(views) - 1, "mimeType": "image/jpeg"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(body)}],
        "extensionsUsed": ["KHR_materials_unlit"],
    }, body  # fmt: skip


def _padded(count: int) -> int:
    return count + -count % 4
