"""URLs as paths, against an object store in memory."""

from __future__ import annotations

import json
import pickle
import stat
from pathlib import Path

import fsspec
import pytest
from conftest import copy_into_splits, paint

import promptctl
from promptctl.data.folder import ImageFolder
from promptctl.data.walk import every_file, walk
from promptctl.encoding import files as reading
from promptctl.encoding.budget import Budget
from promptctl.errors import DatasetError, NoImages, OnlyHere
from promptctl.remote import RemotePath, is_remote, listing, path_of, reach


@pytest.fixture
def store():
    """A store in memory that is empty again afterwards."""
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def bucket(store):
    for name, content in {"birds/emu/1.jpg": b"one", "birds/emu/2.jpg": b"two", "birds/list.csv": b"path\n"}.items():
        store.pipe_file(f"/{name}", content)
    return "memory://birds"


def uploaded(store, folder: Path, to: str = "bucket") -> str:
    """A copy of a folder in the store."""
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"/{to}/{path.relative_to(folder)}", path.read_bytes())
    return f"memory://{to}"


def no_network(monkeypatch):
    def asked(url):
        raise AssertionError(f"the network was asked for {url}")

    monkeypatch.setattr(reach, "filesystem", asked)


# --------------------------------------------------------------------------- names


def test_paths_of_this_machine_stay_what_they_are(tmp_path):
    assert type(path_of("photos/1.jpg")) is type(Path())
    assert path_of(tmp_path.as_uri()) == tmp_path and path_of("file:///a%20b/c") == Path("/a b/c")
    assert path_of("file://localhost/a#1.jpg") == Path("/a#1.jpg")
    assert not is_remote("C:/photos") and not is_remote("s3/photos") and not is_remote(tmp_path.as_uri())


def test_a_url_is_taken_apart_and_joined_like_a_path():
    url = path_of("s3://bucket/birds/emu/1.jpg")
    assert isinstance(url, RemotePath) and is_remote(url)
    assert str(url) == f"{url}" == "s3://bucket/birds/emu/1.jpg" and url.is_absolute()
    assert str(url.parent / "2.jpg") == "s3://bucket/birds/emu/2.jpg" and isinstance(url.parent, RemotePath)
    assert (url.name, url.suffix, url.parent.name) == ("1.jpg", ".jpg", "emu")
    assert str(url.with_suffix(".csv")) == "s3://bucket/birds/emu/1.csv"
    assert str(url.relative_to(url.parent.parent)) == "emu/1.jpg" and url.is_relative_to("s3://bucket/birds")
    assert path_of(Path("s3://bucket/birds")) == path_of("s3://bucket/birds")  # a path takes one slash away
    assert Path("/photos") / url == url and str(path_of("s3://bucket").parent) == "s3://bucket"


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a b/c#d?e%20f/鳥.jpg",
        "s3://bucket/a//b.jpg",
        "s3://bucket//leads.jpg",
        "s3://bucket/a/./b/../c.jpg",
        "s3://bucket/a//",
        "s3://bucket/x::y.jpg",
        "https://host/photo.jpg?of=https://other//x&n=1",
    ],
)
def test_a_name_in_a_store_is_kept_to_the_letter(url):
    path = path_of(url)
    assert str(path) == url and path_of(str(path)) == path == path.parent.child(path.name)
    assert pickle.loads(pickle.dumps(path)) == path and hash(pickle.loads(pickle.dumps(path))) == hash(path)
    assert path.addresses(["k.jpg", "", "."]) == [str(path.child(name)) for name in ("k.jpg", "", ".")]
    assert str(path / "k.jpg").endswith("/k.jpg") and (path / "k.jpg").parent == path


@pytest.mark.parametrize("key", ["/etc/passwd", "../../../etc", "s3://other/x.jpg", "file:///etc/passwd", Path("/etc")])
def test_nothing_that_is_joined_to_a_url_leads_out_of_its_bucket(key):
    assert str(path_of("s3://bucket/photos") / key).startswith("s3://bucket/")
    assert str(path_of("s3://bucket/photos").joinpath("a", key)).startswith("s3://bucket/")


