"""promptctl: learn CLIP contexts from a handful of photos, keep them, use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from promptctl.commands.classify import classify
    from promptctl.commands.compare import compare
    from promptctl.commands.evaluate import evaluate
    from promptctl.commands.export import export
    from promptctl.commands.import_context import import_context
    from promptctl.commands.inspect import inspect
    from promptctl.commands.learn import learn
    from promptctl.context.card import Card
    from promptctl.context.context import Context
    from promptctl.errors import PromptctlError
    from promptctl.learners.settings import LearnSettings
    from promptctl.store.store import Store

_HOMES = {
    "learn": "commands.learn",
    "evaluate": "commands.evaluate",
    "inspect": "commands.inspect",
    "classify": "commands.classify",
    "compare": "commands.compare",
    "import_context": "commands.import_context",
    "export": "commands.export",
    "Card": "context.card",
    "Context": "context.context",
    "LearnSettings": "learners.settings",
    "PromptctlError": "errors",
    "Store": "store.store",
}

__all__ = [
    "Card",
    "Context",
    "LearnSettings",
    "PromptctlError",
    "Store",
    "__version__",
    "classify",
    "compare",
    "evaluate",
    "export",
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
