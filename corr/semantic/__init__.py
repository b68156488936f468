"""Semantic correspondence: the same part in photos of different instances of a category."""
