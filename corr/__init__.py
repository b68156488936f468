"""Correspondence: geometry values, photos, matches, tracks and matchers."""

import os

# Threads that wait must sleep. By default OpenMP's spin, and torch's and numba's teams then steal
# the few cores from each other: on a busy two-core machine a training step took 10 times longer.
# Read once, when torch is loaded, so it is set here, before anything imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
