"""Votes on rigid motions and their peaks."""
