"""Descriptors of surface points."""
