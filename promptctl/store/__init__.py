"""Store: named, versioned contexts, written once and never changed."""
