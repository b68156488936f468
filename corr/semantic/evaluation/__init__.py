"""Evaluation of semantic matching: predict and store, then score from the files."""
