"""Walk: which files lie under a folder, and which of them could be photos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.encoding.formats import is_image_name
from promptctl.errors import NoImages, reason_of
from promptctl.remote import RemotePath, how_to_look, is_remote, list_whole, look, path_of

if TYPE_CHECKING:
    from promptctl.data.exclusion import Exclusion

# what systems, servers and photo programs put among photos: never a photo, never a class, at any depth
_CLUTTER = frozenset(
    {
        "@eadir", "@recycle", "@recently-snapshot", "@synoeastream", "@tmp", "#recycle", "#snapshot",
        "$recycle.bin", "$extend", "system volume information", "lost+found", "found.000", "__macosx", "__pycache__",
        "network trash folder", "temporary items", "thevolumesettingsfolder",
        "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    }
)  # fmt: skip

# what lies beside photos and is none, by the end of its name; it is passed over without being read
_BESIDE = frozenset(
    {
        # about a photo, from cameras, phones and photo programs
        ".aae", ".xmp", ".json", ".thm", ".dop", ".pp3", ".cos", ".nksc", ".on1", ".ini", ".db", ".dat", ".xml",
        ".lrcat", ".lrdata", ".lrprev", ".lrv", ".modd", ".moff", ".ctg", ".picasa", ".sqlite", ".plist",
        # films and sound
        ".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".3g2", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv",
        ".flv", ".ogv", ".vob", ".insv", ".srt", ".vtt", ".wav", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".flac",
        ".wma", ".amr", ".mid",
        # writing, tables, pages, archives, programs
        ".txt", ".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".pages", ".xls", ".xlsx", ".ods", ".numbers",
        ".ppt", ".pptx", ".odp", ".key", ".csv", ".tsv", ".jsonl", ".yaml", ".yml", ".toml", ".log", ".htm", ".html",
        ".css", ".js", ".py", ".ipynb", ".sh", ".bat", ".exe", ".dll", ".url", ".lnk", ".webloc", ".zip", ".rar",
        ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".iso", ".dmg", ".apk", ".gpx", ".kml", ".kmz", ".ics", ".vcf",
        ".eml", ".msg", ".npy", ".npz", ".pt", ".pth", ".pkl", ".parquet", ".safetensors",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Tree:
    """What a walk found: files in sorted order, depth first, and the folders it could not enter, with why."""

    files: tuple[Path, ...]
    closed: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Closed:
    """A folder that could not be entered, and why."""

    path: Path
    reason: str


def every_file(
    roots: Sequence[str | Path], *, excluded: Iterable[Path] = (), exclusion: Exclusion | None = None
) -> Iterator[str | Closed]:
    """Every visible file under the roots, once, as it is found; a root that is a file is taken as it is.

    Real folders are told by device and inode, so links that lead back are followed once.

    excluded    folders that are not entered from here, wherever a link leads, unless they are roots
    exclusion   of files and folders below a root, and of roots that are files, as they are written
    returns paths as text, because a hundred thousand of them are many, and the folders that stayed closed; of a folder
            elsewhere, which is listed before anything comes, there are remote.MOST_LISTED at most
    """
    with look():
        yield from _every_file(roots, excluded, exclusion)


def _every_file(
    roots: Sequence[str | Path], excluded: Iterable[Path], exclusion: Exclusion | None
) -> Iterator[str | Closed]:
    seen: set[str] = set()
    entered = {identity for folder in excluded if (identity := _identity(folder))}
    entered -= {identity for root in roots if (identity := _identity(root))} if entered else set()
    waiting = list(_placed(roots, exclusion))[::-1]
    while waiting:  # no recursion: a tree may be deeper than Python's stack
        path, is_folder, start = waiting.pop()
        if not is_folder:
            if path not in seen:
                seen.add(path)
                yield path
            continue
        try:
            identity = _enter(path)
            if identity not in entered:
                list_whole(path_of(path))
                entered.add(identity)
                inside = ((one, is_one, start) for one, is_one in _visible(path))
                waiting += [one for one in inside if not _covered(exclusion, *one)][::-1]
        except OSError as error:  # no permission, or a path longer than the system takes
            yield Closed(path_of(path), reason_of(error))


def _placed(roots: Iterable[str | Path], exclusion: Exclusion | None) -> Iterator[tuple[str, bool, int]]:
    """(path, whether it is a folder, where the part of a path below it starts) of the roots that are looked at."""
    for root in (os.fspath(one) for one in roots):
        # of files elsewhere that are listed one by one each question would be a request
        is_folder = not (is_remote(root) and is_image_name(path_of(root))) and _is_folder(root)
        if is_folder or not _covered(exclusion, os.path.normpath(root).lstrip(os.sep), False, 0):
            yield root, is_folder, len(os.path.join(root, ""))  # noqa: PTH118


def _covered(exclusion: Exclusion | None, path: str, is_folder: bool, start: int) -> bool:
    return exclusion is not None and exclusion.covers(path[start:], is_folder)


def walk(roots: Sequence[Path], *, excluded: Iterable[Path] = ()) -> Tree:
    """What `every_file` finds, all of it."""
    found = list(every_file(roots, excluded=excluded))
    closed = tuple((one.path, one.reason) for one in found if isinstance(one, Closed))
    return Tree(tuple(path_of(one) for one in found if not isinstance(one, Closed)), closed)


def list_all(folder: Path) -> None:
    """Within a look: what lies below a folder elsewhere, which is then asked for once; NoImages where it cannot be."""
    try:
        list_whole(folder)
    except OSError as error:
        raise NoImages(f"{folder} cannot be read: {reason_of(error)}", how_to_look(folder)) from error


def visible_folders(folder: Path) -> list[Path]:
    """The sub-folders of a folder, sorted, without what systems keep there; NoImages when it cannot be read."""
    return [path_of(path) for path, is_folder in _listed(folder) if is_folder]


def visible_files(folder: Path) -> list[Path]:
    """The files directly in a folder, sorted, without what systems keep there; NoImages when it cannot be read."""
    return [path_of(path) for path, is_folder in _listed(folder) if not is_folder]


def is_beside(path: str | Path) -> bool:
    """Whether a file is called like what lies beside photos: a sidecar, a film, a note."""
    return suffix_of(path) in _BESIDE


def suffix_of(path: str | Path) -> str:
    """The end of a name in small letters, ".jpg"; empty where there is none."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122  a Path costs its length
    return "" if suffix == "." else suffix


