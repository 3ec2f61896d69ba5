"""URLs as paths, against an object store in memory."""

from __future__ import annotations

import stat
from pathlib import Path

import fsspec
import pytest

from promptctl.remote import RemotePath, is_remote, path_of


@pytest.fixture
def bucket():
    files = fsspec.filesystem("memory")
    for name, content in {"birds/emu/1.jpg": b"one", "birds/emu/2.jpg": b"two", "birds/list.csv": b"path\n"}.items():
        files.pipe_file(f"/{name}", content)
    yield "memory://birds"
    files.rm("/birds", recursive=True)


def test_paths_of_this_machine_stay_what_they_are(tmp_path):
    assert type(path_of("photos/1.jpg")) is type(Path())
    assert path_of(tmp_path.as_uri()) == tmp_path and path_of("file:///a%20b/c") == Path("/a b/c")
    assert not is_remote("C:/photos") and not is_remote("s3/photos") and not is_remote(tmp_path.as_uri())


def test_a_url_is_taken_apart_and_joined_like_a_path():
    url = path_of("s3://bucket/birds/emu/1.jpg")
    assert isinstance(url, RemotePath) and is_remote(url)
    assert str(url) == f"{url}" == "s3://bucket/birds/emu/1.jpg" and url.is_absolute()
    assert str(url.parent / "2.jpg") == "s3://bucket/birds/emu/2.jpg" and isinstance(url.parent, RemotePath)
    assert (url.name, url.suffix, url.parent.name) == ("1.jpg", ".jpg", "emu")
    assert str(url.relative_to(url.parent.parent)) == "emu/1.jpg"
    assert path_of(Path("s3://bucket/birds")) == path_of("s3://bucket/birds")  # a path takes one slash away


def test_what_lies_elsewhere_is_listed_and_read(bucket):
    folder = path_of(bucket)
    assert folder.is_dir() and not folder.is_file() and not (folder / "none").exists()
    assert sorted(folder.listed()) == [("emu", True), ("list.csv", False)]
    photo = folder / "emu" / "1.jpg"
    assert stat.S_ISREG(photo.stat().st_mode) and photo.stat().st_size == 3
    with photo.open("rb") as file:
        assert file.read() == b"one" == photo.read_bytes()


def test_what_is_not_there_is_said_with_its_url(bucket):
    with pytest.raises(FileNotFoundError, match="memory://birds/none"):
        path_of(f"{bucket}/none").stat()
    with pytest.raises(OSError, match="only read"):
        path_of(f"{bucket}/new").open("wb")
