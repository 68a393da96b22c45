"""From texts to vectors: only what is new or changed is embedded."""