def test_text_with_one_slash_is_no_url():
    """A path that a list made of a URL must not become one again."""
    assert not is_remote("s3:/bucket/1.jpg") and type(path_of("s3:/bucket/1.jpg")) is type(Path())


# --------------------------------------------------------------------------- folders and files


def test_what_lies_elsewhere_is_listed_and_read(bucket):
    folder = path_of(bucket)
    assert folder.is_dir() and not folder.is_file() and not (folder / "none").exists()
    assert folder.listed() == [("emu", True), ("list.csv", False)]
    assert list(folder.glob("*.csv")) == [folder / "list.csv"] and not list((folder / "none").glob("*"))
    photo = folder / "emu" / "1.jpg"
    assert stat.S_ISREG(photo.stat().st_mode) and photo.stat().st_size == 3
    with photo.open("rb") as file:
        assert file.read() == b"one" == photo.read_bytes() == photo.read(0, 100)
    assert photo.read(1, 1) == b"n" and photo.read(3, 10) == b""


def test_what_is_not_there_is_said_with_its_url(bucket):
    with pytest.raises(FileNotFoundError, match="memory://birds/none"):
        path_of(f"{bucket}/none").stat()


@pytest.mark.parametrize("change", ["mkdir", "unlink", "touch", "rmdir"])
def test_files_elsewhere_are_only_read(bucket, change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="only read"):
        path_of(f"{bucket}/new").open("wb")
    with pytest.raises(OSError, match="only read"):
        getattr(path_of(f"{bucket}/new"), change)()
    assert not list(tmp_path.glob("memory*"))


