"""Geometry values shared by every package: NumPy float64, OpenCV axes, pixel centres at +0.5."""

from corr.geometry.camera import Camera
from corr.geometry.rigid import Rigid3, Sim3, rotation_angle, umeyama

__all__ = ["Camera", "Rigid3", "Sim3", "rotation_angle", "umeyama"]
