"""Point-cloud registration by voting: two scans, or a set of them, into one frame."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registration.api import register
    from registration.cloud import PointCloud
    from registration.files import read_cloud, write_cloud
    from registration.result import Registration

__all__ = ["PointCloud", "Registration", "read_cloud", "register", "write_cloud"]
_HOMES = {
    "register": "api", "PointCloud": "cloud", "Registration": "result", "read_cloud": "files",
    "write_cloud": "files",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """The names above, loaded when first asked for: importing the package stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'registration' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"registration.{_HOMES[name]}"), name)
