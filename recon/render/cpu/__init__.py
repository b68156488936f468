"""The compiled CPU rasteriser: numba kernels and their autograd wrapper."""
