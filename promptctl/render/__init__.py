"""Render: a report in one of the formats. stdout is data, stderr is talk."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from promptctl.errors import OutputFailed, ReaderLeft
from promptctl.render import camtrap_dp, megadetector
from promptctl.render.formats import FORMATS
from promptctl.render.progress import Progress, progress
from promptctl.render.reader import a_program_reads, is_person, is_program
from promptctl.render.stderr import give_up, talk
from promptctl.render.streams import STREAMS
from promptctl.report import ClassifyReport, Report, StreamedReport

__all__ = [
    "FORMATS",
    "OF_PHOTOS",
    "STREAMS",
    "Progress",
    "a_program_reads",
    "give_up",
    "is_person",
    "is_program",
    "progress",
    "render",
    "talk",
    "write",
]

OF_PHOTOS: dict[str, Callable[[ClassifyReport], Iterator[str]]] = {  # formats of `classify` alone
    "megadetector": megadetector.stream,
    "camtrap-dp": camtrap_dp.stream,
}


def render(report: Report, output: str = "table", progress: Progress | None = None) -> None:
    """Write a report to stdout in one of FORMATS; below it, on stderr, what it warns of and advises.

    progress   what is shown of the work meanwhile, where the report is still being made
    """
    with closing(_pieces(report, output)) as pieces:  # whoever reads no more stops the work
        for piece in pieces:
            if progress and _is_on_screen():
                progress.end()  # rows and a bar on one screen would tear one another apart; rows are progress too
            write(piece)
    if progress:
        progress.end()
    if output == "agent":
        for line in (*report.summary(), *report.closing()):  # stdout has the rows alone
            talk(line)
    for line in report.notes():
        talk(line)
    for line in report.warnings():
        talk(line if line.startswith(" ") else f"warning: {line}")
    if output in ("table", "agent"):
        for line in report.advice():
            talk(line)


def _pieces(report: Report, output: str) -> Generator[str, None, None]:
    if isinstance(report, ClassifyReport) and output in OF_PHOTOS:
        yield from OF_PHOTOS[output](report)
    elif isinstance(report, StreamedReport):
        yield from STREAMS[output](report)
    else:
        yield FORMATS[output](report)


def _is_on_screen() -> bool:
    """Whether what is printed may be seen while it is: on a terminal, or through a pipe into `less` or `grep`."""
    try:
        return sys.stdout.isatty() or not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):  # no file at all
        return False


def write(text: str) -> None:
    """Text for stdout; OutputFailed where it takes no more, ReaderLeft where nobody reads it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # no OSError from here on: Typer would end with 1 for it, without a word
        raise ReaderLeft from None
    except OSError as error:
        raise OutputFailed(error) from error
