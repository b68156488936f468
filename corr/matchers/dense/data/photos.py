"""Photographs for training: packed from installed packages, or none."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from corr.errors import UserError


def load_photos(path: str, device: torch.device) -> Tensor | None:
    """Photos n 3 h w in [0, 1] from a packed file; None where no path is given.

    Raises:
        UserError: The file is absent or holds something else.
    """
    if not path:
        return None
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"packed photos {file} do not exist; make them by: "
            f"python -m corr.matchers.dense.data.pack_photos out={file}"
        )
    with np.load(file) as packed:
        if "jpeg" not in packed or "ends" not in packed:
            raise UserError(f"{file} holds no packed photos (arrays jpeg and ends are expected)")
        data, ends = packed["jpeg"].tobytes(), packed["ends"].tolist()
    decoded = []
    for start, end in zip([0, *ends], ends, strict=False):
        with Image.open(io.BytesIO(data[start:end])) as image:
            decoded.append(np.asarray(image.convert("RGB")))
    photos = torch.from_numpy(np.stack(decoded)).to(device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    return (photos.permute(0, 3, 1, 2).to(dtype) / 255).contiguous()
