"""Object arrays of others' `.npz` files: pickles, of which only NumPy's own parts are let in."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from corr.errors import UserError

# Both spellings: NumPy renamed its core in 2.0.
_ALLOWED = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"))
} | {("numpy", "ndarray"), ("numpy", "dtype")}


class _NumpyOnly(pickle.Unpickler):
    """Refuses whatever could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz`, object arrays included.

    Raises:
        UserError: It is damaged, or holds something other than arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {n.removesuffix(".npy"): _array(archive.read(n)) for n in archive.namelist()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)  # fmt: skip
    if header is None:
        raise ValueError(f"unknown array format {version}")
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        return np.asarray(_NumpyOnly(stream).load(), dtype=object).reshape(shape)
    return np.load(io.BytesIO(data), allow_pickle=False)
