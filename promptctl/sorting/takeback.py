"""Take back: what was done to files, undone by the inverse steps, as an operation that can be taken back too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptctl.sorting.carry import Carrier
from promptctl.sorting.plan import COPY, LINK, MOVE, Refused
from promptctl.sorting.steps import DROP, FOLDER, KINDS, RMDIR, WRITE, folder_step, inverse
from promptctl.store.journal import Operation, Record, Step

_BLOCK = 100  # steps that are written down together
_PLACE = {FOLDER: 0, RMDIR: 2}  # folders, files, and then the folders that go


@dataclass
class Back:
    """What has become of inverse steps."""

    done: list[Step] = field(default_factory=list)
    left: list[Refused] = field(default_factory=list)

    def said(self) -> str:
        kinds = Counter((step["do"], step.get("was")) for step in self.done)
        parts = [
            _counted(kinds[MOVE, None], "file", "files", "moved back"),
            _counted(kinds[DROP, COPY], "copy", "copies", "taken away"),
            _counted(kinds[DROP, LINK], "link", "links", "taken away"),
            _counted(kinds[COPY, COPY] + kinds[COPY, None], "copy", "copies", "made again"),
            _counted(kinds[WRITE, None], "sidecar", "sidecars", "as before"),
            _counted(kinds[LINK, LINK] + kinds[LINK, None], "link", "links", "made again"),
        ]
        return ", ".join(filter(None, parts)) or "no file was to be taken back"


def _counted(count: int, one: str, many: str, done: str) -> str:
    return f"{count:,} {one if count == 1 else many} {done}" if count else ""


def is_of_files(record: Record) -> bool:
    """Whether an operation carried files."""
    return any("to" in step for step in record.steps.values())


def strange(record: Record) -> Step | None:
    """A step of a kind that is not known here."""
    return next((step for step in record.steps.values() if step.get("do") not in KINDS), None)


def settle(operation: Operation, record: Record) -> None:
    """Find out what became of steps that were begun and of which nobody wrote it down; half a step is taken back."""
    outcomes: dict[int, str | None] = {}
    carrier = Carrier(record.head.token)
    carrier.settle([(number, record.steps[number]) for number in record.open], outcomes)
    operation.told(outcomes)


def take_back(
    record: Record, operation: Operation, so_far: Record | None, on_done: Callable[[int, int], None] | None = None
) -> Back:
    """Undo what an operation did to files and no undo has taken back.

    record      of the operation, each of its steps known
    operation   that takes it back
    so_far      what is known of that, where it goes on
    on_done     called with how many steps are done with, and of how many
    """
    back = Back()
    if so_far:
        _go_on(operation, so_far, back)
    gone = {step["back"] for step in back.done if "back" in step}
    numbers = [n for n in sorted(record.steps, reverse=True) if n in record.done and n not in gone]
    steps = _ready([{**inverse(record.steps[n]), "back": n} for n in numbers])
    carrier = Carrier(operation.head.token)
    for first in range(0, len(steps), _BLOCK):
        block = steps[first : first + _BLOCK]
        _carry(carrier, list(zip(operation.ahead(block), block, strict=True)), operation, back)
        if on_done:
            on_done(min(first + _BLOCK, len(steps)), len(steps))
    return back


def _go_on(operation: Operation, so_far: Record, back: Back) -> None:
    back.done += [so_far.steps[number] for number in sorted(so_far.done)]
    begun = [(number, so_far.steps[number]) for number in so_far.open]
    outcomes = Back()
    _carry(Carrier(so_far.head.token, frozenset(so_far.open)), begun, operation, outcomes)
    back.done += outcomes.done  # what is left of them is tried once more


def _carry(carrier: Carrier, numbered: Sequence[tuple[int, Step]], operation: Operation, back: Back) -> None:
    outcomes: dict[int, str | None] = {}
    try:
        carrier.carry(numbered, outcomes)
    finally:
        operation.told(outcomes)
    for number, step in numbered:
        if (reason := outcomes[number]) is None:
            back.done.append(step)
        elif step["do"] not in (FOLDER, RMDIR):
            back.left.append(Refused(Path(step["to" if step["do"] in (DROP, WRITE) else "from"]), reason))


def _ready(steps: Sequence[Step]) -> list[Step]:
    """The steps in an order that works, and before them the folders that have gone since."""
    missing: dict[Path, None] = {}
    for step in steps:
        if step["do"] in (MOVE, COPY, LINK):
            _add_missing(Path(step["to"]).parent, missing)
    made = {step["to"] for step in steps if step["do"] == FOLDER}
    folders = [folder_step(folder) for folder in missing if str(folder) not in made]
    return [*folders, *sorted(steps, key=lambda step: _PLACE.get(step["do"], 1))]


def _add_missing(folder: Path, missing: dict[Path, None]) -> None:
    if folder in missing or folder.is_dir():
        return
    _add_missing(folder.parent, missing)
    missing[folder] = None
