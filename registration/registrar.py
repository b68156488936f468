"""The contract of everything that aligns two clouds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from registration.cloud import PointCloud
from registration.result import Registration


@dataclass
class Registrar(ABC):
    """Aligns clouds; its fields are its options.

    A cloud is prepared once (voxels, normals, descriptors) and then aligned with many others. What
    `prepare` returns is the registrar's own business; it can be pickled.
    """

    VERSION: ClassVar[int] = 1  # counted up when the same options answer differently

    @abstractmethod
    def prepare(self, cloud: PointCloud, voxel: float) -> Any:
        """Everything about one cloud that does not depend on its partner.

        Args:
            cloud: The scan.
            voxel: The working resolution, cloud's unit; the same for both clouds of a pair.
        """

    @abstractmethod
    def register(self, source: Any, target: Any, *, seed: int = 0) -> Registration:
        """Align two prepared clouds; the same seed gives the same answer."""
