"""Review: photos on a page of this machine, the least certain first, and what a person says of each kept at once."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.answers import UNKNOWN
from promptctl.commands.classify import classify
from promptctl.commands.sources import is_file_reference
from promptctl.commands.suggest import suggest
from promptctl.commands.writing import check_free, refuse_inside_store
from promptctl.errors import ExportFailed, Interrupted, reason_of
from promptctl.progress import OnProgress
from promptctl.report import Candidate, Classified, ReviewReport, SkippedFile
from promptctl.report.phrases import number_of
from promptctl.store.refs import Ref
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.review.session import Question, Session

Say = Callable[[str], object]

OUTPUT = "review.jsonl"
_LIKELY = 9  # classes of a photo that have a key of their own
_LEADS_OUT = "a link that leads out of what is reviewed"


def review(
    photos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    prompt: str | os.PathLike[str],
    output: str | os.PathLike[str] = OUTPUT,
    exclude: str | Sequence[str] = (),
    unknown: float | None = UNKNOWN,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> Review:
    """What a person is to be asked about, and a page to ask on.

    photos        files and folders, searched through; links that lead out of them are passed over
    prompt        NAME, NAME@VERSION or a context file
    output        a file of decisions to go on with, or a new one
    exclude, unknown, model, device, store   as in `classify`
    on_progress   called with what is being done, how much is done, and of how much
    returns       `serve()` shows the page
    raises        ExtraMissing where starlette or uvicorn is not installed, NotResults where `output` is another file,
                  ExportFailed where there can be none, and what `suggest` raises
    """
    from promptctl.review import server

    inputs = checks.local_paths("photos", photos, "a page shows photos that are")
    path = checks.local_target("output", output, "answers are kept in a file")
    server.check_library()
    _check_output(path, store or Store())  # before photos are encoded
    using = {"model": model, "device": device, "store": store, "on_progress": on_progress}
    found = suggest(inputs, prompt=prompt, exclude=exclude, unknown=unknown, **using)  # type: ignore[arg-type]
    asked, outside = _within(found.candidates, inputs)
    likely = _likely([one.file for one in asked], prompt, using)
    return Review(
        context=found.context,
        output=path,
        names=dict(zip(found.class_labels, found.class_names, strict=True)),
        questions=tuple(_question(one, likely.get(one.file, ())) for one in asked),
        skipped=(*found.skipped, *outside),
    )


def _check_output(path: Path, store: Store) -> None:
    """NotResults or ExportFailed now, where answers could not be kept when the page begins."""
    from promptctl.review import decisions

    if not os.path.lexists(path):
        check_free(path, force=False)
        refuse_inside_store(path, store)
        return
    try:
        decisions.check(path)
    except OSError as error:
        raise ExportFailed(path, reason_of(error), "give another --output") from error


def _within(candidates: Sequence[Candidate], inputs: Sequence[Path]) -> tuple[list[Candidate], tuple[SkippedFile, ...]]:
    """Those that lie in what was given, and the files that a link leads to from there."""
    from promptctl.encoding.files import UnreadableImage

    roots = [Path(os.path.realpath(one)) for one in inputs]
    asked: list[Candidate] = []
    outside: list[SkippedFile] = []
    for candidate in candidates:
        alike = (candidate.file, *candidate.copies)
        inside = [file for file in alike if any(Path(os.path.realpath(file)).is_relative_to(root) for root in roots)]
        outside += [SkippedFile(Path(file), _LEADS_OUT) for file in alike if file not in inside]
        try:
            asked += [_of_files(candidate, *inside)] if inside else []
        except UnreadableImage as error:  # it has gone meanwhile
            outside.append(SkippedFile(Path(inside[0]), str(error)))
    return asked, tuple(outside)


def _of_files(candidate: Candidate, file: str, *copies: str) -> Candidate:
    """The same where only some of its files are left, the first of which is asked about."""
    from promptctl.encoding.decode import hash_image

    sha256 = candidate.sha256 if file == candidate.file else hash_image(Path(file))
    return replace(candidate, file=file, sha256=sha256, copies=copies)


def _likely(
    files: Sequence[str], prompt: str | os.PathLike[str], using: Mapping[str, object]
) -> dict[str, tuple[tuple[str, float], ...]]:
    """The classes that photos most probably show, by their paths; features are in the cache by now."""
    if not files:
        return {}
    report = classify(files, prompt, top=_LIKELY, unknown=None, **using)  # type: ignore[arg-type]
    shown = (item for item in report.items() if isinstance(item, Classified))
    return {str(item.path): tuple((guess.label, guess.probability) for guess in item.top) for item in shown}


def _question(candidate: Candidate, likely: tuple[tuple[str, float], ...]) -> Question:
    from promptctl.review.session import Question

    return Question(
        file=Path(candidate.file),
        place=Path(os.path.realpath(candidate.file)),
        sha256=candidate.sha256,
        label=candidate.label,
        name=candidate.name,
        probability=candidate.probability,
        unknown=candidate.unknown,
        likely=likely,
        copies=candidate.copies,
    )


@dataclass(frozen=True, eq=False)
class Review:
    """Photos to ask about, and where the answers go."""

    context: str
    output: Path
    names: Mapping[str, str]  # of classes, by their labels
    questions: tuple[Question, ...]
    skipped: tuple[SkippedFile, ...]

    def serve(self, *, port: int = 0, opens: bool = True, say: Say | None = None) -> ReviewReport:
        """Show the page until Ctrl-C, and say what was decided.

        port     of 127.0.0.1; 0: one that is free
        opens    the page in a browser, where there is a screen
        say      called with sentences for whoever waits: the address of the page
        raises   WrongOption for a port that is taken, FileInUse where another review is at the file, NotResults,
                 OSError
        """
        from promptctl.review.decisions import opened
        from promptctl.review.server import serving
        from promptctl.review.session import Session

        port = checks.whole("port", port, 0, 65535, 8123)
        if not self.questions:
            return self._report(None)
        with opened(self.output) as log:
            session = Session(self.context, self.names, self.questions, log)
            commands = {"learn": self._learn, "relabel": self._relabel}
            about = {"output": str(self.output), "commands": commands}
            # an interruption is how it ends
            with serving(session, about, port=port) as server, suppress(Interrupted, KeyboardInterrupt):
                (say or _nothing)(f"{_left(session)}, Ctrl-C ends:")
                (say or _nothing)(server.url)
                if opens:
                    _open(server.url)
                server.wait()
            return self._report(session)

    def _report(self, session: Session | None) -> ReviewReport:
        from promptctl.data.readers.decisions import KINDS, UNDO

        progress = session.progress() if session else None
        by_kind = dict(progress.by_kind) if progress else {kind: 0 for kind in KINDS if kind != UNDO}
        taught = by_kind["accept"] + by_kind["change"]
        return ReviewReport(
            context=self.context,
            output=self.output,
            photos=len(self.questions),
            decided=progress.decided if progress else 0,
            decisions=by_kind,
            next=(self._learn,) * bool(taught),
            skipped=self.skipped,
        )

    @property
    def _name(self) -> str:
        return "NAME" if is_file_reference(self.context) else Ref.parse(self.context).name

    @property
    def _learn(self) -> str:
        return f"promptctl learn {shlex.quote(str(self.output))} --name {self._name}"

    @property
    def _relabel(self) -> str:
        return f"promptctl relabel {self._name} {shlex.quote(str(self.output))}"


def _left(session: Session) -> str:
    progress = session.progress()
    total = number_of(progress.total, "photo")
    left = progress.total - progress.decided
    return f"{left:,} of {total} left to look at" if progress.decided else f"{total} to look at"


def _nothing(_: str) -> None:
    pass


def _open(url: str) -> None:
    """The page in a browser, if there is a screen; a browser in the terminal would take it over."""
    import webbrowser

    has_screen = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen:  # some browsers return only when they are closed
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
