"""The commands as functions, each of which returns a report."""

from __future__ import annotations

from promptctl.commands.apply import apply
from promptctl.commands.cache import cache_info, clear_cache
from promptctl.commands.check import check
from promptctl.commands.class_add import add_classes
from promptctl.commands.class_drop import drop_classes, to_purge
from promptctl.commands.class_list import list_classes
from promptctl.commands.class_merge import merge_classes
from promptctl.commands.class_rename import rename_class
from promptctl.commands.class_split import split_class
from promptctl.commands.classify import classify
from promptctl.commands.compare import compare
from promptctl.commands.continual import compare_tasks
from promptctl.commands.copy import copy
from promptctl.commands.diff import diff
from promptctl.commands.distributed import classify_distributed
from promptctl.commands.doctor import doctor
from promptctl.commands.encode import encode
from promptctl.commands.evaluate import evaluate
from promptctl.commands.export import export
from promptctl.commands.gc import gc, trash_to_empty
from promptctl.commands.import_context import import_context
from promptctl.commands.inspect import inspect
from promptctl.commands.label_studio import check_label_studio, label_studio
from promptctl.commands.learn import learn
from promptctl.commands.list import list_contexts, list_trash
from promptctl.commands.log import log
from promptctl.commands.merge import merge
from promptctl.commands.models import list_models, pull_model
from promptctl.commands.operations import operations
from promptctl.commands.path import path
from promptctl.commands.promote import promote
from promptctl.commands.pull import pull
from promptctl.commands.push import push
from promptctl.commands.rebase import rebase
from promptctl.commands.relabel import relabel
from promptctl.commands.remove import remove, to_remove
from promptctl.commands.rename import rename
from promptctl.commands.restore import restore
from promptctl.commands.results import Results
from promptctl.commands.review import OUTPUT as REVIEW_OUTPUT
from promptctl.commands.review import Review, review
from promptctl.commands.show import show
from promptctl.commands.skill import write_page
from promptctl.commands.sort import sort
from promptctl.commands.suggest import suggest
from promptctl.commands.survey import survey
from promptctl.commands.tag import tag
from promptctl.commands.undo import undo
from promptctl.commands.watch import watch

__all__ = [
    "REVIEW_OUTPUT",
    "Results",
    "Review",
    "add_classes",
    "apply",
    "cache_info",
    "check",
    "check_label_studio",
    "classify",
    "classify_distributed",
    "clear_cache",
    "compare",
    "compare_tasks",
    "copy",
    "diff",
    "doctor",
    "drop_classes",
    "encode",
    "evaluate",
    "export",
    "gc",
    "import_context",
    "inspect",
    "label_studio",
    "learn",
    "list_classes",
    "list_contexts",
    "list_models",
    "list_trash",
    "log",
    "merge",
    "merge_classes",
    "operations",
    "path",
    "promote",
    "pull",
    "pull_model",
    "push",
    "rebase",
    "relabel",
    "remove",
    "rename",
    "rename_class",
    "restore",
    "review",
    "show",
    "sort",
    "split_class",
    "suggest",
    "survey",
    "tag",
    "to_purge",
    "to_remove",
    "trash_to_empty",
    "undo",
    "watch",
    "write_page",
]
