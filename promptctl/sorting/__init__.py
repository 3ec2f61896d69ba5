"""Sorting: photos into folders, so that none is lost and everything can be taken back."""
