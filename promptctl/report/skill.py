"""What `skill` tells a program of the commands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row


@dataclass(frozen=True)
class ParameterFacts:
    """An argument or an option of a command."""

    names: tuple[str, ...]  # every spelling: --prompt and -p; an argument has one, PHOTOS
    value: str | None  # what stands behind it: N, FILE, coop|clap; None for a switch and for an argument
    said: str  # what --help says of it
    default: str | None  # None: none, or said in words
    required: bool
    repeats: bool
    variable: str | None  # of the environment, that sets it too

    @property
    def spelled(self) -> str:
        """`--prompt, -p TEXT`."""
        return ", ".join(self.names) + (f" {self.value}" if self.value else "")

    @property
    def explained(self) -> str:
        """What --help says of it, with what a command line sets where nothing is typed."""
        parts = [self.said]
        if self.required and self.names[0].startswith("-"):
            parts.append("Required.")
        if self.default is not None:
            parts.append(f"[default: {self.default}]")
        return "  ".join(parts) + (f"  [env: {self.variable}]" if self.variable else "")


@dataclass(frozen=True)
class CommandFacts:
    """What there is to say of one command."""

    title: str  # promptctl class list
    usage: str  # with its arguments, and with the options that it needs
    said: str
    examples: tuple[str, ...]
    arguments: tuple[ParameterFacts, ...]
    options: tuple[ParameterFacts, ...]


@dataclass(frozen=True)
class SkillReport(Report):
    type: ClassVar[str] = "skill"

    version: str  # of promptctl
    output: Path | None  # the file that the page was written to
    commands: tuple[CommandFacts, ...]

    def rows(self) -> list[Row]:
        return [
            {"command": one.title, "parameter": each.spelled, "said": each.explained}
            for one in self.commands
            for each in (*one.arguments, *one.options)
        ]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [f"the page is written: {self.output}"] if self.output else []

    def records(self) -> list[Row]:
        return [dataclasses.asdict(one) for one in self.commands]
