"""Remarks: what is odd about labelled photos, warned of before anything is learned from them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.data.walk import is_beside, visible_files, visible_folders
from promptctl.errors import NoImages

if TYPE_CHECKING:
    from promptctl.context.card import ClassEntry

_LOG = logging.getLogger("promptctl")
_SHOWN = 5  # of a kind
_LONGEST_NAME = 60  # letters

# names that cameras, systems and programs give by themselves, and dates
_OF_A_MACHINE = re.compile(
    r"dcim|\d{3}[a-z_\d]{2}[a-z_]{3}|\d{3}_\d{4}"
    r"|(?:img|dsc[fn]?|pxl|mvi|gopr|vid|screenshot)[-_ ]?\d+.*|camera (?:roll|uploads)"
    r"|new folder.*|neuer ordner.*|nouveau dossier.*|nueva carpeta.*|copy of .*|.* - copy"
    r"|(?:untitled|unbenannt)(?:[-_ ]?(?:folder|ordner|\d).*)?"
    r"|whatsapp images|saved pictures|recently added|unsorted|unlabell?ed|.*\.photoslibrary"
    r"|(?:photos from|fotos aus|fotos de|photos de|foto del) \d{4}"  # Google's albums of a year
    r"|(?:19|20)\d\d(?:[-_. ]?(?:0?[1-9]|1[0-2])(?:(?:[-_. ]?\d{1,2})?(?:[-_ ]\D.*)?|__|_[a-z]))?"
    r"|\d{1,2}[-_.]\d{1,2}[-_.](?:19|20)?\d\d(?:[-_ ].*)?",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBERED = re.compile(r"(\d+)([. -])\s*[^\W\d].*")

# a year and words may as well be "2012 Audi A4" or "1950 dress"
_BESIDE_THOSE = re.compile(
    r"camera|downloads?|pictures|photos|screenshots|misc|import(?:ed)?|backup|(?:19|20)\d\d[-_ ]\D.*", re.IGNORECASE
)


def say(lines: Sequence[str], shown: int = _SHOWN) -> None:
    """Warn whoever listens: the first few of a kind, and how many more there are."""
    for line in lines[:shown]:
        _LOG.warning("%s", line)
    if len(lines) > shown:
        _LOG.warning("and %d more like this", len(lines) - shown)


def not_photos(counts: Mapping[str, int]) -> str:
    """ "9 that are not photos (4 .aae, 4 .json, 1 .mov)"."""
    total = sum(counts.values())
    kinds = ", ".join(f"{count} {suffix or 'without an extension'}" for suffix, count in counts.items())
    return f"{total} that {'is not a photo' if total == 1 else 'are not photos'} ({kinds})"


def loose_photos(folder: Path, count: int) -> str:
    lie = "1 photo lies" if count == 1 else f"{count} photos lie"
    return f"{lie} directly in {folder}, in no class folder: left out"


def on_class_folders(folders: Sequence[Path]) -> list[str]:
    """What to say of class folders that lead into each other, and of those with classes inside."""
    return [*_links(folders), *filter(None, map(_classes_inside, folders))]


def _links(folders: Sequence[Path]) -> list[str]:
    real = {folder: folder.resolve() for folder in folders}
    own = {path: folder for folder, path in real.items() if not folder.is_symlink()}
    first: dict[Path, Path] = {}  # of several links to one place outside
    found = []
    for folder, path in real.items():
        if folder.is_symlink():
            other = next((own[place] for place in (path, *path.parents) if place in own), None)
            if other is None and first.setdefault(path, folder) != folder:
                found.append(f"the classes {first[path]} and {folder} are links to one folder: its photos count twice")
            if other is not None:
                where = "to" if real[other] == path else "into"
                found.append(f"the class {folder} is a link {where} the class {other}: its photos count twice")
    return found


def _classes_inside(folder: Path) -> str | None:
    try:
        inside = [one for one in visible_folders(folder) if _has_photos(one) and not is_odd(one.name)]
    except NoImages:  # it cannot be read, which the walk names
        return None
    if len(inside) < 2:
        return None
    names = _listed([one.name for one in inside])
    return f"{folder} has folders of its own ({names}): their photos all count as '{folder.name}'"


def _has_photos(folder: Path) -> bool:
    return any(not is_beside(path) for path in visible_files(folder))


def odd_labels(labels: Sequence[str]) -> list[str]:
    """What to say of class names that a camera or a calendar gave."""
    if not odd_among(labels):
        return []
    odd = [label for label in labels if is_odd(label) or _BESIDE_THOSE.fullmatch(label)]
    if len(odd) == 1:
        return [f"{_quoted(odd)} does not look like what photos show, yet its folder is a class"]
    return [f"{_quoted(odd)} do not look like what photos show, yet their folders are classes"]


def odd_among(labels: Sequence[str]) -> list[str]:
    """Those that look like a date or a camera's folder; years alone may be classes, of wine or of fashion."""
    odd = [label for label in labels if is_odd(label)]
    return [] if all(map(_YEAR.fullmatch, labels)) else odd


