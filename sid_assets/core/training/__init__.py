"""The training data sets of RecIF, made from interactions, captions and SIDs."""
