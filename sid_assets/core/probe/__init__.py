"""The probe: a small decoder that learns to recommend with the SIDs, and what it is compared to."""
