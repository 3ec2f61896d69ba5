"""The commands as functions: each a short walk through the rooms, returning a report."""

from __future__ import annotations

from promptctl.api.comparing import compare
from promptctl.api.exchanging import export_checkpoint, export_context, import_context
from promptctl.api.keeping import cache_info, clear_cache, list_models, pull_model
from promptctl.api.learning import learn
from promptctl.api.storing import (
    check,
    copy,
    diff,
    gc,
    list_contexts,
    list_trash,
    log,
    path,
    remove,
    rename,
    restore,
    show,
    to_remove,
    trash_to_empty,
)
from promptctl.api.using import classify, evaluate, inspect

__all__ = [
    "cache_info",
    "check",
    "classify",
    "clear_cache",
    "compare",
    "copy",
    "diff",
    "evaluate",
    "export_checkpoint",
    "export_context",
    "gc",
    "import_context",
    "inspect",
    "learn",
    "list_contexts",
    "list_models",
    "list_trash",
    "log",
    "path",
    "pull_model",
    "remove",
    "rename",
    "restore",
    "show",
    "to_remove",
    "trash_to_empty",
]
