"""Every command, as the program itself describes it: docs/cli.md, and docs/promptctl.1 for `man promptctl`.

`python tests/test_docs.py` writes both again.
"""

from __future__ import annotations

import re
from pathlib import Path

from promptctl.cli.manual import commands, manual, option_names, parameters
from promptctl.report import CommandFacts

__all__ = ["ROOT", "cli_page", "commands", "man_page", "option_names", "parameters", "roff"]

ROOT = Path(__file__).resolve().parent.parent


# --------------------------------------------------------------------------- docs/cli.md


def cli_page() -> str:
    opening = (
        "# Every command\n\nWritten by `python tests/test_docs.py` from the program itself. `--help` after any command "
        "says the same, and so does `man promptctl`. Results go to stdout, everything else to stderr.\n"
    )
    return "\n".join([opening, *map(_in_markdown, manual())])


def _in_markdown(page: CommandFacts) -> str:
    rows = [(word.replace("|", r"\|"), said.replace("|", r"\|")) for word, said in _words(page)]
    table = ["| | |", "|---|---|", *(f"| `{word}` | {said} |" for word, said in rows)]
    examples = ["Examples:", "", *(f"    {line}" for line in page.examples), ""]
    return "\n".join([f"## {page.title}", "", page.said, "", f"    {page.usage}", "", *examples, *table, ""])


def _words(page: CommandFacts) -> tuple[tuple[str, str], ...]:
    return tuple((one.spelled, one.explained) for one in (*page.arguments, *page.options))


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
        *map(_in_roff, manual()),
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


def _in_roff(page: CommandFacts) -> str:
    paragraphs = [roff(one.replace("\n", " ")) for one in page.said.split("\n\n")]
    told = "\n.PP\n".join([_bold(page.usage), *paragraphs])
    examples = "\n".join([".PP", "Examples:", ".PP", ".nf", ".RS", *map(roff, page.examples), ".RE", ".fi"])
    return "\n".join([f".SS {roff(page.title)}", told, _entries(_words(page)), examples])


def _entries(rows: tuple[tuple[str, str], ...]) -> str:
    return "\n".join(f".TP\n{_bold(word)}\n{roff(said)}" for word, said in rows)


def _table(head: str) -> tuple[tuple[str, str], ...]:
    """The rows of README's table under a heading, without the marks of Markdown."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = text.split(f"| {head} | |\n|---|---|\n")[1].split("\n\n")[0]
    return tuple((first, second) for first, second in re.findall(r"^\| (.+?) \| (.+) \|$", rows.replace("`", ""), re.M))
