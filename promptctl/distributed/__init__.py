"""Classifying on many machines: what Ray Data maps over photos, where they come from and where answers go."""
