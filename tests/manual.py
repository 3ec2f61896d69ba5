"""Every command, as the program itself describes it: docs/cli.md, and docs/promptctl.1 for `man promptctl`.

`python tests/test_docs.py` writes both again.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from promptctl.cli.app import COMMANDS, GROUPS, described

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Page:
    """What there is to say of one command; arguments and options with what they mean."""

    title: str
    usage: str
    said: str
    examples: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]


def commands() -> Iterator[tuple[str, Callable[..., object]]]:
    for name, command in COMMANDS.items():
        yield f"promptctl {name}", command
    for group, (_, group_commands) in GROUPS.items():
        for name, command in group_commands.items():
            yield f"promptctl {group} {name}", command


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
    return [one for text in written for one in text.split("/")] or [f"--{name.replace('_', '-')}"]


def value_of(kind: Any, info: OptionInfo | ArgumentInfo) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if info.metavar or kind is bool:
        return info.metavar or ""
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    if issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return {int: "N", float: "X", Path: "PATH", str: "TEXT"}[kind]


def page_of(title: str, function: Callable[..., object]) -> Page:
    usage, arguments, options = [title], [], []
    for name, kind, default, info in parameters(function):
        said = info.help or ""
        if isinstance(info, ArgumentInfo):
            word = name.upper()
            usage.append(word if default is inspect.Parameter.empty else f"[{word}]")
            arguments.append((word, said))
            continue
        value = value_of(kind, info)
        if default is inspect.Parameter.empty:
            usage.append(f"{option_names(name, info)[0]} {value}")
            said += "  Required."
        elif default not in (None, False, ""):
            said += f"  [default: {default.value if isinstance(default, Enum) else default}]"
        if info.envvar:
            said += f"  [env: {info.envvar}]"
        options.append((", ".join(option_names(name, info)) + (f" {value}" if value else ""), said))
    text, examples = described(function)
    return Page(title, " ".join(usage), text, examples, tuple(arguments), tuple(options))


def pages() -> Iterator[Page]:
    return (page_of(*command) for command in commands())


# --------------------------------------------------------------------------- docs/cli.md


def cli_page() -> str:
    opening = (
        "# Every command\n\nWritten by `python tests/test_docs.py` from the program itself. `--help` after any command "
        "says the same, and so does `man promptctl`. Results go to stdout, everything else to stderr.\n"
    )
    return "\n".join([opening, *map(_in_markdown, pages())])


def _in_markdown(page: Page) -> str:
    rows = [(word.replace("|", r"\|"), said.replace("|", r"\|")) for word, said in (*page.arguments, *page.options)]
    table = ["| | |", "|---|---|", *(f"| `{word}` | {said} |" for word, said in rows)]
    examples = ["Examples:", "", *(f"    {line}" for line in page.examples), ""]
    return "\n".join([f"## {page.title}", "", page.said, "", f"    {page.usage}", "", *examples, *table, ""])


# --------------------------------------------------------------------------- docs/promptctl.1


def man_page() -> str:
    """The manual in roff, of the macros that every `man` knows."""
    blocks = [
        '.\\" Written by python tests/test_docs.py from the program itself.\n.TH PROMPTCTL 1 "" promptctl',
        ".SH NAME",
        roff("promptctl - learn CLIP prompts from a few photos, keep them and use them"),
        ".SH SYNOPSIS",
        f"{_bold('promptctl')} {_italic('COMMAND')} [{_italic('OPTIONS')}] [{_italic('ARGUMENTS')}]",
        ".SH DESCRIPTION",
        roff(
            "promptctl teaches a CLIP model your own categories from a handful of labelled photos, and classifies and "
            "sorts photos by them. Results go to stdout, everything else to stderr."
        ),
        ".SH COMMANDS",
        *map(_in_roff, pages()),
        ".SH EXIT STATUS",
        _entries(_table("exit code")),
        ".SH ENVIRONMENT",
        _entries(_table("variable")),
    ]
    return "\n".join(blocks) + "\n"


def roff(text: str) -> str:
    """Text as roff reads it back: nothing in it is a command, and every sign is the one that was written."""
    signs = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
    plain = "".join(signs.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)
    return re.sub(r"^\.", r"\\&.", plain, flags=re.M)


def _bold(text: str) -> str:
    return rf"\fB{roff(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{roff(text)}\fR"


def _in_roff(page: Page) -> str:
    paragraphs = [roff(one.replace("\n", " ")) for one in page.said.split("\n\n")]
    told = "\n.PP\n".join([_bold(page.usage), *paragraphs])
    examples = "\n".join([".PP", "Examples:", ".PP", ".nf", ".RS", *map(roff, page.examples), ".RE", ".fi"])
    return "\n".join([f".SS {roff(page.title)}", told, _entries((*page.arguments, *page.options)), examples])


def _entries(rows: tuple[tuple[str, str], ...]) -> str:
    return "\n".join(f".TP\n{_bold(word)}\n{roff(said)}" for word, said in rows)


def _table(head: str) -> tuple[tuple[str, str], ...]:
    """The rows of README's table under a heading, without the marks of Markdown."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = text.split(f"| {head} | |\n|---|---|\n")[1].split("\n\n")[0]
    return tuple((first, second) for first, second in re.findall(r"^\| (.+?) \| (.+) \|$", rows.replace("`", ""), re.M))
