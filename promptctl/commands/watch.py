"""Watch: sort what arrives in a folder, as long as the program runs, and go on where it was stopped."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks, signals, typed
from promptctl.commands.answers import UNKNOWN, Answering, Taking, answering_by_context
from promptctl.commands.places import check_places
from promptctl.commands.seen import apart_of
from promptctl.commands.sort import KINDS, carried_before, target_of
from promptctl.commands.sources import locate
from promptctl.errors import NoImages, OperationRuns, StorageFailed, WatchedAlready, reason_of
from promptctl.progress import OnProgress
from promptctl.report import Arrived, SkippedFile, WatchReport
from promptctl.report.phrases import counted, number_of
from promptctl.sorting.apply import Applied, apply_plan, finish_begun
from promptctl.sorting.arrange import Identity, arrange
from promptctl.sorting.carry import CHANGED
from promptctl.sorting.events import Events, check_library
from promptctl.sorting.inbox import Inbox
from promptctl.sorting.plan import COPY, MODES, MOVE, Photo, Plan, Refused, Shown
from promptctl.store import files
from promptctl.store.journal import Head, Journal
from promptctl.store.lock import held_alone
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.data.exclusion import Exclusion

Say = Callable[[str], object]

SETTLE = 2.0  # seconds
EVERY = 60.0  # seconds
_LONGEST = 86400.0  # seconds
_SHORTEST_LOOK = 0.05  # seconds between two looks
_SHARE = 10  # times as long as it looks, at least, it does not look: a folder may hold a hundred thousand files
_AWAY = 2.0  # seconds between two looks for an inbox that has gone
_SHOWN = 3  # files that are named for one reason


def watch(
    inbox: str | os.PathLike[str],
    ref: str | os.PathLike[str],
    *,
    into: str | os.PathLike[str],
    mode: str = COPY,
    once: bool = False,
    settle: float = SETTLE,
    every: float = EVERY,
    exclude: str | Sequence[str] = (),
    unknown: float | None = UNKNOWN,
    min_confidence: float = 0.0,
    accept_error: float | None = None,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
    say: Say | None = None,
) -> WatchReport:
    """Sort the photos that lie in a folder, and from then on whatever arrives there, each by itself.

    Photos are sorted in batches, each an operation of the journal. What an operation that is in force has copied or
    linked already is left alone, and so is what `undo` has brought back, until the program starts again.

    inbox            the folder, searched through
    ref              NAME, NAME@VERSION or a context file, as it is when this begins
    into, mode       as in `sort`
    once             end when what lies there now is sorted; what is still being written is left for the next time
    settle           seconds for which a photo and its sidecars have to stay as they are before they are sorted
    every            seconds after which the folder is looked through even if the system tells of no change
    exclude, unknown, min_confidence, accept_error, blend, model, device   as in `classify`
    store            where names are looked up, and whose journal it is; None: the store of PROMPTCTL_HOME
    on_progress      called while the model is loaded
    say              called with sentences for whoever waits
    returns          a report; `items()` sorts, and gives every photo as soon as it is sorted
    raises           ExtraMissing where watchfiles is not installed, NoImages, BadTarget, WatchedAlready and what
                     `classify` and the journal raise
    """
    folder, mode = checks.local_path("inbox", inbox, "photos are watched for"), checks.one_of("mode", mode, MODES)
    store, once = store or Store(), checks.flag("once", once)
    settle = checks.number("settle", settle, 0.05, _LONGEST, SETTLE)
    every = checks.number("every", every, 0.1, _LONGEST, EVERY)
    taking = Taking(unknown, min_confidence, accept_error)
    from promptctl.data.exclusion import Exclusion

    exclusion = Exclusion.of(checks.texts("exclude", exclude))
    target = target_of(checks.local_target("into", into, "photos are sorted"), store)
    check_places(ref, [folder], store, "promptctl watch {photos} --prompt {context} --into FOLDER")
    if not folder.is_dir():
        there = os.path.lexists(folder)
        raise NoImages(f"{folder} is not a folder" if there else f"there is no folder {folder}", f"mkdir -p {folder}")
    if not once:
        check_library()
    source = locate(ref, store)
    context = source.load()
    answering = answering_by_context(
        context, source.name, checks.share(blend), checks.model(model), device, on_progress, taking
    )
    watcher = _Watcher(
        folder=folder,
        into=target,
        mode=mode,
        labels=tuple(context.card.labels),
        answering=answering,
        journal=Journal(store.home),
        settle=settle,
        every=every,
        once=once,
        exclusion=exclusion,
        say=say or (lambda _: None),
    )
    return WatchReport(
        context=source.name,
        inbox=folder,
        into=target,
        mode=mode,
        class_names=answering.classifier.names,
        taken=answering.taken,
        found=watcher.items(),
    )


@dataclass
class _Watcher:
    """What is watched, and what is known of it."""

    folder: Path
    into: Path
    mode: str
    labels: Sequence[str]
    answering: Answering
    journal: Journal
    settle: float
    every: float
    once: bool
    exclusion: Exclusion | None
    say: Say
    _inbox: Inbox = field(init=False)
    _done: dict[Identity, int] = field(default_factory=dict)  # a file as it was → the operation that carried it
    _brought_back: set[Identity] = field(default_factory=set)
    _named: dict[Path, str] = field(default_factory=dict)  # what stays where it is, and why, as it was told
    _state: str | None = None  # why nothing can be seen of the inbox, as it was told
    _lost: str | None = None  # why the system tells of no changes, as it was told
    _cost: float = 0.0  # seconds that the last look took
    _photos: int = 0
    _batches: int = 0

    def __post_init__(self) -> None:
        self._inbox = Inbox(self.settle, self._is_done)

    def items(self) -> Iterator[Arrived | SkippedFile]:
        """Every photo when it is sorted, and every file that stays where it is, once for each reason."""
        with self._alone(), Events(self.folder) as events:
            self._go_on()
            signals.say("nothing was sorted")
            self._greet()
            enough = math.inf  # from when on all has had the time to come to rest that there was at first
            while True:
                yield from self._look()
                if not self.once:  # afterwards: a change in between is one more look, when events are heard
                    self._follow(events)
                now = time.monotonic()
                ready = self._inbox.ready()
                enough = min(enough, now + self.settle)
                if batch := ready.batch(at_once=self.once):
                    yield from self._sort(batch)
                elif self.once and now > enough:
                    return
                else:
                    self._wait(events, ready.next_due, restless=bool(ready.arriving or ready.photos))

    def _greet(self) -> None:
        if cannot := self.answering.taken.cannot:
            self.say(f"{self.answering.context} cannot tell unknown photos: {cannot}")
        if not self.once:
            self.say(f"watching {self.folder}, Ctrl-C ends")

    # ---------------------------------------------------------------- what was before

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two that sort one folder into another would do everything twice."""
        pair = f"{os.path.realpath(self.folder)}\0{self.into}".encode(errors="surrogateescape")
        lock = self.journal.folder / f".watch-{hashlib.sha256(pair).hexdigest()[:16]}.lock"
        try:
            files.make_folder(self.journal.folder)
            with held_alone(lock) as is_held:
                if not is_held:
                    raise WatchedAlready(self.folder, self.into)
                yield
        except OSError as error:
            if error.filename is None or Path(os.fsdecode(error.filename)).parent != self.journal.folder:
                raise
            raise StorageFailed(error, "write the journal", self.journal.folder) from error

    def _go_on(self) -> None:
        """Bring what was stopped in the middle to an end, and learn what was done before."""
        for head in self.journal.heads():
            if head.kind in KINDS and not head.ended and head.about.get("into") == os.fspath(self.into):
                self._finish(head)
        before = carried_before(self.journal, self.into, self.mode, or_lay=True)
        self._done = dict.fromkeys(before, 0)

    def _finish(self, head: Head) -> None:
        try:
            operation, record = self.journal.resume(head.number)
        except OperationRuns:
            return
        with operation.carried():
            finished = finish_begun(operation, record)
        if finished:
            self.say(f"operation {head.number} had been interrupted: {number_of(finished, 'file')} brought to an end")

    def _is_done(self, identity: Identity) -> bool:
        """Whether a file that appears was copied or linked before, or moved and brought back by undo."""
        number = self._done.get(identity)
        if number is None or self.mode != MOVE:
            return number is not None
        if number not in self.journal.taken_back():  # another of the same name, size and time
            return False
        self._brought_back.add(identity)
        return True

    # ---------------------------------------------------------------- what is there

    def _follow(self, events: Events) -> None:
        events.follow()
        if events.lost != self._lost:
            self._lost = events.lost
            if self._lost:
                self.say(f"the system tells of no changes ({self._lost}): looking every {self.every:g} s")

    def _look(self) -> Iterator[SkippedFile]:
        """What lies in the inbox now, wherever a link in it leads."""
        from promptctl.data.walk import Closed, every_file

        started = time.monotonic()
        found, closed = [], []
        for one in every_file([self.folder], excluded=apart_of(self.into, self.labels), exclusion=self.exclusion):
            if isinstance(one, Closed):
                closed.append(Refused(one.path, one.reason))
            else:
                found.append(one)
        self._tell_state(found, closed)
        self._inbox.look(found if self.folder.is_dir() else [])
        self._tell_brought_back()
        self._cost = time.monotonic() - started
        yield from self._name([one for one in closed if one.path != self.folder])

    def _tell_state(self, found: Sequence[str], closed: Sequence[Refused]) -> None:
        """Say once that the inbox has gone or cannot be read, and once that it is there again."""
        own = next((one.reason for one in closed if one.path == self.folder), None)
        state = own if self.folder.is_dir() else "it has gone"
        if state != self._state:
            again = "waiting for it" if state else "going on"
            self.say(f"{self.folder}: {state or 'it is there again'}; {again}")
            self._state = state

    def _tell_brought_back(self) -> None:
        if self._brought_back:
            count = number_of(len(self._brought_back), "photo")
            self.say(f"{count} brought back by undo: left alone until watch starts again, or promptctl sort")
            self._brought_back.clear()

    def _wait(self, events: Events, next_due: float | None, *, restless: bool) -> None:
        """Until there is reason to look again."""
        least = max(_SHORTEST_LOOK, _SHARE * self._cost)
        away = self._state is not None or not (events.hears or self._lost)
        soon = self.settle / 4 if restless or self.once else _AWAY if away else self.every
        most = min(self.every, soon)
        time.sleep(least)
        if most > least:
            events.wait(min(most - least, next_due if next_due is not None else most))

    # ---------------------------------------------------------------- a batch

    def _sort(self, batch: Sequence[str]) -> Iterator[Arrived | SkippedFile]:
        """A batch as an operation of its own; what could not be sorted is tried again later."""
        operation, applied = 0, Applied()
        found, refused = self._answered(batch)
        try:
            plan = self._planned(found, refused)
            refused = list(plan.refused)
            if plan.photos:
                operation, applied = self._carried(plan)
                refused += applied.refused
        except (OSError, StorageFailed) as error:  # of the folder that is sorted into, or of the journal
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            refused = [Refused(Path(path), reason) for path in batch]
        self._remember(batch, operation, applied.photos, refused)
        yield from self._told(applied.photos, operation)
        yield from self._name(refused)

    def _answered(self, batch: Sequence[str]) -> tuple[list[tuple[Path, Shown]], list[Refused]]:
        """What photos show, and which cannot be read; what turns out to be something else is in neither."""
        from promptctl.encoding.files import Skipped

        found, refused = [], []
        for answer in self.answering.answers(batch, None):
            if not isinstance(answer, Skipped):
                assert answer.path is not None  # it came from one
                found.append((answer.path, _shown(answer)))
            elif not answer.foreign:
                refused.append(Refused(answer.path, answer.reason))
        return found, refused

    def _planned(self, found: Sequence[tuple[Path, Shown]], refused: Sequence[Refused]) -> Plan:
        context = self.answering.context
        return arrange(found, refused, into=self.into, mode=self.mode, context=context, labels=self.labels)

    def _carried(self, plan: Plan) -> tuple[int, Applied]:
        about = {"into": os.fspath(plan.into), "mode": plan.mode, "inbox": os.path.realpath(self.folder)}
        operation = self.journal.begin("watch", typed.words(), about=about)
        with operation.carried():
            return operation.number, apply_plan(plan, operation, None)

    def _remember(
        self, batch: Sequence[str], operation: int, photos: Sequence[Photo], refused: Sequence[Refused]
    ) -> None:
        """What need not be looked at again, as long as it stays as it is, and what is tried again."""
        carried = {os.fspath(photo.file.source) for photo in photos}
        stays = {os.fspath(one.path) for one in refused} - carried
        for path in batch:
            identity = self._inbox.identity(path)
            if identity is not None and identity[0] in carried:
                self._done[identity] = operation
            if path in stays or (identity is not None and identity[0] in stays):
                self._inbox.put_off([path], self.every)
            else:
                self._inbox.settle_all([path])

    def _told(self, photos: Sequence[Photo], operation: int) -> Iterator[Arrived]:
        if not photos:
            return
        self._photos += len(photos)
        self._batches += 1
        into = Counter(photo.folder for photo in photos).most_common()
        self.say(f"operation {operation}: {number_of(len(photos), 'photo')} {_DONE[self.mode]}: {counted(into)}")
        batches = f"{self._batches} batch{'' if self._batches == 1 else 'es'}"
        signals.say(
            f"{number_of(self._photos, 'photo')} {_DONE[self.mode]} in {batches}: the same command goes on, "
            "promptctl undo takes back the last batch"
        )
        for photo in photos:
            self._named.pop(photo.file.source, None)
            yield _arrived(photo, operation)

    def _name(self, refused: Sequence[Refused]) -> Iterator[SkippedFile]:
        """What stays where it is, once for each reason; not what has gone, or is being written again."""
        new = [one for one in refused if self._named.get(one.path) != one.reason and _is_to_be_named(one)]
        self._named |= {one.path: one.reason for one in new}
        for reason in dict.fromkeys(one.reason for one in new):
            paths = [str(one.path) for one in new if one.reason == reason]
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            self.say(f"warning: {', '.join(paths[:_SHOWN])}{more}: {reason}")
        yield from (SkippedFile(one.path, one.reason) for one in new)


_DONE = {"copy": "copied", "move": "moved", "link": "linked"}


def _is_to_be_named(one: Refused) -> bool:
    return not one.reason.startswith(CHANGED) and os.path.lexists(one.path)


def _shown(answer: Answer) -> Shown:
    taken = answer.unknown, answer.doubtful, answer.likeness
    return Shown(answer.label, answer.name, answer.probability, *taken, answer.sha256)


def _arrived(photo: Photo, operation: int) -> Arrived:
    shown = photo.shown
    return Arrived(
        photo.file.source,
        photo.file.target,
        shown.label,
        shown.name,
        shown.probability,
        shown.unknown,
        shown.doubtful,
        len(photo.sidecars),
        operation,
    )
