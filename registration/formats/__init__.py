"""One file per format: each reads `RawCloud`s and some write them."""
