"""Classifying by Ray: the same answers as the local command's, every photo once, whatever stops a run."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promptctl import commands
from promptctl.errors import BadResults, ExtraMissing, NoImages, NotResults, OtherResults, WrongOption
from promptctl.store.store import Store

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets of Unix")]


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    """One Ray for all of this file."""
    from promptctl.distributed.cluster import ray_library

    library = ray_library()
    with store_of_objects():
        library.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield library
        library.shutdown()


@contextmanager
def store_of_objects() -> Iterator[None]:
    """An object store on this machine, which Ray's processes know by their environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield
    server.stop()


@pytest.fixture
def learned(colours_bytes, answering) -> None:
    Store().save("colours", colours_bytes, new=True)


def classify(photos: Path, output: Path, **settings):
    return commands.classify_distributed(photos, "colours", output=output, **settings)


def rows_in(folder: Path) -> list[dict]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text("ascii").splitlines()]


def locally(photos: Path, **settings) -> dict[str, dict]:
    report = commands.classify(photos, "colours", **settings)
    return {str(item.path): json.loads(json.dumps(item.record(), default=str)) for item in report.items()}


def check_same(found: list[dict], expected: dict[str, dict]) -> None:
    """The same rows to the last bit of a label, and probabilities as near as batches of other sizes leave them."""
    assert sorted(row["path"] for row in found) == sorted(expected)
    for row in found:
        own = expected[row["path"]]
        assert {key: row.get(key) for key in own if key not in ("top", "probability", "likeness", "others")} == {
            key: value for key, value in own.items() if key not in ("top", "probability", "likeness", "others")
        }
        assert row.get("probability") == pytest.approx(own.get("probability"), abs=1e-6)


