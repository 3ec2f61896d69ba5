"""promptctl: learn CLIP contexts from a handful of photos, keep them, use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from promptctl.api import classify, compare, evaluate, export_context, import_context, inspect, learn
    from promptctl.card import Card
    from promptctl.context import Context
    from promptctl.errors import PromptctlError
    from promptctl.store import Store
    from promptctl.wish import Wish

_HOMES = {
    "learn": "api",
    "evaluate": "api",
    "inspect": "api",
    "classify": "api",
    "compare": "api",
    "import_context": "api",
    "export_context": "api",
    "Card": "card",
    "Context": "context",
    "PromptctlError": "errors",
    "Store": "store",
    "Wish": "wish",
}

__all__ = [
    "Card",
    "Context",
    "PromptctlError",
    "Store",
    "Wish",
    "__version__",
    "classify",
    "compare",
    "evaluate",
    "export_context",
    "import_context",
    "inspect",
    "learn",
]


def __getattr__(name: str) -> Any:
    # names load on first use (PEP 562), so that importing promptctl costs no torch
    if name not in _HOMES:
        raise AttributeError(f"module 'promptctl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"promptctl.{_HOMES[name]}"), name)