def test_a_folder_elsewhere_is_walked_in_the_order_of_a_copy_here(store, tmp_path):
    for name in ("a/1.jpg", "a-b/2.jpg", "a.jpg", "b/c/3.jpg", "b/.hidden/4.jpg", "b/Thumbs.db", "é/5 #?.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    url = uploaded(store, tmp_path)
    here = [Path(path).relative_to(tmp_path).as_posix() for path in every_file([tmp_path])]
    assert [str(path).removeprefix(f"{url}/") for path in walk([path_of(url)]).files] == here
    assert here == ["a/1.jpg", "a-b/2.jpg", "a.jpg", "b/c/3.jpg", "é/5 #?.jpg"]


def test_more_names_than_fit_in_memory_are_refused(bucket, monkeypatch):
    monkeypatch.setattr(listing, "MOST_LISTED", 2)
    (closed,) = list(every_file([path_of(bucket)]))
    assert closed.reason == "more than 2 files are listed by classify --engine ray alone"


def test_a_large_file_is_refused_by_its_size_before_it_is_read(store, monkeypatch, tmp_path):
    photo = paint(tmp_path, images=1) / "red" / "0.png"
    store.pipe_file("/bucket/large.png", photo.read_bytes() + bytes(50_000))
    read = []
    monkeypatch.setattr(
        RemotePath, "read", lambda self, start, n: read.append(n) or store.cat_file("/bucket/large.png")
    )
    monkeypatch.setattr(reading, "FILES", Budget(20_000))
    with pytest.raises(reading.UnreadableImage, match="the most that is read"):
        reading.read_file(path_of("memory://bucket/large.png"))
    assert read == [20_000]


def test_memory_is_counted_while_a_file_elsewhere_is_read_and_given_back(store, monkeypatch, tmp_path):
    photo = paint(tmp_path, images=1) / "red" / "0.png"
    store.pipe_file("/bucket/1.png", photo.read_bytes())
    budget = Budget(5_000_000)
    monkeypatch.setattr(reading, "FILES", budget)
    with reading.file_bytes(path_of("memory://bucket/1.png")) as data:
        assert data == photo.read_bytes() and budget._free == 5_000_000 - len(data)
    assert budget._free == 5_000_000


# --------------------------------------------------------------------------- the same answers


def test_photos_elsewhere_give_the_bits_that_a_copy_here_gives(store, photos, tmp_path, tiny):
    local = copy_into_splits(photos, tmp_path / "split")
    url, kept = uploaded(store, local), promptctl.Store(tmp_path / "store")
    settings = promptctl.LearnSettings(epochs=3)
    for name, where in {"here": local, "there": url}.items():
        promptctl.learn(where, name, shots=2, settings=settings, model=tiny, store=kept)
    assert kept["here"].to_bytes() == kept["there"].to_bytes()
    here, there = (promptctl.evaluate("here", where, store=kept) for where in (local, url))
    assert here.learned == there.learned and there.images == 6
    assert [one.probability for one in here.photos] == [one.probability for one in there.photos]
    assert there.photos[0].file == f"{url}/test/blue/4.png"


def test_each_photo_is_fetched_once_to_learn_from(store, photos, tmp_path, tiny, monkeypatch):
    url, asked = uploaded(store, photos), []
    monkeypatch.setattr(RemotePath, "read", _counting(RemotePath.read, asked))
    promptctl.learn(url, "colours", shots=3, model=tiny, settings=promptctl.LearnSettings(epochs=1))
    assert len(asked) == len(set(asked)) == 18
    promptctl.evaluate("colours", url)
    assert len(asked) == 36  # nothing is kept beyond that


def _counting(read, asked):
    def counted(self, start, n_bytes):
        asked.append(str(self))
        return read(self, start, n_bytes)

    return counted


def test_reports_and_files_print_a_url_whole(cli, store, photos, tmp_path, colours_bytes, answering):
    (tmp_path / "colours.safetensors").write_bytes(colours_bytes)
    url, out = uploaded(store, photos), tmp_path / "out.csv"
    one = f"{url}/red/0.png"
    found = cli("classify", one, "-p", f"{tmp_path}/colours.safetensors", "-q")
    assert found.out == f"red\t{one}\n", found.err
    assert (
        json.loads(cli("classify", one, "-p", f"{tmp_path}/colours.safetensors", "--json").out)["images"][0]["path"]
        == one
    )
    assert cli("evaluate", f"{tmp_path}/colours.safetensors", url, "--predictions", out).code == 0
    assert f"\n{url}/blue/0.png," in out.read_text()


def test_results_of_photos_elsewhere_are_gone_on_with(cli, store, photos, tmp_path, colours_bytes, answering):
    (tmp_path / "colours.safetensors").write_bytes(colours_bytes)
    url, out = uploaded(store, photos), tmp_path / "out.jsonl"
    command = ("classify", url, "-p", f"{tmp_path}/colours.safetensors", "--output", out)
    assert cli(*command).code == 0
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:5]))
    assert cli(*command, "--resume").code == 0
    assert out.read_text().splitlines(keepends=True) == lines


def test_photos_elsewhere_are_left_where_they_are_by_results_too(
    cli, store, photos, tmp_path, colours_bytes, answering
):
    (tmp_path / "colours.safetensors").write_bytes(colours_bytes)
    url, out = uploaded(store, photos), tmp_path / "out.jsonl"
    context = f"{tmp_path}/colours.safetensors"
    assert cli("classify", f"{url}/red/0.png", photos / "red", "-p", context, "--output", out).code == 0
    found = cli("sort", "--from", out, "--into", tmp_path / "sorted", "--dry-run")
    assert f"{url}/red/0.png: it is on another machine, and photos are sorted on this one" in found.err
    assert found.out.count('"type": "photo"') == 6


# --------------------------------------------------------------------------- lists


