"""A handful of photos to cameras, Gaussian splats and a mesh."""
