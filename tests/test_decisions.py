"""What `review` wrote down as a list: the last decision of each photo, read by learn, evaluate and relabel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from conftest import paint
from PIL import Image

from promptctl.data.folder import ImageFolder
from promptctl.data.readers.fixes import read_fixes
from promptctl.errors import DatasetError, NoImages
from promptctl.review.decisions import Decision
from promptctl.store.store import Store


@pytest.fixture
def album(tmp_path) -> list[Path]:
    folder = tmp_path / "unsorted"
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def line(
    file: Path, decision: str, label: str | None = None, *, copies: tuple[Path, ...] = (), said: str = ""
) -> bytes:
    """As `review` writes it; `said`: the path as it stands there."""
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    named = tuple(map(str, copies))
    return Decision(
        "birds@1", said or str(file), sha, decision, label, label, "emu", 0.5, named, "2026-11-26T10:00:00Z"
    ).line()


def written(folder: Path, *lines: bytes, end: bytes = b"\n", name: str = "review.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(lines) + end)
    return path


def listed(path: Path) -> dict[str, str]:
    return {image.path.name: image.label for image in ImageFolder.scan(path).images}


def test_the_last_decision_counts_and_an_undo_takes_it_back(album, tmp_path):
    path = written(
        tmp_path,
        line(album[0], "accept", "emu"),
        line(album[1], "accept", "emu"),
        line(album[0], "change", "ibis"),
        line(album[1], "change", "ibis"),
        line(album[1], "undo"),
        line(album[2], "accept", "emu"),
        line(album[2], "undo"),
        line(album[3], "accept", "emu"),
        line(album[3], "skip"),
    )
    assert listed(path) == {"0.png": "ibis", "1.png": "emu"}


def test_copies_get_the_class_unless_they_have_a_decision_of_their_own(album, tmp_path):
    path = written(
        tmp_path,
        line(album[0], "accept", "emu", copies=(album[1], album[2], album[3])),
        line(album[1], "change", "ibis"),
        line(album[2], "unknown"),
    )
    assert listed(path) == {"0.png": "emu", "3.png": "emu", "1.png": "ibis"}


def test_unknown_and_skipped_photos_are_said_once(album, tmp_path, caplog):
    lines = [line(album[0], "accept", "emu"), line(album[1], "unknown"), line(album[2], "skip")]
    assert listed(written(tmp_path, *lines)) == {"0.png": "emu"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("2 photos of ")
    assert said.endswith(" left out, for which no class was chosen (1 unknown and 1 skipped): 1.png, 2.png")
    with pytest.raises(NoImages, match="lists no image"):
        ImageFolder.scan(written(tmp_path, *lines[1:]))


def test_photos_that_are_gone_or_changed_are_skipped_and_named(album, tmp_path):
    path = written(tmp_path, *(line(file, "accept", "emu") for file in album[:3]))
    album[0].unlink()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(album[1])
    found = ImageFolder.scan(path)
    assert [image.path for image in found.images] == [album[2]]
    assert [(item.path.name, item.reason) for item in found.skipped] == [
        ("0.png", "no such file"),
        ("1.png", "it has changed since it was given its class"),
    ]
    Image.new("RGB", (8, 8), (9, 9, 9)).save(album[2])
    with pytest.raises(NoImages, match="is what it was when it was given its class"):
        ImageFolder.scan(path)


def test_relative_paths_are_those_beside_the_file(album, tmp_path, monkeypatch):
    path = written(tmp_path, line(album[0], "accept", "emu", said="unsorted/0.png"))
    monkeypatch.chdir("/")
    assert [image.path for image in ImageFolder.scan(path).images] == [album[0]]


@pytest.mark.parametrize("name", ["review.jsonl", "review.json", "review.ndjson"])
def test_a_last_line_that_was_cut_off_is_ignored(album, tmp_path, name):
    whole, cut = line(album[0], "accept", "emu"), line(album[1], "accept", "emu")
    assert listed(written(tmp_path, whole, cut[:60], end=b"", name=name)) == {"0.png": "emu"}
    assert listed(written(tmp_path, whole, cut, end=b"", name=name)) == {"0.png": "emu", "1.png": "emu"}
    assert listed(written(tmp_path, whole, name=name)) == {"0.png": "emu"}


GOOD = {"type": "decision", "file": "a.png", "sha256": "0" * 64, "decision": "accept", "label": "emu", "copies": []}
ANNOTATIONS = [{"result": [{"type": "choices", "from_name": "label", "value": {"choices": ["red"]}}]}]
HOSTILE = {
    "deep": b'{"type": "decision", "copies": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a large number": b'{"type": "decision", "copies": ' + b"9" * 100_000 + b"}",
    "no object": b"[1, 2]",
    "text": b'"decision"',
    "another kind": json.dumps({**GOOD, "decision": "delete"}).encode(),
    "no class": json.dumps({**GOOD, "label": " "}).encode(),
    "a class that is a list": json.dumps({**GOOD, "label": ["emu"]}).encode(),
    "no checksum": json.dumps({**GOOD, "sha256": "../../etc/passwd"}).encode(),
    "a checksum that is a number": json.dumps({**GOOD, "sha256": 5}).encode(),
    "a file that is a number": json.dumps({**GOOD, "file": 5}).encode(),
    "copies that are text": json.dumps({**GOOD, "copies": "abc"}).encode(),
    "copies of numbers": json.dumps({**GOOD, "copies": [1]}).encode(),
    "bytes": b"\xff\xfe\x00\x80",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_line_that_is_no_decision_is_named(album, tmp_path, hostile):
    path = written(tmp_path, line(album[0], "accept", "emu"), hostile, line(album[1], "accept", "emu"))
    for read in (ImageFolder.scan, read_fixes):
        with pytest.raises(DatasetError, match="no decision in line 2"):
            read(path)


def test_paths_that_no_system_has_are_missing_files(album, tmp_path):
    odd = [
        json.dumps({**GOOD, "file": file, "sha256": f"{i:064x}"}).encode()
        for i, file in enumerate(("a\0b", "x" * 9999))
    ]
    found = ImageFolder.scan(written(tmp_path, line(album[0], "accept", "emu"), *odd))
    assert [image.path for image in found.images] == [album[0]] and len(found.skipped) == 2


def test_keys_may_be_in_another_order(album, tmp_path):
    lines = [line(album[0], "accept", "emu"), line(album[0], "change", "ibis"), line(album[1], "skip")]
    ordered = [json.dumps(json.loads(one), sort_keys=True).encode() for one in lines]  # as jq -S does
    for path in (written(tmp_path, *ordered), written(tmp_path, *ordered, name="review.json")):
        assert listed(path) == {"0.png": "ibis"}
        assert [fix.label for fix in read_fixes(path)] == ["ibis"]


def test_relabel_goes_by_what_was_said_of_a_copy_itself(album, tmp_path):
    path = written(
        tmp_path,
        line(album[0], "accept", "emu", copies=(album[1], album[2], album[3])),
        line(album[1], "change", "ibis"),
        line(album[2], "unknown"),
    )
    assert [(fix.said, fix.label) for fix in read_fixes(path)] == [
        (str(album[0]), "emu"),
        (str(album[1]), "ibis"),
        ("3.png", "emu"),
    ]


def test_relabel_passes_over_names_that_no_file_has(cli, colours_bytes, album, tmp_path):
    Store().save("colours", colours_bytes, new=True)
    odd = {**GOOD, "label": "red", "copies": ["a\0b.png", "\ud800.png"]}
    for path in (
        written(tmp_path, json.dumps(odd).encode()),
        written(
            tmp_path,
            json.dumps([{"data": {"image": "\ud800.png"}, "annotations": ANNOTATIONS}]).encode(),
            name="a.json",
        ),
    ):
        outcome = cli("relabel", "colours", path)
        assert outcome.err.startswith(f"error: none of the photos of {path} is stored in colours@1\n")


def test_relabel_by_a_file_in_which_nothing_has_a_class_says_so(cli, colours_bytes, album, tmp_path):
    Store().save("colours", colours_bytes, new=True)
    path = written(tmp_path, line(album[0], "unknown"), line(album[1], "skip"))
    outcome = cli("relabel", "colours", path)
    assert outcome.code == 1 and outcome.err.startswith(f"error: {path} gives no photo a class\n")


def test_learn_teaches_them_and_relabel_corrects_them(cli, colours_bytes, tmp_path):
    Store().save("colours", colours_bytes, new=True)
    more = paint(tmp_path / "more", images=3, seed=5, colours={"x": (220, 30, 30), "y": (240, 200, 20)})
    red, yellow = (sorted((more / name).iterdir()) for name in "xy")
    decisions = [*(line(f, "accept", "red") for f in red[:2]), *(line(f, "change", "yellow") for f in yellow)]
    path = written(tmp_path, *decisions, line(red[2], "unknown"))
    done = cli("learn", path, "--name", "colours", "--max-forgetting", "100", "--json")
    assert done.code == 0, done.err
    assert "1 photo of " in done.err and "for which no class was chosen" in done.err
    context = Store()["colours"]
    assert context.card.labels == ("blue", "green", "red", "yellow")
    assert len(context.shots) == 9 + 5
    measured = cli("evaluate", "colours", path, "--json")
    assert json.loads(measured.out)["images"] == 5, measured.err
    path.write_bytes(
        path.read_bytes() + line(red[0], "change", "yellow") + b"\n" + line(red[2], "change", "blue") + b"\n"
    )
    corrected = cli("relabel", "colours", path, "--dry-run", "--json")
    assert corrected.code == 0, corrected.err
    assert [photo["after"] for photo in json.loads(corrected.out)["relabelled"]] == ["yellow"]
    assert "1 photo of" in corrected.err  # the one that is not stored