def test_rows_are_those_of_the_local_command(ray, learned, photos, tmp_path, monkeypatch):
    (photos / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (photos / "red" / "0.xmp").write_text("<x/>")
    (photos / "notes.xyz").write_text("no photo")
    odd = os.fsencode(photos / "blue") + b"/\xff odd\n.png"
    shutil.copy(photos / "blue" / "1.png", odd)
    monkeypatch.chdir(tmp_path)
    report = classify(Path("photos"), tmp_path / "out", top=2, exclude="green/0.png")
    found = rows_in(tmp_path / "out")
    check_same(found, locally(Path("photos"), top=2, exclude="green/0.png"))
    assert report.tally.images == 18 and report.tally.skipped == 1 and report.exit_code == 3
    assert report.passed_over == {".xmp": 1, ".xyz": 1}
    refused = next(row for row in found if row["type"] == "error")
    assert refused["path"].endswith("broken.jpg") and refused["reason"] and "label" not in refused


def test_the_same_command_answers_only_what_is_new(ray, learned, photos, tmp_path):
    out = tmp_path / "answers.parquet"
    assert classify(photos, out).known == 0
    shutil.copy(photos / "red" / "1.png", photos / "red" / "new.png")
    again = classify(photos, out)
    assert (again.known, again.tally.images) == (18, 1)
    from pyarrow import parquet

    assert len({*out.glob("*.parquet")}) == 2
    table = parquet.read_table([*map(str, sorted(out.glob("*.parquet")))])
    assert sorted(table["path"].to_pylist()) == sorted(map(str, photos.glob("*/*.png")))
    assert set(table["label"].to_pylist()) <= {"red", "green", "blue"}
    with pytest.raises(OtherResults, match=r"begun with min confidence 0\.0, and 0\.5 is asked"):
        classify(photos, out, min_confidence=0.5)
    with pytest.raises(OtherResults, match=r"begun with top 3, and 2 is asked"):
        classify(photos, out, top=2)
    with pytest.raises(BadResults, match="it has Parquet, and JSON lines are read"):
        commands.sort(results=out, into=tmp_path / "sorted")


def member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def test_shards_are_read_photo_by_photo(ray, learned, photos, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    shards, pictures = tmp_path / "shards", {f: f.read_bytes() for f in sorted(photos.glob("*/*.png"))}
    shards.mkdir()
    with tarfile.open(shards / "a.tar", "w") as tar:
        for number, data in enumerate(pictures.values()):
            member(tar, f"./{number:04}.png", data)
            member(tar, f"./{number:04}.cls", b"1")
            member(tar, f"./{number:04}.json", b"{}")
        member(tar, "0000.png", b"\x89PNG\r\n\x1a\n and no more")
    cells = [{"bytes": data, "path": file.name} for file, data in pictures.items()] + [None]
    parquet.write_table(pa.table({"label": [0] * 19, "image": cells}), shards / "b.parquet", row_group_size=5)
    parquet.write_table(pa.table({"x": [1]}), shards / "c.parquet")
    report = classify(shards, tmp_path / "out")
    found = {row["path"]: row for row in rows_in(tmp_path / "out")}
    alike = locally(photos)
    labels = [alike[str(file)]["label"] for file in pictures]
    assert [found[f"{shards}/a.tar/{number:04}.png"]["label"] for number in range(18)] == labels
    assert [found[f"{shards}/b.parquet/{number}"]["label"] for number in range(18)] == labels
    refused = {path: row["reason"] for path, row in found.items() if row["type"] == "error"}
    assert refused[f"{shards}/b.parquet/18"] == "no photo in this row"
    assert refused.keys() == {f"{shards}/b.parquet/18", f"{shards}/a.tar/0000.png#54"}
    assert len(found) == 38 == len(rows_in(tmp_path / "out")) and report.known == 0


def test_photos_and_answers_lie_in_an_object_store(ray, learned, photos, tmp_path):
    import s3fs

    bucket = s3fs.S3FileSystem()
    bucket.mkdir("bucket")
    for number, file in enumerate(sorted(photos.glob("*/*.png"))):
        bucket.put_file(str(file), f"bucket/photos/{file.parent.name}/{number}.png")
    bucket.pipe_file("bucket/photos/red/.hidden.png", b"not looked at")
    bucket.pipe_file("bucket/photos/red/0.json", b"{}")
    report = classify("s3://bucket/photos", "s3://bucket/answers", exclude="green/")
    assert (report.tally.images, report.passed_over) == (12, {".json": 1})
    bucket.pipe_file("bucket/photos/late.png", (photos / "red" / "1.png").read_bytes())
    assert classify("s3://bucket/photos", "s3://bucket/answers", exclude="green/").known == 12
    bucket.invalidate_cache()
    lines = b"".join(bucket.cat_file(name) for name in bucket.glob("bucket/answers/*.jsonl")).splitlines()
    found = {row["path"]: row["label"] for row in map(json.loads, lines)}
    wanted = {f"s3://{name}" for name in bucket.find("bucket/photos") if name.endswith(".png")}
    assert len(lines) == 13 and found.keys() == {one for one in wanted if "green" not in one and "hidden" not in one}
    assert {found[f"s3://bucket/photos/{file}"] for file in ("red/12.png", "late.png")} == {"red"}


@contextmanager
def running(photos: Path, out: Path, address: str, home: Path) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "promptctl", "classify", photos, "-p", "colours", "--engine", "ray"]
    environment = {**os.environ, "PROMPTCTL_HOME": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--address", address, "--output", out], env=environment, **pipes) as program:
        try:
            yield program
        finally:
            program.kill()


def test_a_run_that_was_killed_goes_on(ray, learned, photos, tmp_path, home):
    for number in range(5000):
        os.link(photos / "red" / f"{number % 6}.png", photos / f"{number:04}.png")
    out, address = tmp_path / "out", ray.get_runtime_context().gcs_address
    with running(photos, out, address, home) as program:
        # the answers of a file count once its table of paths has its own name
        until(lambda: any(name.suffixes == [".parquet"] for name in (out / "_run" / "done").glob("*")), program)
        program.send_signal(signal.SIGKILL)
    for file in out.glob("*.jsonl"):
        assert file.read_bytes().endswith(b"}\n")
    time.sleep(2)  # the workers of what is gone end
    report = classify(photos, out)
    paths = [row["path"] for row in rows_in(out)]
    assert len(paths) == len(set(paths)) == 5018
    assert 0 < report.known < 5018 and report.known + report.tally.images == 5018
    assert not [*out.glob(".*")]


def until(is_so, program: subprocess.Popen) -> None:
    end = time.monotonic() + 200
    while not is_so():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_ends_it_and_says_how_to_go_on(ray, learned, photos, tmp_path, home):
    for number in range(3000):
        os.link(photos / "red" / "0.png", photos / f"{number:04}.png")
    out = tmp_path / "out"
    with running(photos, out, ray.get_runtime_context().gcs_address, home) as program:
        until(lambda: (out / "_run" / "done").exists(), program)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    assert program.returncode == 130
    line = f"interrupted; what is answered is in {out}, and the same command goes on from there"
    assert line in said.decode()


def test_nothing_is_left_where_there_is_no_photo(ray, learned, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no photo")
    with pytest.raises(NoImages, match=r"there is no photo in .*empty, only 1 that is not a photo \(1 \.txt\)"):
        classify(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_in_words(ray, learned, photos, tmp_path):
    from promptctl.distributed.run import _in_words

    error = ray.exceptions.RayTaskError("write", "Traceback", OSError(28, "No space left on device"))
    assert str(_in_words(error.as_instanceof_cause())) == "the result cannot be written: no space left on device"


# --------------------------------------------------------------------------- without Ray


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def folder_of(path: Path):
    from promptctl.distributed.folder import AnswerFolder

    return AnswerFolder(path)


def test_what_was_begun_is_taken_away_and_what_was_done_is_kept(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    done, out = tmp_path / "out" / "_run" / "done", tmp_path / "out"
    done.mkdir(parents=True)
    a, b, c, orphan = (f"answers-{'0' * 32}-00000000{number}" for number in range(4))
    for name in (a, b, c, orphan):
        (out / f"{name}.jsonl").write_text("{}\n")
    (out / ".0123456789abcdef.part").write_text("{")
    (out / "answers-of-mine.jsonl").write_text("theirs")
    paths = pa.table({"path": [b"1", b"2"]})
    parquet.write_table(paths, done / f"{a}.pending.parquet")  # killed before its answers were known to be whole
    parquet.write_table(paths, done / f"{b}.pending.parquet")  # killed while it was moved, by copying
    parquet.write_table(paths, done / f"{b}.parquet")
    parquet.write_table(paths, done / f"{c}.parquet")
    assert folder_of(out).clean() == 4
    assert names_in(out) == ["_run", f"{b}.jsonl", f"{c}.jsonl", "answers-of-mine.jsonl"]
    assert names_in(done) == [f"{b}.parquet", f"{c}.parquet"]


@pytest.mark.parametrize("make", ["file", "foreign"])
def test_what_is_no_folder_of_answers_is_refused(make, learned, photos, tmp_path):
    out = tmp_path / "out"
    if make == "file":
        out.write_text("mine")
        said = "it is a file, and answers of --engine ray are a folder"
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        said = "it holds mine.txt, and was not begun by --engine ray"
    with pytest.raises(NotResults) as refused:
        classify(photos, out)
    assert str(refused.value) == f"{out} cannot be gone on with: {said}"


def test_what_needs_all_photos_is_refused(learned, photos, tmp_path):
    for option, setting in (("--together", {"together": True}), ("--burst", {"burst": 5.0})):
        with pytest.raises(WrongOption, match=f"every photo by itself, and {option} does not"):
            classify(photos, tmp_path / "out", **setting)
    with pytest.raises(WrongOption, match="writes its answers to a folder"):
        commands.classify_distributed(photos, "colours", output=None)
    with pytest.raises(WrongOption, match="no other process sees memory://"):
        commands.classify_distributed(photos, "colours", output="memory://out")


def test_without_the_extra_it_says_which(learned, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExtraMissing, match="--engine ray needs the library ray, which is not installed") as refused:
        classify(photos, tmp_path / "out")
    assert refused.value.hint == "pip install 'promptctl[ray]'"


def test_a_strangers_tar_takes_no_memory(tmp_path):
    from promptctl.distributed.shards import Opened, photos_of
    from promptctl.encoding.budget import FILES
    from promptctl.encoding.files import UnreadableImage

    shard = tmp_path / "x.tar"
    huge = tarfile.TarInfo("huge.jpg")
    huge.size = FILES.n_bytes + 1
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with shard.open("wb") as file:
        file.write(huge.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + (huge.size + 511) // 512 * 512)
        file.seek(0, os.SEEK_END)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
    large, damaged = photos_of(str(shard), meant=False)
    assert large.path == f"{shard}/huge.jpg" and large.reason is None
    with Opened() as opened, pytest.raises(UnreadableImage, match="is the most that is read"), opened.bytes_of(large):
        pass
    assert damaged.path == str(shard) and damaged.reason == "damaged after member 1: a header of 1099.5 GB"
