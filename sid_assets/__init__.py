"""OneRec semantic IDs and training data for your own catalog, as a Dagster asset graph."""
