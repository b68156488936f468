"""Correspondence: geometry values, photos, matches, tracks and matchers."""
