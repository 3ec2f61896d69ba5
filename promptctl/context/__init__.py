"""Context: what was learned, as one file."""
