"""A simulated structured-light depth camera with the faults of the real ones."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from corr.geometry.rigid import Rigid3


@dataclass(frozen=True)
class DepthCamera:
    """Pinhole depth camera after the first Kinect; depth along z, metres, 0 = no value.

    Axial noise: sigma(z) = 0.0012 + 0.0019 (z - 0.4)^2 metres per pixel, twice as much smooth
    over a few pixels (the block matcher's window), and a warp that stays with the picture.
    Disparity steps: z is rounded on f b / z, with f b = 43.5 pixel metres and 1/8 pixel.

    Source: the noise figures are those of Nguyen, Izadi, Lovell, 3DIMPVT 2012.
    """

    width: int = 320
    height: int = 240
    fov_deg: float = 57.0  # horizontal
    near: float = 0.45  # metres
    far: float = 3.8  # metres; beyond it the real cameras' makers of fragments cut off
    disparity_step: float = 0.125 / 43.5  # of 1/z, 1/metres
    grazing_cos: float = 0.17  # surfaces seen flatter than this mostly give nothing

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return 0.5 * self.width / float(np.tan(np.deg2rad(self.fov_deg) / 2))

    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsics for software that puts the first pixel's centre at (0, 0)."""
        f, cx, cy = self.focal, self.width / 2 - 0.5, self.height / 2 - 0.5
        return np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])

    def rays(self) -> Float[np.ndarray, "h w 3"]:
        """Direction of each pixel centre's ray, camera frame, z = 1."""
        u, v = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        x = (u - self.width / 2) / self.focal
        return np.stack([x, (v - self.height / 2) / self.focal, np.ones_like(u)], -1)

    def render(
        self, scene, world_from_cam: Rigid3, step: int = 1
    ) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """Exact depth (metres, inf = nothing) and the cosine between ray and surface normal.

        Args:
            scene: `open3d.t.geometry.RaycastingScene`.
            world_from_cam: Camera axes x right, y down, z forward.
            step: Only every n-th pixel of both directions.
        """
        rays = self.rays()[::step, ::step].reshape(-1, 3) @ world_from_cam.R.T
        origin = np.broadcast_to(world_from_cam.t, rays.shape)
        hit = scene.cast_rays(np.concatenate([origin, rays], 1).astype(np.float32), nthreads=1)
        shape = (-(-self.height // step), -(-self.width // step))
        depth = hit["t_hit"].numpy().astype(np.float64).reshape(shape)
        along = np.abs((hit["primitive_normals"].numpy() * rays).sum(1))
        return depth, (along / np.linalg.norm(rays, axis=1)).reshape(shape)

    def warp(self, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
        """A lasting relative depth error over the picture: wide waves and finer ripples."""
        shape = (self.height, self.width)
        return 0.006 * _smooth(rng, shape, 25.0) + 0.0025 * _smooth(rng, shape, 5.0)

    def see(
        self, scene, world_from_cam: Rigid3, rng: np.random.Generator, warp: np.ndarray | float = 0
    ) -> Float[np.ndarray, "h w"]:
        """One noisy depth frame, float32 metres, 0 = no value; `warp` as from `warp()`."""
        depth, cosine = self.render(scene, world_from_cam)
        depth = np.where(np.isfinite(depth), depth, 0.0)
        holes = self._holes(depth, cosine, rng)
        depth = self._shifted(depth, rng)
        depth = np.where(self._edges(depth), self._flying(depth, rng), depth)
        sigma = 0.0012 + 0.0019 * (depth - 0.4) ** 2
        noise = rng.normal(size=depth.shape) + 2.0 * _smooth(rng, depth.shape, 2.5)
        depth = depth * (1 + warp) + sigma * noise
        steps = np.round(1.0 / np.maximum(depth, 0.1) / self.disparity_step)
        depth = 1.0 / (np.maximum(steps, 1) * self.disparity_step)
        keep = ~holes & (depth > self.near) & (depth < self.far)
        return np.where(keep, depth, 0.0).astype(np.float32)

    def _holes(self, depth: np.ndarray, cosine: np.ndarray, rng: np.random.Generator):
        """Pixels without a value: nothing hit, grazing surfaces, dark or shiny patches."""
        patches = _smooth(rng, depth.shape, self.width / 25) > rng.uniform(1.9, 3.5)
        grazing = cosine < self.grazing_cos * rng.uniform(0.6, 1.4, depth.shape)
        return (depth <= 0) | patches | grazing

    def _shifted(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Lateral noise: each pixel looks up to a pixel or so beside itself."""
        rows, columns = np.indices(depth.shape)
        around = rng.normal(0, 0.7, (2, *depth.shape)) + np.array([rows, columns])
        return map_coordinates(depth, around, order=0, mode="nearest")

    def _edges(self, depth: np.ndarray) -> np.ndarray:
        """Pixels on a jump of more than 4 % of the depth."""
        return maximum_filter(depth, 3) - minimum_filter(depth, 3) > 0.04 * depth + 0.01

    def _flying(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """On edges: nothing, a value between front and back, or one of the two."""
        kind = rng.random(depth.shape)
        low, high = minimum_filter(depth, 3), maximum_filter(depth, 3)
        between = low + rng.random(depth.shape) * (high - low)
        return np.where(kind < 0.55, 0.0, np.where((kind < 0.65) & (low > 0), between, depth))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """White noise blurred over `sigma` pixels, unit variance."""
    return gaussian_filter(rng.normal(size=shape), sigma) * sigma * 2 * np.sqrt(np.pi)
