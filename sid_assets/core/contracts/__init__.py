"""What must hold of each table: read back from disk, and taken from no writer."""
