"""Data: photos and their labels as people keep them, before any is decoded."""
