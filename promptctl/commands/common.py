"""What several walks share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl.context.card import BackboneId
from promptctl.errors import (
    InvalidName,
    reason_of,
)
from promptctl.report import (
    StoredContext,
)
from promptctl.store.refs import Ref
from promptctl.store.store import SUFFIX, Entry, Store

if TYPE_CHECKING:
    from promptctl.context.context import Context

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from promptctl import __version__, checks, signals
from promptctl.errors import NoImages

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import LabelledImage
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Features

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptctl.context.card import ClassEntry, check_fits, context_file
from promptctl.errors import (
    BackboneMismatch,
    ContextNotFound,
    DatasetError,
    ExportFailed,
    LibraryMissing,
    NotAContext,
)
from promptctl.report import SkippedFile
from promptctl.store import files

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.kept import KeptBackbone
    from promptctl.clip.text_tower import TextTower
    from promptctl.clip.vocabulary import Vocabulary
    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import LabelledImage
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped

OnProgress = Callable[[str, int, int], None]  # stage, done, total


def to_learn_from(folder: ImageFolder) -> tuple[LabelledImage, ...]:
    images = folder.only("train", None) if folder.splits else folder.images
    if not images:
        raise NoImages(
            f"{folder.root} has no images to learn from, only {' and '.join(sorted(folder.splits))}",
            f"class folders to learn from go inside {folder.root / 'train'}, or give another folder",
        )
    if folder.twins:
        one, other = (str(path) for path in folder.twins[0])
        raise DatasetError(f"{one!a} and {other!a} are the same name to a reader", "put them in one folder")
    if len(written := _listed_twice(images)) > 1:
        one, other = written
        raise DatasetError(f"{folder.root} writes one class in two ways, '{one}' and '{other}'", "write it in one way")
    return images


def _listed_twice(images: Sequence[LabelledImage]) -> tuple[str, ...]:
    """Two labels of a list that differ in nothing a prompt says: in a list that is a slip, folders may mean it."""
    from promptctl.data.names import prompt_form

    first: dict[str, str] = {}
    for label in sorted({image.label for image in images if image.listed}):
        if (other := first.setdefault(prompt_form(label), label)) != label:
            return other, label
    return ()


def class_entries(labels: Sequence[str], names_file: Path | None) -> tuple[ClassEntry, ...]:
    """The classes in the order of their labels, named by a file or after their folders; odd ones are warned of."""
    from promptctl.data import remarks
    from promptctl.data.names import check_names, readable
    from promptctl.data.readers.class_names import read_names

    names: Mapping[str, str] = read_names(names_file, labels) if names_file else {}
    entries = tuple(ClassEntry(i, label, names.get(label, readable(label))) for i, label in enumerate(labels))
    check_names(entries)
    check_fits(entries)
    remarks.say(remarks.odd_labels([label for label in labels if label not in names]))
    remarks.say(remarks.numbered([entry.name for entry in entries]))
    return entries


def check_name_tokens(entries: Sequence[ClassEntry], tower: TextTower) -> None:
    """DatasetError for names that are the same to the tower; those it cannot read are warned of."""
    from promptctl.data import remarks
    from promptctl.data.names import check_tokens, unread

    check_tokens(entries, tower)
    odd = remarks.odd_among([entry.name for entry in entries])
    remarks.say(remarks.wordless([name for name in unread(entries, tower) if name not in odd]))


def labelled_as_learned(folder: ImageFolder, entries: Sequence[ClassEntry], tower: TextTower) -> ImageFolder:
    """The folder with the photos to measure on labelled as the class they mean: 'Red kite' in test/ is 'red_kite'."""
    from promptctl.data.names import meant_by

    labels = [entry.label for entry in entries]
    unknown = sorted(set(folder.labels) - set(labels))
    meant = meant_by(unknown, entries, tower) if unknown else {}
    images = (
        replace(image, label=labels[meant[image.label]]) if image.label in meant else image for image in folder.images
    )
    return replace(folder, images=tuple(images))


@dataclass(frozen=True)
class Source:
    """A context file, and what to call it."""

    name: str  # birds@3, or the path as it was given
    path: Path

    def load(self) -> Context:
        from promptctl.context.context import Context

        return Context.load(self.path)


def locate(ref: str | os.PathLike[str], store: Store | None) -> Source:
    """What NAME, NAME@VERSION or the path of a context file means; a PathLike is always a path.

    raises   InvalidName, ContextNotFound, VersionNotFound, NoSuchFile, NotAFile, NotAContext
    """
    text = as_text(ref)
    if is_file_reference(text):
        path = Path(os.path.expanduser(text))  # noqa: PTH111  which lets be what it cannot expand
        if path.is_dir():
            raise NotAContext(text)
        return Source(text, context_file(path))
    try:
        entry = (store or Store()).find(Ref.parse(text))
    except (InvalidName, ContextNotFound) as error:
        if Path(text).is_file():
            error.hint = f"did you mean the file {shlex.quote(f'./{text}')}?"
        elif Path(text).is_dir() and isinstance(error, ContextNotFound):
            error.hint = f"{error.hint}   ({text} is a folder here, and a context was expected)"
        raise
    return Source(str(entry.ref), entry.path)


def as_text(ref: str | os.PathLike[str]) -> str:
    """A reference as a person types it: a path is one that `is_file_reference` knows for one."""
    if isinstance(ref, str):
        return ref
    text = str(checks.path("context", ref))
    return text if is_file_reference(text) else os.path.join(os.curdir, text)  # noqa: PTH118  which Path takes away


def is_file_reference(text: str) -> bool:
    """Names hold neither slashes nor dots."""
    return "/" in text or os.sep in text or text.lower().endswith(SUFFIX)


def load_backbone_for(context: Context, name: str, model: str | None, device: str) -> Backbone:
    """The backbone a context was learned on, told by fingerprint; `model` may say where else to find it.

    The name in the context is somebody else's word: only a model that a person typed is fetched.
    """
    expected = context.card.backbone
    named, fetch = model or expected.name, bool(model)
    with library_needed(named):
        from promptctl.clip.registry import ensure_available

        ensure_available(named, fetch=fetch)
        from promptctl.clip.backbone import Backbone

    backbone = Backbone(named, device, fetch=fetch)
    if not _is_same(backbone.id, expected):
        raise BackboneMismatch(name, _id_line(expected), _id_line(backbone.id))
    return backbone


def _is_same(found: BackboneId, expected: BackboneId) -> bool:
    """Whatever they are called."""
    return replace(found, name=expected.name) == expected


@contextmanager
def library_needed(model: str) -> Iterator[None]:
    """BackboneError for a backbone that cannot be loaded because PyTorch or open_clip is not installed."""
    try:
        yield
    except ImportError as error:
        raise LibraryMissing(model, (error.name or "torch").partition(".")[0]) from error


def load_encoder_for(context: Context, name: str, model: str | None, device: str) -> ImageEncoder:
    """The image side of the backbone a context was learned on, without PyTorch where that can be.

    raises   as `load_backbone_for`
    """
    from promptctl.clip import device as devices

    def otherwise() -> ImageEncoder:
        return _load_and_keep(context, name, model, device).encoder

    kept = _kept_for(context, model) if devices.is_cpu(device) else None
    return (kept and kept.encoder(otherwise)) or otherwise()


def load_vocabulary_for(context: Context, name: str, model: str | None, device: str) -> Vocabulary:
    """The vocabulary of the backbone a context was learned on, as in `load_encoder_for`."""
    kept = _kept_for(context, model) if device in ("auto", "cpu") else None
    return kept.vocabulary() if kept else _load_and_keep(context, name, model, device).vocabulary


def _kept_for(context: Context, model: str | None) -> KeptBackbone | None:
    """What is kept of the backbone of a context, if a model that a person typed is that one."""
    from promptctl.clip import kept, registry

    found = kept.find(context.card.backbone.fingerprint)
    if found is None or not _is_same(found.id, context.card.backbone):
        return None
    if model and registry.parse(model) != found.id.name:
        with library_needed(model):
            registry.ensure_available(model)
            here = registry.locate(model, fetch=False)
        return found if here.place == found.place else None
    return found


def _load_and_keep(context: Context, name: str, model: str | None, device: str) -> Backbone:
    """The backbone, and where this command had to wait for PyTorch, what spares the next one that."""
    has_waited = "torch" not in sys.modules
    backbone = load_backbone_for(context, name, model, device)
    if has_waited:
        from promptctl.clip.keeping import keep

        keep(backbone)
    return backbone


def _id_line(backbone: BackboneId) -> str:
    return f"{backbone.name} {backbone.fingerprint[:12]}"


def check_free(out: Path, force: bool) -> None:
    """ExportFailed now, rather than when there is something to write; a link stands for what it leads to."""
    if out.is_dir():
        raise ExportFailed(out, "it is a folder", "name a file in it")
    if out.exists() and not out.is_file():  # a device, a pipe
        raise ExportFailed(out, "it exists and is not a file", "name another")
    if not out.parent.is_dir():
        raise ExportFailed(out, f"there is no folder {out.parent}", f"mkdir -p {shlex.quote(str(out.parent))}")
    if not force and (out.exists() or out.is_symlink()):
        raise ExportFailed(out, "it already exists", "--force replaces it")
    try:
        with files.finished_file(out.parent, b""):
            pass
    except OSError as error:
        raise ExportFailed(out, reason_of(error), "name another folder") from error


def place_file(out: Path, data: bytes, force: bool) -> None:
    """Write a file whole or not at all, where `check_free` let it be."""
    try:
        with signals.step():
            files.write_atomic(out, data, replace=force)
    except OSError as error:
        raise ExportFailed(out, reason_of(error)) from error


def skipped_files(skipped: Sequence[Skipped]) -> tuple[SkippedFile, ...]:
    """What could not be used, without what was no photo at all."""
    return tuple(SkippedFile(item.path, item.reason) for item in skipped if not item.foreign)


def passed_over(skipped: Sequence[Skipped]) -> dict[str, int]:
    """How many files were no photos at all, by the end of their names."""
    from promptctl.data import images

    return images.passed_over(skipped)


def without_named(skipped: Iterable[Skipped], named: Iterable[Path]) -> tuple[Skipped, ...]:
    """What was passed over, and as a failure what a person, or a list, names to be a photo."""
    meant = set(named)
    return tuple(replace(item, foreign=False) if item.path in meant else item for item in skipped)


def encode_photos(
    paths: Sequence[Path], encoder: ImageEncoder, on_progress: OnProgress | None
) -> tuple[Features, tuple[Skipped, ...]]:
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import encode

    with FeatureCache() as cache:
        return encode(paths, encoder, cache, partial(on_progress, "encoding") if on_progress else None)


def chosen_share(
    asked: float | None,
    context: Context,
    name: str,
    model: str | None,
    device: str,
    on_progress: OnProgress | None,
) -> float:
    """The share that was asked for, or the one folds choose: once per version, which never changes."""
    if asked is not None:
        return asked
    from promptctl.benchmark.results import Results
    from promptctl.classification.blend import CHOOSER, SHARES, share_by_folds

    facts = {"context": context.card.sha256, "chooser": CHOOSER, "by": __version__}
    with Results() as results:
        known = results.get("share", facts)
        if known is not None and known[0] in SHARES:
            return known[0]
        on_fold = partial(on_progress, "blending") if on_progress else None
        tower = load_backbone_for(context, name, model, device).tower
        share = share_by_folds(context, name, tower, on_fold)
        results.put("share", facts, (share,))
    return share


def whole_name(text: str, command: str) -> str:
    ref = Ref.parse(text)
    if ref.version:
        raise InvalidName(text, f"{command} takes a name with all its versions", suggestion=ref.name)
    return ref.name


def stored_context(entry: Entry) -> StoredContext:
    return StoredContext(
        name=entry.ref.name,
        backbone=entry.card.backbone.name if entry.card else None,
        changed=changed_at(entry),
        **stored_facts(entry),
    )


def stored_facts(entry: Entry) -> dict[str, Any]:
    """What a line of `list` and one of `log` both say of a version."""
    card = entry.card
    score = card.score if card else None
    return {
        "version": entry.ref.version or 0,
        "classes": len(card.classes) if card else None,
        "shots": str(card.shots.asked or "all") if card and not card.is_imported else None,
        "accuracy": score.accuracy if score else None,
        "zero_shot_accuracy": score.zero_shot_accuracy if score else None,
        "n_bytes": entry.n_bytes,
        "fault": entry.fault,
    }


def changed_at(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.mtime_ns / 1e9, timezone.utc).isoformat(timespec="seconds")
