"""Several runs on one page: what they came to, their curves, and where they differ."""
