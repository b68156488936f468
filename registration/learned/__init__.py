"""Networks of our own, the scans they are trained on, and their training."""
