"""promptctl: learn CLIP contexts from a handful of photos, keep them, use them.

    promptctl.learn("photos", name="birds", shots=4)
    birds = promptctl.load("birds")
    birds.classify("unsorted")

docs/python.md is the page about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.commands.classify import classify
    from promptctl.commands.compare import compare
    from promptctl.commands.encode import encode
    from promptctl.commands.evaluate import evaluate
    from promptctl.commands.export import export
    from promptctl.commands.import_context import import_context
    from promptctl.commands.inspect import inspect
    from promptctl.commands.learn import learn
    from promptctl.commands.load import ImageClassifier, load
    from promptctl.context.card import Card
    from promptctl.context.context import Context
    from promptctl.encoding.files import Skipped
    from promptctl.errors import PromptctlError
    from promptctl.learners.settings import LearnSettings
    from promptctl.store.refs import Ref
    from promptctl.store.store import Store

_HOMES = {
    "Answer": "classification.classifier",
    "Card": "context.card",
    "Context": "context.context",
    "ImageClassifier": "commands.load",
    "LearnSettings": "learners.settings",
    "PromptctlError": "errors",
    "Ref": "store.refs",
    "Skipped": "encoding.files",
    "Store": "store.store",
    "classify": "commands.classify",
    "compare": "commands.compare",
    "encode": "commands.encode",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "import_context": "commands.import_context",
    "inspect": "commands.inspect",
    "learn": "commands.learn",
    "load": "commands.load",
}

__all__ = [
    "Answer",
    "Card",
    "Context",
    "ImageClassifier",
    "LearnSettings",
    "PromptctlError",
    "Ref",
    "Skipped",
    "Store",
    "__version__",
    "classify",
    "compare",
    "encode",
    "evaluate",
    "export",
    "import_context",
    "inspect",
    "learn",
    "load",
]


def __getattr__(name: str) -> Any:
    # names load on first use (PEP 562), so that importing promptctl costs no torch
    if name not in _HOMES:
        raise AttributeError(f"module 'promptctl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"promptctl.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
