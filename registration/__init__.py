"""Point-cloud registration by voting: two scans, or a set of them, into one frame."""
