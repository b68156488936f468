"""The weights that come with the package."""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parent / "weights"


def trained_file(name: str) -> Path:
    """Where the shipped weights of that name lie."""
    return SHIPPED / f"{name}.safetensors"
