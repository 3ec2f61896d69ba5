"""The process a command runs in: its streams, warnings and logs, and signals."""

from __future__ import annotations

import codecs
import logging
import os
import sys
import warnings
from pathlib import Path

from promptctl import render
from promptctl.paths import give_libraries_a_home


def prepare_process() -> None:
    # threads that spin while they wait make small steps eighty times slower on a machine with other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    give_libraries_a_home()
    if not sys.warnoptions:  # Python's warnings were not asked for, by -W or PYTHONWARNINGS
        warnings.simplefilter("ignore")
        logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    _prepare_streams()
    _show_logs()


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # a pipe or a file gets UTF-8 on every system, with line ends as they are, unless another encoding is set
            if not (stream.isatty() or os.environ.get("PYTHONIOENCODING")):
                stream.reconfigure(encoding="utf-8", newline="\n")
            # file names may contain any bytes, and a code page may lack any character
            stream.reconfigure(errors="surrogateescape" if _is_utf8(stream.encoding) else "backslashreplace")


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


class _Talk(logging.Handler):
    """Log messages of promptctl, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        render.talk(f"{record.levelname.lower()}: {record.getMessage()}")


def _show_logs() -> None:
    own = logging.getLogger("promptctl")
    if not own.handlers:
        own.addHandler(_Talk())
        logging.getLogger().addHandler(logging.NullHandler())  # the messages of other libraries are not for users
