"""The report page of an alignment."""
