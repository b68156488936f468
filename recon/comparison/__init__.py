"""Finished runs side by side: which options differ, and what came out."""
