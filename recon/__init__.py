"""A handful of photos to cameras, Gaussian splats and a mesh."""

import corr  # noqa: F401 - sets how idle threads wait, before torch is loaded
