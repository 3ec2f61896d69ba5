"""The commands, a file each: parse, one call, render."""
