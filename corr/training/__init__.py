"""What trainings share: the loop with its checkpoint, tables and curves, weights files."""
