"""RecIF: the data sets OneRec's models are trained on, made from interactions and pid2sid."""
