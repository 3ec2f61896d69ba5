"""What was meant when photos were typed in place of a context, or a context in place of photos."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.commands.sources import as_text, is_file_reference, locate
from promptctl.errors import InvalidName, NoImages, NotAContext, NotInStore, WrongOption
from promptctl.remote import is_remote, path_of
from promptctl.store.refs import check_name
from promptctl.store.store import SUFFIX, Store


@dataclass(frozen=True)
class ExportKind:
    """What `export` writes, and what such a file is called."""

    what: str
    suffix: re.Pattern[str]
    usual: str
    ends: str  # in words


EXPORTS = {
    "context": ExportKind("a context file", re.compile(re.escape(SUFFIX)), SUFFIX, SUFFIX),
    "coop": ExportKind(  # the original's own is model.pth.tar-50
        "a checkpoint of the original code",
        re.compile(r"\.pth|\.pt|\.tar|\.(pth|tar)-\w+"),
        ".pth.tar",
        ".pth.tar or .pth",
    ),
    "head": ExportKind("a head", re.compile(re.escape(SUFFIX)), SUFFIX, SUFFIX),
    "onnx": ExportKind("an ONNX model", re.compile(r"\.onnx"), ".onnx", ".onnx"),
}


def check_places(context: str | os.PathLike[str], photos: Sequence[Path], store: Store | None, command: str) -> None:
    """Refuse arguments that changed places, and a context that stands for photos.

    command   with {context} and {photos}, for the hint
    raises    NotAContext, NoImages
    """
    context = as_text(context)
    is_wrong = _is_no_context(context, store)
    for path in photos:
        if is_wrong and is_context(str(path), store):
            raise NotAContext(context, f"did you mean: {_filled(command, str(path), context)}")
        if not _is_there(path) and is_context(str(path), store):
            named = context if is_context(context, store) else str(path)
            raise NoImages(f"there is no folder {path}, only a context", _filled(command, named, "FOLDER"))


def told_apart(first: str, others: Sequence[str], store: Store | None) -> tuple[list[str], list[Path]]:
    """The contexts and the folders or lists of photos among arguments, of which the first is a context.

    What exists as a folder or a file is photos, unless it is a context file; all else is a context. Of two arguments
    the second is photos.

    raises   NoImages where one is neither, or where there are only contexts
    """
    if len(others) == 1:
        return [first], [path_of(others[0])]
    contexts, photos = [first], []
    for word in others:
        path = path_of(word)
        if _is_there(path) and (path.suffix.lower() != SUFFIX or path.is_dir()):
            photos.append(path)
        elif is_context(word, store):
            contexts.append(word)
        else:
            raise NoImages(f"there is no folder and no context {word}", f"ls {shlex.quote(str(path.parent))}")
    if not photos:
        command = " ".join(map(shlex.quote, contexts))
        raise NoImages(f"{contexts[-1]} is a context, and no folder is named", f"promptctl evaluate {command} FOLDER")
    return contexts, photos


def check_learn_places(photos: Path, name: str, store: Store | None) -> None:
    """The same of `learn`, whose name is a new one."""
    if _is_there(photos):
        return
    if Path(name).is_dir() and _is_name(str(photos)):
        meant = f"promptctl learn {shlex.quote(name)} --name {photos}"
        raise NoImages(f"there is no folder {photos}", f"did you mean: {meant}")
    if is_context(str(photos), store):
        hint = f"promptctl learn FOLDER --name {photos} --fresh"
        raise NoImages(f"there is no folder {photos}, only a context", hint)


def check_export_name(context: str | os.PathLike[str], out: Path, store: Store | None, kind: str) -> None:
    """A file ends so that it is known for what it is, or has no suffix.

    kind     of EXPORTS
    raises   NotAContext where the two changed places, WrongOption
    """
    text = as_text(context)
    if is_context(str(out), store) and not is_context(text, store):
        raise NotAContext(text, f"did you mean: promptctl export {out} {shlex.quote(text)}")
    suffix, export = out.suffix.lower(), EXPORTS[kind]
    if not suffix or export.suffix.fullmatch(suffix):
        return
    meant = _kind_of(suffix, kind)
    file = out if meant != kind else out.with_suffix(export.usual)
    as_kind = "" if meant == "context" else f" --as {meant}"
    hint = f"promptctl export {shlex.quote(text)} {shlex.quote(str(file))}{as_kind}"
    if kind == "coop" and suffix == SUFFIX:
        raise WrongOption(f"{out} would be taken for a context file", hint)
    raise WrongOption(f"{export.what} ends in {export.ends}, {out} does not", hint)


def _kind_of(suffix: str, asked: str) -> str:
    """What a file with a foreign suffix was probably meant to be, when a context file was asked for by default."""
    known = (kind for kind in ("coop", "onnx") if EXPORTS[kind].suffix.match(suffix))
    return next(known, asked) if asked == "context" else asked


def _filled(command: str, context: str, photos: str) -> str:
    return command.format(context=shlex.quote(context), photos=shlex.quote(photos))


def _is_no_context(text: str, store: Store | None) -> bool:
    """Something is there, and it is no context."""
    path = Path(text)
    return _is_there(path) and path.suffix.lower() != SUFFIX and not is_context(text, store)


def is_context(text: str, store: Store | None) -> bool:
    """Whether a context is called so: one that is stored, or a file."""
    if is_file_reference(text):
        return text.lower().endswith(SUFFIX) and Path(text).is_file()
    try:
        locate(text, store)
    except (InvalidName, NotInStore):
        return False
    return True


def _is_there(path: Path) -> bool:
    # nothing that is called like a URL is a context: it is not asked for
    return is_remote(path) or path.exists() or path.is_symlink()


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except InvalidName:
        return False
    return True
