"""Every command, as the program itself describes it: for `skill`, docs/cli.md and the page of `man`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from promptctl.cli.app import COMMANDS, GROUPS, Command, described
from promptctl.report import CommandFacts, ParameterFacts


def manual() -> tuple[CommandFacts, ...]:
    return tuple(facts_of(*command) for command in commands())


def manual_of(words: Sequence[str]) -> tuple[CommandFacts, ...]:
    """Of the command of these words, or of all in a group; of all there are, without words."""
    title = " ".join(["promptctl", *words])
    found = tuple(one for one in manual() if f"{one.title} ".startswith(f"{title} "))
    if not found:
        raise typer.BadParameter(f"there is no command '{' '.join(words)}'", param_hint="COMMAND")
    return found


def commands() -> Iterator[tuple[str, Command]]:
    for name, command in COMMANDS.items():
        yield f"promptctl {name}", command
    for group, (_, group_commands) in GROUPS.items():
        for name, command in group_commands.items():
            yield f"promptctl {group} {name}", command


def facts_of(title: str, function: Command) -> CommandFacts:
    arguments, options = [], []
    for name, kind, default, info in parameters(function):
        if isinstance(info, ArgumentInfo):
            arguments.append(_argument(name, kind, default, info))
        else:
            options.append(_option(name, kind, default, info))
    words = [_in_usage(one) for one in (*arguments, *(option for option in options if option.required))]
    text, examples = described(function)
    return CommandFacts(title, " ".join([title, *words]), text, examples, tuple(arguments), tuple(options))


def parameters(function: Callable[..., object]) -> Iterator[tuple[str, Any, Any, OptionInfo | ArgumentInfo]]:
    """(name, type, default, what typer knows of it) of every parameter of a command."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if hint is typer.Context:  # what was typed, which nobody types
            continue
        if get_origin(hint) in (Union, types.UnionType):  # Python 3.10 adds None around a parameter that defaults to it
            hint = get_args(hint)[0]
        kind, info = get_args(hint)
        yield name, kind, parameter.default, info


def option_names(name: str, info: OptionInfo) -> list[str]:
    # inside Annotated the first spelling stands where a default would
    written = [text for text in (info.default, *(info.param_decls or ())) if str(text).startswith("-")]
    # --head/--no-head is two of them
    return [one for text in written for one in str(text).split("/")] or [f"--{name.replace('_', '-')}"]


def _argument(name: str, kind: Any, default: Any, info: ArgumentInfo) -> ParameterFacts:
    required = default is inspect.Parameter.empty
    return ParameterFacts((name.upper(),), None, info.help or "", None, required, _is_list(kind), None)


def _option(name: str, kind: Any, default: Any, info: OptionInfo) -> ParameterFacts:
    required = default is inspect.Parameter.empty
    names, variable = tuple(option_names(name, info)), str(info.envvar) if info.envvar else None
    shown = None if required else _shown(default, names)
    return ParameterFacts(names, _value(kind, info), info.help or "", shown, required, _is_list(kind), variable)


def _shown(default: object, names: Sequence[str]) -> str | None:
    """A default as it would be typed; None where nothing is set."""
    if default is True:  # of --together/--one-by-one
        return names[0]
    return None if default in (None, False, "") else str(default.value if isinstance(default, Enum) else default)


def _in_usage(one: ParameterFacts) -> str:
    word = f"{one.names[0]} {one.value}" if one.value else one.names[0]
    return f"{word if one.required else f'[{word}]'}{'…' if one.repeats else ''}"


def _value(kind: Any, info: OptionInfo | ArgumentInfo) -> str | None:
    kind = _plain(kind)
    if info.metavar or kind is bool:
        return str(info.metavar) if info.metavar else None
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    if issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return {int: "N", float: "X", Path: "PATH", str: "TEXT"}[kind]


def _is_list(kind: Any) -> bool:
    return get_origin(_plain(kind)) is list


def _plain(kind: Any) -> Any:
    """The type without None."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind
