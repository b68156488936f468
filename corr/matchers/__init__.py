"""Image matchers behind one contract."""
