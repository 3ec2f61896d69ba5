"""promptctl: learn CLIP contexts from a handful of photos, keep them, use them.

    promptctl.learn("photos", name="birds", shots=4)
    birds = promptctl.load("birds")
    birds.classify("unsorted")

docs/python.md is the page about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.5.0"

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.commands.apply import apply
    from promptctl.commands.class_add import add_classes
    from promptctl.commands.class_drop import drop_classes
    from promptctl.commands.class_list import list_classes
    from promptctl.commands.class_merge import merge_classes
    from promptctl.commands.class_rename import rename_class
    from promptctl.commands.class_split import split_class
    from promptctl.commands.classify import classify
    from promptctl.commands.compare import compare
    from promptctl.commands.diff import diff
    from promptctl.commands.distributed import classify_distributed
    from promptctl.commands.doctor import doctor
    from promptctl.commands.encode import encode
    from promptctl.commands.evaluate import evaluate
    from promptctl.commands.export import export
    from promptctl.commands.import_context import import_context
    from promptctl.commands.inspect import inspect
    from promptctl.commands.learn import learn
    from promptctl.commands.load import ImageClassifier, load
    from promptctl.commands.log import log
    from promptctl.commands.merge import merge
    from promptctl.commands.operations import operations
    from promptctl.commands.promote import promote
    from promptctl.commands.pull import pull
    from promptctl.commands.push import push
    from promptctl.commands.rebase import rebase
    from promptctl.commands.relabel import relabel
    from promptctl.commands.restore import restore
    from promptctl.commands.sort import sort
    from promptctl.commands.tag import tag
    from promptctl.commands.undo import undo
    from promptctl.context.card import Card
    from promptctl.context.context import Context
    from promptctl.context.update import UpdateSettings
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
    "UpdateSettings": "context.update",
    "add_classes": "commands.class_add",
    "apply": "commands.apply",
    "classify": "commands.classify",
    "classify_distributed": "commands.distributed",
    "compare": "commands.compare",
    "diff": "commands.diff",
    "doctor": "commands.doctor",
    "drop_classes": "commands.class_drop",
    "encode": "commands.encode",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "import_context": "commands.import_context",
    "inspect": "commands.inspect",
    "learn": "commands.learn",
    "list_classes": "commands.class_list",
    "load": "commands.load",
    "log": "commands.log",
    "merge": "commands.merge",
    "merge_classes": "commands.class_merge",
    "operations": "commands.operations",
    "promote": "commands.promote",
    "pull": "commands.pull",
    "push": "commands.push",
    "rebase": "commands.rebase",
    "relabel": "commands.relabel",
    "rename_class": "commands.class_rename",
    "restore": "commands.restore",
    "sort": "commands.sort",
    "split_class": "commands.class_split",
    "tag": "commands.tag",
    "undo": "commands.undo",
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
    "UpdateSettings",
    "__version__",
    "add_classes",
    "apply",
    "classify",
    "classify_distributed",
    "compare",
    "diff",
    "doctor",
    "drop_classes",
    "encode",
    "evaluate",
    "export",
    "import_context",
    "inspect",
    "learn",
    "list_classes",
    "load",
    "log",
    "merge",
    "merge_classes",
    "operations",
    "promote",
    "pull",
    "push",
    "rebase",
    "relabel",
    "rename_class",
    "restore",
    "sort",
    "split_class",
    "tag",
    "undo",
]


def __getattr__(name: str) -> Any:
    # names load on first use (PEP 562), so that importing promptctl costs no torch
    if name not in _HOMES:
        raise AttributeError(f"module 'promptctl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"promptctl.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
