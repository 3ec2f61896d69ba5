"""What a caller may hear of work under way; nothing but counts, so that any display will do."""

from __future__ import annotations

from collections.abc import Callable

OnStep = Callable[[int, int], None]  # done, total
OnProgress = Callable[[str, int, int], None]  # stage, done, total
