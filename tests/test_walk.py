from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promptctl.data import walk as walking
from promptctl.data.walk import Tree, by_suffix, is_beside, visible_folders, walk
from promptctl.errors import NoImages

CLUTTER = ["@eaDir", "@EADIR", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", ".thumbnails", "lost+found", "__MACOSX"]
CLUTTER += [
    ".Trash-1000",
    ".Trashes",
    "System Volume Information",
    ".picasaoriginals",
    "@Recycle",
    "._emu",
    "#snapshot",
]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@contextmanager
def deep(root: Path, folders: int, name: str = "d") -> Iterator[Path]:
    """A tree deeper than any path the system takes at once, and than pytest can take away again."""
    here = Path.cwd()
    root.mkdir()
    os.chdir(root)
    for _ in range(folders):
        Path(name).mkdir()
        os.chdir(name)
    Path("a.png").write_bytes(b"x")
    bottom = os.open(".", os.O_RDONLY)
    os.chdir(here)
    try:
        yield root
    finally:
        os.chdir(bottom)
        os.close(bottom)
        Path("a.png").unlink()
        for _ in range(folders):
            os.chdir("..")
            Path(name).rmdir()
        os.chdir(here)


def test_files_come_sorted_depth_first(tmp_path):
    expected = [touch(tmp_path / name) for name in ("a.png", "b/1.png", "b/c/0.png", "b/z.png", "ba.png")]
    assert walk([tmp_path]) == Tree(tuple(expected))


@pytest.mark.parametrize("clutter", CLUTTER)
def test_what_systems_keep_is_not_walked_at_any_depth(tmp_path, clutter):
    photo = touch(tmp_path / "emu" / "1.png")
    for place in (tmp_path, tmp_path / "emu"):
        touch(place / clutter / "1.png" / "thumb.jpg")
    assert walk([tmp_path]).files == (photo,)
    assert visible_folders(tmp_path) == [tmp_path / "emu"]


@pytest.mark.parametrize("name", ["._1.jpg", "Thumbs.db", "desktop.ini", "Icon\r", ".DS_Store"])
def test_what_systems_write_beside_photos_is_not_walked(tmp_path, name):
    touch(tmp_path / name)
    assert walk([tmp_path]).files == ()


def test_a_folder_a_person_names_is_walked_whatever_it_is_called(tmp_path):
    photo = touch(tmp_path / "@eaDir" / "1.png")
    assert walk([photo.parent]).files == (photo,)


def test_a_tree_deeper_than_the_stack_is_walked_in_a_moment(tmp_path):
    with deep(tmp_path / "deep", 1200) as tree:
        started = time.process_time()
        assert len(walk([tree]).files) == 1
        assert time.process_time() - started < 3


def test_a_path_longer_than_the_system_takes_is_named(tmp_path):
    photo = touch(tmp_path / "tree" / "a.png")
    with deep(tmp_path / "tree" / "b", 30, "x" * 200):
        found = walk([tmp_path / "tree"])
    assert found.files == (photo,)
    ((path, why),) = found.closed
    assert path.is_relative_to(tmp_path / "tree" / "b")
    assert why == "file name too long"


def test_a_folder_that_cannot_be_entered_is_named_and_the_rest_walked(tmp_path, monkeypatch):
    photo, shut = touch(tmp_path / "a" / "1.png"), touch(tmp_path / "b" / "2.png").parent
    own = walking._enter

    def refuse(folder: str) -> tuple[int, int]:
        if folder == str(shut):
            raise PermissionError(13, "Permission denied", folder)
        return own(folder)

    monkeypatch.setattr(walking, "_enter", refuse)  # root is refused nothing
    assert walk([tmp_path]) == Tree((photo,), ((shut, "permission denied"),))
    with pytest.raises(NoImages) as refused:
        visible_folders(shut)
    assert str(refused.value) == f"{shut} cannot be read: permission denied"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root is refused nothing")
def test_a_folder_one_may_list_but_not_enter_is_named(tmp_path):
    shut = touch(tmp_path / "b" / "2.png").parent
    shut.chmod(0o400)
    try:
        assert walk([tmp_path]).closed == ((shut, "permission denied"),)
    finally:
        shut.chmod(0o700)


def test_links_that_lead_in_a_circle_are_followed_once(tmp_path):
    photo = touch(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to("self")
    assert walk([tmp_path]).files == (photo, tmp_path / "a" / "self")


def test_a_link_to_a_folder_that_stands_apart_is_not_followed(tmp_path):
    one, other = touch(tmp_path / "a" / "1.png"), touch(tmp_path / "b" / "1.png")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b", target_is_directory=True)
    assert walk([tmp_path / "a"], excluded=[tmp_path / "a", tmp_path / "b"]).files == (one,)
    assert walk([tmp_path / "a"]).files == (one, other.parent.parent / "a" / "link" / "1.png")


def test_sidecars_and_films_are_told_by_their_names():
    beside = ["1.jpg.json", "1.xmp", "IMG_1.AAE", "IMG_1.MOV", "1.mp4", "n.txt", "a.pdf", "1.THM", "x.lrcat", "a.zip"]
    photos = ["1.jpg", "1.JPEG", "1.heic", "1.NEF", "1.jxl", "README", "1.odd", "1.webp"]
    assert all(is_beside(Path(name)) for name in beside)
    assert not any(is_beside(Path(name)) for name in photos)
    assert by_suffix(Path(name) for name in ("1.jpg.json", "2.JSON", "1.AAE", "README")) == {
        ".json": 2,
        "": 1,
        ".aae": 1,
    }
