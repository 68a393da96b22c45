"""From vectors to codes: the residual k-means tokenizer, trained or loaded, and exact encoding."""
