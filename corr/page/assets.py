"""Style sheets, scripts and templates that lie in an `assets` folder beside the code."""

import importlib.resources


def read(name: str, package: str = "corr.page") -> str:
    """The text of an asset of a package."""
    return (importlib.resources.files(package) / "assets" / name).read_text(encoding="utf-8")
