"""Key-point benchmarks in their official layouts, read into one set of values."""
