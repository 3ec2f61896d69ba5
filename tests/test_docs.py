"""README and docs say what is true: their commands run, their options exist, their code works.

`python tests/test_docs.py` writes docs/cli.md again.
"""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from typer.models import ArgumentInfo, OptionInfo

from promptctl.cli.app import COMMANDS, GROUPS
from promptctl.store.refs import Ref
from promptctl.store.store import Store

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
NOT_OURS = {"--install-completion", "--show-completion", "--version", "--help"}  # typer's
OF_THE_BENCHMARKS = {"--names", "--threads", "--methods", "--seeds"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


# --------------------------------------------------------------------------- docs/cli.md


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
        if get_origin(hint) in (Union, types.UnionType):  # Python 3.10 adds None around a parameter that defaults to it
            hint = get_args(hint)[0]
        kind, info = get_args(hint)
        yield name, kind, parameter.default, info


def option_names(name: str, info: OptionInfo) -> list[str]:
    # inside Annotated the first spelling stands where a default would
    written = [text for text in (info.default, *(info.param_decls or ())) if str(text).startswith("-")]
    return written or [f"--{name.replace('_', '-')}"]


def value_of(kind: Any, info: OptionInfo | ArgumentInfo) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if info.metavar or kind is bool:
        return info.metavar or ""
    if issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return {int: "N", float: "X", Path: "PATH", str: "TEXT"}[kind]


def command_page(title: str, function: Callable[..., object]) -> str:
    usage, arguments, options = [title], [], []
    for name, kind, default, info in parameters(function):
        said = (info.help or "").replace("|", r"\|")
        if isinstance(info, ArgumentInfo):
            word = name.upper()
            usage.append(word if default is inspect.Parameter.empty else f"[{word}]")
            arguments.append(f"| `{word}` | {said} |")
            continue
        value = value_of(kind, info)
        if default is inspect.Parameter.empty:
            usage.append(f"{option_names(name, info)[0]} {value}")
            said += "  Required."
        elif default not in (None, False, ""):
            said += f"  [default: {default.value if isinstance(default, Enum) else default}]"
        if info.envvar:
            said += f"  [env: {info.envvar}]"
        spelled = ", ".join(option_names(name, info)) + (f" {value}" if value else "")
        options.append(f"| `{spelled.replace('|', chr(92) + '|')}` | {said} |")
    table = ["| | |", "|---|---|", *arguments, *options]
    return "\n".join([f"## {title}", "", inspect.getdoc(function) or "", "", f"    {' '.join(usage)}", "", *table, ""])


def cli_page() -> str:
    opening = (
        "# Every command\n\nWritten by `python tests/test_docs.py` from the program itself. `--help` after any command "
        "says the same. Results go to stdout, everything else to stderr.\n"
    )
    return "\n".join([opening, *(command_page(*command) for command in commands())])


def test_cli_md_is_what_the_program_says():
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == cli_page(), "python tests/test_docs.py writes it again"


def test_every_option_in_the_docs_exists():
    known = {
        spelled
        for _, function in commands()
        for name, _, _, info in parameters(function)
        if isinstance(info, OptionInfo)
        for spelled in option_names(name, info)
    }
    for page in PAGES:
        mentioned = set(OPTION.findall(page.read_text("utf-8")))
        assert mentioned - known - NOT_OURS - OF_THE_BENCHMARKS == set(), page.name


def test_every_link_in_the_docs_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# --------------------------------------------------------------------------- README


def test_the_readme_has_two_commands_for_a_fresh_machine():
    text = (ROOT / "README.md").read_text("utf-8")
    first, second = re.findall(r"^python3 -m venv .*$", text, re.M)
    assert first.endswith(" && .venv/bin/promptctl demo")
    assert second.endswith(" && .venv/bin/pytest")


def test_the_readmes_walk_works_as_typed(cli, tmp_path, monkeypatch):
    from promptctl.demo import draw_pictures

    draw_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = ROOT / "README.md"
    walk = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    have = [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("promptctl ")]
    assert [line.split()[1] for line in walk] == ["learn", "evaluate", "inspect", "classify", "compare"]
    for line in walk:
        outcome = cli(*shlex.split(line)[1:])
        assert (outcome.code, "error" in outcome.err, "warning" in outcome.err) == (0, False, False), line
    offline = {"promptctl models pull ViT-B-16/openai": 13}
    have = [line.replace("remove birds ", "remove birds --yes ") for line in have]
    for line in have:
        if "--model" not in line:
            outcome = cli(*shlex.split(line, comments=True)[1:])
            assert outcome.code == offline.get(line, 0), f"{line}\n{outcome.err}"


# --------------------------------------------------------------------------- docs/format.md


def test_the_page_of_python_in_format_md_reads_a_context(cli, photos, tiny, tmp_path):
    assert cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 30, "--model", tiny).code == 0
    (page,) = blocks(ROOT / "docs" / "format.md", "python")
    script = tmp_path / "read.py"
    script.write_text(page, "utf-8")
    context = Store().find(Ref("colours")).path
    read = [sys.executable, "-I", str(script), str(context)]
    said = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert said.startswith("blue, green, red on local-dir:")
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(page, namespace)
    card, tensors = namespace["read_context"](context)
    ours = Store().find(Ref("colours")).card
    assert ours and card["sha256"] == ours.sha256
    assert tensors["shot_features"].shape == (6, 32)
    damaged = bytearray(context.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match="has been changed or damaged"):
        namespace["read_context"](tmp_path / "damaged.safetensors")


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(cli_page(), "utf-8")
