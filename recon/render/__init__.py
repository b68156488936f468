"""Drawing splats: one interface, a compiled CPU path, a CUDA path and a float64 oracle."""
