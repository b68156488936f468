"""Training of the dense matcher."""
