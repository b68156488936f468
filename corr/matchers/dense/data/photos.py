"""Photographs for training: packed from installed packages, or none."""

from pathlib import Path

import numpy as np
import torch
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
        if "photos" not in packed:
            raise UserError(f"{file} holds no photos (an array n h w 3 of bytes is expected)")
        photos = torch.from_numpy(packed["photos"]).to(device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    return (photos.permute(0, 3, 1, 2).to(dtype) / 255).contiguous()
