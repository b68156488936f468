"""From matches to cameras: verification, tracks, mapping, reasons."""
