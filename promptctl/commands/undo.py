"""Undo: an operation taken back by another one, which can be taken back like any other."""

from __future__ import annotations

from dataclasses import replace

from promptctl import checks, signals, typed
from promptctl.errors import BadStep, CannotTakeBack, NoSuchOperation, OperationRuns, TakenBackAlready
from promptctl.progress import OnProgress
from promptctl.report import SkippedFile, UndoReport
from promptctl.sorting import takeback as of_files
from promptctl.sorting.steps import is_sound
from promptctl.store import takeback as of_store
from promptctl.store.journal import UNDO, Head, Journal, Record
from promptctl.store.store import Store


def undo(
    operation: int | None = None, *, store: Store | None = None, on_progress: OnProgress | None = None
) -> UndoReport:
    """Take an operation back: the newest that is not taken back already, or the one that is named.

    What was interrupted is taken up again: an undo, or the taking back of what an undo could not take back before.

    operation     its number; None: the newest, where an undo counts only if it was interrupted
    store         whose journal; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    returns       a report of what is as it was, and what had to be left
    raises        NoSuchOperation, TakenBackAlready, CannotTakeBack, OperationRuns, BadJournal and its kinds,
                  StorageFailed, and what the changes of a store raise
    """
    if operation is not None:
        operation = checks.whole("operation", operation, 1, checks.MOST, 1)
    store = store or Store()
    journal = Journal(store.home)
    head = _meant(journal, operation)
    by = head if head.kind == UNDO and not head.ended and operation is None else _begun(journal, head)
    if by is not None:
        head = journal.head(by.of or 0)
    before = _before(journal, head) if operation is None else None
    record = journal.read(head.number)
    if of_files.is_of_files(record) or not record.steps:
        for one in (record, *([journal.read(by.number)] if by else [])):
            _check_steps(journal, one)
        return _files_back(journal, head, by, before, on_progress)
    if of_store.is_of_store(record):
        return _store_back(journal, record, store, before)
    raise BadStep(head.number, str(next(iter(record.steps.values())).get("do")))


def _meant(journal: Journal, number: int | None) -> Head:
    head = journal.to_take_back() if number is None else journal.head(number)
    if head is None:
        raise NoSuchOperation()
    return head


def _before(journal: Journal, head: Head) -> int | None:
    """The change before one, which a plain undo comes to next."""
    gone = journal.taken_back()
    earlier = (one for one in journal.heads() if one.number < head.number and one.number not in gone)
    return next((one.number for one in earlier if one.kind != UNDO and not one.did_nothing), None)


def _begun(journal: Journal, head: Head) -> Head | None:
    """The undo that has begun to take an operation back and left some of it; TakenBackAlready where it left nothing."""
    by = journal.taken_back().get(head.number)
    if by is None:
        return None
    found = journal.head(by)
    if found.ended and not found.left:
        raise TakenBackAlready(head.number, by)
    return found


# --------------------------------------------------------------------------- files


def _files_back(
    journal: Journal, head: Head, by: Head | None, before: int | None, on_progress: OnProgress | None
) -> UndoReport:
    operation, so_far = journal.resume(by.number) if by else (None, None)
    if operation is None:
        record = _settled(journal, head)
        operation = journal.begin(UNDO, typed.words(), about={"of": head.number})
    with operation.carried():
        record = _settled(journal, head)
        signals.say("what was taken back stays so: promptctl undo goes on from there")
        on_done = (lambda done, total: on_progress("taking back", done, total)) if on_progress else None
        back = of_files.take_back(record, operation, so_far, on_done)
    left = tuple(SkippedFile(one.path, one.reason) for one in back.left)
    number = operation.number if back.done else None
    return replace(_report(number, record, back.said(), len(back.done), left), before=before)


def _check_steps(journal: Journal, record: Record) -> None:
    """BadStep, JournalDamaged"""
    number = record.head.number
    if step := of_files.strange(record):
        raise BadStep(number, str(step.get("do")))
    if not all(map(is_sound, record.steps.values())):
        raise journal.refuse(number)


def _settled(journal: Journal, head: Head) -> Record:
    """An operation of which is known what became of every step."""
    if not head.ended:
        operation, record = journal.resume(head.number)
        with operation.carried():
            of_files.settle(operation, record)
    return journal.read(head.number)


# --------------------------------------------------------------------------- the store


def _store_back(journal: Journal, record: Record, store: Store, before: int | None) -> UndoReport:
    number = record.head.number
    if not record.head.ended and journal.is_running(number):
        raise OperationRuns(number)

    def is_last(name: str) -> bool:
        return not _later_changes(journal, number, name)

    try:
        taken = of_store.take_back(Store(store.home, takes_back=number), record, is_last=is_last)
    except CannotTakeBack as error:
        if before is not None:
            error.hint = f"promptctl undo {before}   (the one before it)"
        raise
    if taken is not None:
        return _report(journal.taken_back()[number], record, taken.sentence, 1, ())
    operation, again = journal.resume(number)
    with operation:
        operation.became(left=dict.fromkeys(again.open, "it had not come about"))
    return _report(None, record, "it had not come about, so nothing was to be taken back", 0, ())


def _later_changes(journal: Journal, number: int, name: str) -> bool:
    """Whether a later operation that is in force changed a name of the store."""
    gone = journal.taken_back()
    later = [head for head in journal.heads() if head.number > number and head.number not in gone]
    steps = [
        step
        for head in later
        if head.kind != UNDO and not head.did_nothing
        for step in journal.read(head.number).steps.values()
    ]
    return any(name in (step.get("name"), step.get("target")) for step in steps if "to" not in step)


def _report(
    operation: int | None, record: Record, sentence: str, done: int, left: tuple[SkippedFile, ...]
) -> UndoReport:
    head = record.head
    return UndoReport(operation, head.number, head.words or (head.kind,), sentence, done, left)
