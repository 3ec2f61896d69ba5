"""The command line. `main` is the error boundary: below it nobody prints and nobody exits."""

from __future__ import annotations

import atexit
import gc
import sys
from typing import NoReturn

from promptctl import signals, typed
from promptctl.errors import Interrupted, OutputFailed, PromptctlError, ReaderLeft, StorageFailed, reason_of

# an import makes many objects and no garbage: by default Python would look for cycles every 700 of them
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main() -> NoReturn:
    """Run the command line; every error of the tree becomes one sentence, one hint and an exit code."""
    signals.listen()  # before everything else is imported, which takes long enough to press Ctrl-C
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # the process gives its memory back whole; Python would first look through every object of PyTorch
    atexit.register(gc.freeze)
    try:
        code = _run()
        signals.finish()
    except Interrupted as stop:
        code = _say(_interrupted(), None, stop.exit_code)
        signals.leave(stop.exit_code)
    sys.exit(code)


def _run() -> int | str | None:
    from promptctl import render
    from promptctl.cli.app import app
    from promptctl.cli.process import prepare_process

    prepare_process()
    typed.remember(sys.argv[1:])
    try:
        app()
    except SystemExit as end:
        return end.code
    except PromptctlError as error:
        if isinstance(error, OutputFailed):
            render.give_up(sys.stdout)
        done = signals.said() if isinstance(error, StorageFailed) else None  # half of a sort, say
        return _say(f"{error}; {done}" if done else str(error), None if done else error.hint, error.exit_code)
    except ReaderLeft:
        render.give_up(sys.stdout)
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        return _say(f"{error.filename}: {reason_of(error)}", None, 1)
    return 0


def _say(sentence: str, hint: str | None, exit_code: int) -> int:
    from promptctl.render import talk

    talk(f"error: {sentence}")
    if hint:
        talk(f"hint:  {hint}")
    return exit_code


def _interrupted() -> str:
    """What an interruption leaves behind: changes happen whole or not at all; what was encoded or measured is kept."""
    if sentence := signals.said():
        return f"interrupted; {sentence}"
    counts = signals.kept()
    kept = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in sorted(counts.items())]
    if not kept:
        return "interrupted, nothing half-done was kept"
    verb = "is" if sum(counts.values()) == 1 else "are"
    how = "with --resume the same command" if counts.get("saved result") else "the same command"
    return f"interrupted; {' and '.join(kept)} {verb} kept, {how} goes on from there"
