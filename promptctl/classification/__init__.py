"""Classification: features and a context to answers, and how good they are."""
