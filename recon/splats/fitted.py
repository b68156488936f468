"""The optimisation stage's result on disk, in standard formats."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from corr.store import write_atomic
from recon.colmap_io import read_colmap, write_colmap
from recon.export.splat_ply import read_splats, write_splats
from recon.scene import Reconstruction, View
from recon.splats.gaussians import Gaussians


@dataclass
class Fitted:
    """The optimised splats with the cameras and exposures that belong to them."""

    gaussians: Gaussians
    views: tuple[View, ...]
    gains: np.ndarray  # v 3, per view
    background: np.ndarray  # 3, mean colour of the photos
    history: list[dict[str, Any]]
    stop_view: str | None


@dataclass(frozen=True, eq=False)
class SavedSplats:
    """Splats, refined cameras and the photos' gains as read from a finished stage."""

    folder: Path
    gaussians: Gaussians
    views: tuple[View, ...]
    gains: dict[str, np.ndarray]  # three colour gains per photo
    background: np.ndarray  # mean colour of the photos, shown where no splat is


def save_fitted(folder: Path, fitted: Fitted, reconstruction: Reconstruction) -> None:
    """Write `splats.ply`, `sparse/` (COLMAP model, refined cameras), gains and history."""
    write_splats(folder / "splats.ply", fitted.gaussians)
    (folder / "sparse").mkdir(exist_ok=True)
    write_colmap(
        folder / "sparse",
        Reconstruction(
            fitted.views,
            reconstruction.xyz_world,
            reconstruction.rgb,
            reconstruction.tracks,
            reconstruction.left_out,
        ),
    )
    gains = {v.name: g.tolist() for v, g in zip(fitted.views, fitted.gains, strict=True)}
    record = {
        "gains": gains,
        "background": fitted.background.tolist(),
        "stop_view": fitted.stop_view,
    }
    write_atomic(folder / "exposures.json", json.dumps(record, indent=1))
    write_atomic(folder / "history.json", json.dumps(fitted.history))


def load_fitted(folder: Path) -> SavedSplats:
    """Read what `save_fitted` wrote."""
    record = json.loads((folder / "exposures.json").read_text())
    return SavedSplats(
        folder,
        read_splats(folder / "splats.ply"),
        read_colmap(folder / "sparse").views,
        {name: np.array(g) for name, g in record["gains"].items()},
        np.array(record["background"]),
    )


def scaled_splats(saved: SavedSplats, factor: float) -> SavedSplats:
    """Splats and cameras in a world whose lengths are `factor` times as large."""
    from recon.export.scaled import scaled_view, sim3
    from recon.splats.transform import moved

    return replace(
        saved,
        gaussians=moved(saved.gaussians, sim3(factor)),
        views=tuple(scaled_view(v, factor) for v in saved.views),
    )