def is_odd(label: str) -> bool:
    """Whether a name looks like a date, or like what a camera or a system calls its folders."""
    return _OF_A_MACHINE.fullmatch(label.strip()) is not None


def one_picture_of_two_classes(images: Iterable[tuple[Path, str, str]]) -> list[str]:
    """What to say of files with the same content (path, label, sha256) under different labels."""
    of_content: dict[str, list[tuple[Path, str]]] = {}
    for path, label, sha256 in images:
        of_content.setdefault(sha256, []).append((path, label))
    return [
        "one picture is in several classes: " + ", ".join(f"{path} as '{label}'" for path, label in same)
        for same in of_content.values()
        if len({label for _, label in same}) > 1
    ]


def near_copies(pairs: Iterable[tuple[Path, Path | str]]) -> list[str]:
    """What to say of a photo that is measured on and one, or a context, that as good as knows it."""
    return [f"{path} looks nearly the same as {known}, so measuring on it says little" for path, known in pairs]


def head_of_few(labels: Sequence[str], fewest: int, without: str) -> str:
    """What to say of a head that goes to somebody who shall not have the photos' features.

    without   the options of `learn` that make no head
    """
    return (
        f"the head in this file was fitted to fewer than {fewest} photos of {_quoted(labels)}, and what it says of "
        f"them is close to those photos' features: learn with {without}, or more photos, to give away less"
    )


def numbered(names: Sequence[str]) -> list[str]:
    """What to say of class names with a number before each, such as '001.Black footed Albatross'."""
    found = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    is_list = any(match[1].startswith("0") for match in found) or all(match[2] == "." for match in found)
    if len(names) < 2 or len(found) < len(names) or not is_list:  # "5 euro" is a number that counts
        return []
    return [
        f"every class has a number before its name ({_quoted(names[:2])} …), and the prompt contains it: "
        "--classes names.csv (folder,name) gives names without it"
    ]


def named_otherwise(names: Mapping[str, str], known: Sequence[ClassEntry]) -> list[str]:
    """Of known classes that a list calls something else, which an update does not change."""
    return [
        f"the prompt goes on to call '{entry.label}' '{entry.name}', not '{names[entry.label]}': "
        "promptctl class rename changes that"
        for entry in known
        if names.get(entry.label, entry.name) != entry.name
    ]


def wordless(names: Sequence[str]) -> list[str]:
    """What to say of names that no prompt can say."""
    if not names:
        return []
    verb = "says" if len(names) == 1 else "say"
    return [
        f"{_quoted(names)} {verb} little to the text tower: --classes names.csv (folder,name) gives readable names, "
        "and zero-shot words to go by"
    ]


def little_room(name: str, count: int, usual: int) -> str:
    """What to say of a model whose prompts are too short for as many context vectors as usual."""
    vectors = "1 context vector fits" if count == 1 else f"{count} context vectors fit"
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} …"
    return f"{vectors} beside '{shown}' in a prompt of this model, so as many are learned and not {usual}"


def _quoted(names: Sequence[str]) -> str:
    return _listed([f"'{name}'" for name in names])


def _listed(names: Sequence[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
