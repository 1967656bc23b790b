"""TODO from_torch."""
