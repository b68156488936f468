"""What is known once cameras are solved: views, points, tracks, and what was left out and why."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, UInt8

from corr.geometry import Camera, Rigid3
from corr.tracks import Tracks


@dataclass(frozen=True, eq=False)
class View:
    """A photo whose pinhole camera and pose are known. `name` is the photo's identity."""

    name: str
    camera: Camera
    cam_from_world: Rigid3


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Solved cameras and sparse points; track i observes `xyz_world[i]` (undistorted pixels)."""

    views: tuple[View, ...]
    xyz_world: Float[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    tracks: Tracks
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.tracks.num_tracks not in (0, len(self.xyz_world)):
            raise ValueError("tracks must observe every point")

    def view(self, name: str) -> View:
        """The view of that photo; KeyError when it was left out."""
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(name)
