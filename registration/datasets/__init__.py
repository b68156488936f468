"""Public benchmarks in their official layouts."""
