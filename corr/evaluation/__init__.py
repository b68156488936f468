"""Two-view evaluation: predict, then estimate, then score, each from files."""