def test_a_list_elsewhere_names_files_beside_it(store, photos):
    url = uploaded(store, photos)
    rows = ["path,label", "red/0.png,red", "./blue/0.png,blue", f"{url}/red/1.png,red", "labels/../blue/1.png,blue"]
    store.pipe_file("/bucket/labels.csv", "\n".join(rows).encode())
    found = ImageFolder.scan(path_of(f"{url}/labels.csv"))
    names = [str(image.path).removeprefix(f"{url}/") for image in found.images]
    assert names == ["red/0.png", "blue/0.png", "red/1.png", "blue/1.png"]


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl", "metadata.csv"])
@pytest.mark.parametrize("row", [0, 1])
def test_a_list_here_has_the_network_asked_for_nothing(photos, monkeypatch, name, row):
    no_network(monkeypatch)
    paths = ["red/0.png", "blue/0.png"]
    paths[row] = "s3://bucket/stranger.png"
    if name.endswith("csv"):
        text = "file_name,label\n" + "".join(f"{path},{label}\n" for path, label in zip(paths, ("a", "b"), strict=True))
    else:
        text = "".join(
            json.dumps({"path": path, "label": label}) + "\n" for path, label in zip(paths, "ab", strict=True)
        )
    (photos / name).write_text(text)
    with pytest.raises(DatasetError, match=r"addresses in the network such as s3://bucket/stranger\.png") as refused:
        ImageFolder.scan(photos if name.startswith("metadata") else photos / name)
    assert refused.value.hint is not None and "--files-from" in refused.value.hint


def test_a_list_elsewhere_does_not_lead_to_another_store(store, photos, monkeypatch):
    url = uploaded(store, photos)
    store.pipe_file("/bucket/labels.csv", b"path,label\nred/0.png,red\nhttps://host/x.png,blue\n")
    with pytest.raises(DatasetError, match=r"such as https://host/x\.png"):
        ImageFolder.scan(path_of(f"{url}/labels.csv"))


def test_a_list_that_a_person_gives_may_name_urls(cli, store, photos, tmp_path, colours_bytes, answering):
    (tmp_path / "colours.safetensors").write_bytes(colours_bytes)
    url = uploaded(store, photos)
    (tmp_path / "list.txt").write_text(f"{url}/red/0.png\n{photos}/blue/0.png\n{url}/green\n{url}/none.png\n")
    found = cli("classify", "--files-from", tmp_path / "list.txt", "-p", f"{tmp_path}/colours.safetensors", "-q")
    assert [line.split("\t")[1] for line in found.out.splitlines()][:2] == [f"{url}/red/0.png", f"{photos}/blue/0.png"]
    assert found.out.count(f"{url}/green/") == 6
    assert found.code == 3 and f"{url}/none.png: no such file or directory" in found.err


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("sort", "s3://bucket/x", "-p", "a", "--into", "out"), "photos are sorted on this machine"),
        (("sort", "raw", "-p", "a", "--into", "s3://bucket/x"), "photos are sorted on this machine"),
        (("watch", "s3://bucket/x", "-p", "a", "--into", "out"), "photos are watched for on this machine"),
        (("review", "s3://bucket/x", "-p", "a"), "a page shows photos that are on this machine"),
        (("apply", "s3://bucket/x"), "photos are sorted on this machine"),
        (("classify", "raw", "-p", "a", "--output", "s3://bucket/x"), "results are written to a file on this machine"),
    ],
)
def test_what_moves_or_writes_files_takes_no_url(cli, command, sentence, monkeypatch):
    no_network(monkeypatch)
    refused = cli(*command)
    assert refused.code == 2 and f"error: {sentence}, and s3://bucket/x is on another" in refused.err
    hints = ("aws s3 cp --recursive s3://bucket/x photos", "name one on this machine", "name a file on this machine")
    assert any(f"hint:  {hint}" in refused.err for hint in hints)


def test_no_file_is_written_to_a_url(monkeypatch):
    no_network(monkeypatch)
    with pytest.raises(
        promptctl.PromptctlError, match=r"s3://bucket/x\.npz cannot be written: files are written on this"
    ):
        promptctl.encode("raw", "s3://bucket/x.npz")


def test_a_folder_elsewhere_that_is_not_there_is_said_in_one_sentence(store):
    with pytest.raises(NoImages, match="there is no folder memory://nowhere/x"):
        ImageFolder.scan(path_of("memory://nowhere/x"))


def test_only_here_survives_another_process():
    error = pickle.loads(pickle.dumps(OnlyHere("s3://b", "photos are sorted", "copy")))
    assert str(error) == "photos are sorted on this machine, and s3://b is on another" and error.hint == "copy"
