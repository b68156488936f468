"""Dense descriptors: a photo in, a grid of unit vectors with exact places out."""
