"""Command line: parse, one call into a command, render."""
