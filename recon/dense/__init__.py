"""Guided dense matching: from sparse tracks and poses to a depth and a normal per pixel."""
