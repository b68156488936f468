"""A mesh's texture, baked from the photos."""
