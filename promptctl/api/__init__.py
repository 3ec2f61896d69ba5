"""The commands as functions: each a short walk through the rooms, returning a report."""

from __future__ import annotations

from promptctl.api.comparing import compare
from promptctl.api.exchanging import export_context, import_context
from promptctl.api.keeping import cache_info, clear_cache, list_contexts, list_models, pull_model, remove, restore, show
from promptctl.api.learning import learn
from promptctl.api.using import classify, evaluate, inspect

__all__ = [
    "cache_info",
    "classify",
    "clear_cache",
    "compare",
    "evaluate",
    "export_context",
    "import_context",
    "inspect",
    "learn",
    "list_contexts",
    "list_models",
    "pull_model",
    "remove",
    "restore",
    "show",
]
