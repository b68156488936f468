"""Depth fusion, meshing and surface metrics."""
