"""A small network that places the matches of semi-dense XFeat below the cell."""
