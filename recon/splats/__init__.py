"""Gaussian splats: the value, seeding, colour, losses, optimisation."""
