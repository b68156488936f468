"""A dense matcher of our own: a Gaussian process finds the warp, small networks refine it."""
