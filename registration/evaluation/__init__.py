"""Predict first, then score from files: what `registration eval` and `multiway` are made of."""