def by_suffix(paths: Iterable[str | Path]) -> dict[str, int]:
    """How many files end how, most first."""
    counts = Counter(map(suffix_of, paths))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _listed(folder: Path) -> list[tuple[str, bool]]:
    try:
        _enter(os.fspath(folder))
        return _visible(os.fspath(folder))
    except OSError as error:
        hint = how_to_look(folder) if is_remote(folder) else f"ls -ld {folder}"
        raise NoImages(f"{folder} cannot be read: {reason_of(error)}", hint) from error


def _visible(folder: str) -> list[tuple[str, bool]]:
    if isinstance(elsewhere := path_of(folder), RemotePath):
        shown = [one for one in elsewhere.listed() if not is_clutter(one[0])]
        return list(zip(elsewhere.addresses(name for name, _ in shown), (one for _, one in shown), strict=True))
    with os.scandir(folder) as entries:
        names = sorted((entry.name, _is_folder(entry)) for entry in entries if not is_clutter(entry.name))
    return [(os.path.join(folder, name), is_folder) for name, is_folder in names]  # noqa: PTH118  a Path costs its length


def is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _is_folder(entry: os.DirEntry[str] | str) -> bool:
    try:
        if isinstance(entry, str) and is_remote(entry):
            return path_of(entry).is_dir()
        return os.path.isdir(entry) if isinstance(entry, str) else entry.is_dir()  # noqa: PTH112  a Path costs its length
    except OSError:  # whoever opens it will say why
        return False


def _identity(folder: str | Path) -> tuple[int, int] | str | None:
    try:
        return _enter(os.fspath(folder))
    except OSError:
        return None


def _enter(folder: str) -> tuple[int, int] | str:
    """Which real folder this is; OSError unless what is in it can be reached."""
    if is_remote(folder):
        return folder  # there are no links
    found = os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118
    return found.st_dev, found.st_ino
