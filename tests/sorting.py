"""Files that are called photos, what they were found to show, and a tree as it is: for the tests of sort."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Snapshot = Mapping[str, tuple[int, int, str]]  # path → size, mtime_ns, sha256 or where a link leads


def snapshot(*roots: Path) -> Snapshot:
    """Everything under some folders; a folder counts by its name alone."""
    found = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            status = path.lstat()
            if path.is_symlink():
                found[str(path)] = (0, 0, str(path.readlink()))
            elif path.is_dir():
                found[str(path)] = (0, 0, "folder")
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path)] = (status.st_size, status.st_mtime_ns, digest)
    return found


def contents(*roots: Path) -> list[str]:
    """The multiset of what is in files, links and folders apart."""
    files = [path for root in roots for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def write_photos(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files of a few bytes, each of its own."""
    made = []
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"photo {i} {name!a}".encode())
        os.utime(path, ns=(1_600_000_000_000_000_000 + i, 1_600_000_000_123_456_789 + i))
        made.append(path)
    return made


def results_of(file: Path, photos: Iterable[Path], show: Callable[[int], Mapping[str, object]] | None = None) -> Path:
    """What `classify --format jsonl` would have printed; by default emu and ibis in turn."""
    lines = []
    for i, photo in enumerate(photos):
        label = ("emu", "ibis")[i % 2]
        line = {"path": str(photo), "label": label, "name": label, "probability": 0.9, "top": [], "type": "result"}
        lines.append(json.dumps({**line, **(show(i) if show else {})}))
    file.write_text("".join(line + "\n" for line in lines))
    return file
