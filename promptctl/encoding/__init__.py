"""Encoding: files of photos to features, by way of a decoder, an image tower and a cache."""
