"""The commands under their names, in the order of `promptctl --help`: a new one is a file and a line."""

from __future__ import annotations

import functools
import inspect as introspection
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import typer

from promptctl import __version__, render
from promptctl.cli.agent import drives, is_driven
from promptctl.cli.commands.apply import apply
from promptctl.cli.commands.cache import cache_clear, cache_info
from promptctl.cli.commands.check import check
from promptctl.cli.commands.classes import (
    class_add,
    class_drop,
    class_list,
    class_merge,
    class_rename,
    class_split,
)
from promptctl.cli.commands.classify import classify
from promptctl.cli.commands.compare import compare
from promptctl.cli.commands.copy import copy
from promptctl.cli.commands.demo import demo
from promptctl.cli.commands.diff import diff
from promptctl.cli.commands.doctor import doctor
from promptctl.cli.commands.encode import encode
from promptctl.cli.commands.evaluate import evaluate
from promptctl.cli.commands.export import export
from promptctl.cli.commands.gc import gc
from promptctl.cli.commands.import_context import import_context
from promptctl.cli.commands.inspect import inspect
from promptctl.cli.commands.learn import learn
from promptctl.cli.commands.list import list_contexts
from promptctl.cli.commands.log import log
from promptctl.cli.commands.merge import merge
from promptctl.cli.commands.models import models_list, models_pull
from promptctl.cli.commands.operations import operations
from promptctl.cli.commands.path import show_path
from promptctl.cli.commands.promote import promote
from promptctl.cli.commands.pull import pull
from promptctl.cli.commands.push import push
from promptctl.cli.commands.rebase import rebase
from promptctl.cli.commands.relabel import relabel
from promptctl.cli.commands.remove import remove
from promptctl.cli.commands.rename import rename
from promptctl.cli.commands.restore import restore
from promptctl.cli.commands.review import review
from promptctl.cli.commands.show import show
from promptctl.cli.commands.skill import skill
from promptctl.cli.commands.sort import sort
from promptctl.cli.commands.tag import tag
from promptctl.cli.commands.undo import undo
from promptctl.cli.commands.watch import watch

Command = Callable[..., None]

COMMANDS: Mapping[str, Command] = {
    "learn": learn,
    "evaluate": evaluate,
    "inspect": inspect,
    "classify": classify,
    "review": review,
    "sort": sort,
    "tag": tag,
    "watch": watch,
    "apply": apply,
    "undo": undo,
    "operations": operations,
    "encode": encode,
    "import": import_context,
    "export": export,
    "push": push,
    "pull": pull,
    "compare": compare,
    "list": list_contexts,
    "show": show,
    "log": log,
    "diff": diff,
    "relabel": relabel,
    "merge": merge,
    "doctor": doctor,
    "rebase": rebase,
    "copy": copy,
    "rename": rename,
    "remove": remove,
    "restore": restore,
    "promote": promote,
    "check": check,
    "gc": gc,
    "path": show_path,
    "skill": skill,
    "demo": demo,
}
GROUPS: Mapping[str, tuple[str, Mapping[str, Command]]] = {
    "class": (
        "List and change the classes of a context.",
        {
            "list": class_list,
            "rename": class_rename,
            "add": class_add,
            "drop": class_drop,
            "merge": class_merge,
            "split": class_split,
        },
    ),
    "models": ("List and download backbones.", {"list": models_list, "pull": models_pull}),
    "cache": (
        "Show or clear cached features and results.",
        {"info": cache_info, "clear": cache_clear},
    ),
}

SHORT_TOUR = ("demo", "learn", "evaluate", "classify", "sort", "undo")


def described(command: Command) -> tuple[str, tuple[str, ...]]:
    """What a command's docstring says of it, and the lines of its examples, which end it."""
    said, _, examples = (introspection.getdoc(command) or "").partition("\n\nExamples:\n")
    return said, tuple(textwrap.dedent(examples).splitlines())


def _epilog(examples: Iterable[str]) -> str:
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])


app = typer.Typer(
    name="promptctl",
    help="Learn CLIP prompts from a few photos, keep them and use them.",
    epilog=_epilog(described(COMMANDS[name])[1][0] for name in SHORT_TOUR),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"promptctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    render.a_program_reads(False)
    if is_driven():
        drives()
        context.default_map = _formats("agent")


def _formats(value: str) -> dict[str, Any]:
    """The default of every --format, as Click takes defaults: by command and parameter."""
    chosen = {"output": value}
    of_groups = {group: dict.fromkeys(verbs, chosen) for group, (_, verbs) in GROUPS.items()}
    return {**{name: chosen for name in COMMANDS if name not in _BARE}, **of_groups}


_BARE = ("path",)  # what it prints is put into other commands, $(promptctl path), and has no heading


def _told(command: Command) -> Command:
    """The command, where `--format agent` says as much as an agent's variable."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        if getattr(options.get("output"), "value", None) == "agent":
            drives()
        command(*arguments, **options)

    return run


def _add(to: typer.Typer, name: str, command: Command) -> None:
    said, examples = described(command)
    to.command(name, help=said, epilog=_epilog(examples))(_told(command))


for _name, _command in COMMANDS.items():
    _add(app, _name, _command)

for _name, (_help, _commands) in GROUPS.items():
    _lines = (line for _command in _commands.values() for line in described(_command)[1])
    _group = typer.Typer(help=_help, epilog=_epilog(_lines), no_args_is_help=True)
    for _verb, _command in _commands.items():
        _add(_group, _verb, _command)
    app.add_typer(_group, name=_name)
