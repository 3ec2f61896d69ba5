"""Tag: keywords in sidecars beside photos, which stay as they are, and every sidecar as it was after undo."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import suppress

import pytest
from faults import killed_at
from sorting import results_of, snapshot, write_photos
from test_xmp import ADOBE, DARKTABLE

from promptctl import commands
from promptctl.errors import BadPlan, NoSuchOperation, WrongOption
from promptctl.sorting.sidecars import XmpNames, companions
from promptctl.sorting.xmp import keywords
from promptctl.store import files
from promptctl.store.store import Store


@pytest.fixture
def library(tmp_path):
    return tmp_path / "library"


def tag(photos, tmp_path, show=None, **options):
    return commands.tag(results=results_of(tmp_path / "results.jsonl", photos, show), **options)


def actions(report):
    return {(one.path.name, one.sidecar and one.sidecar.name): one.action for one in report.photos}


def test_each_photo_gets_a_sidecar_and_undo_brings_back_what_was_there(library, tmp_path):
    photos = write_photos(library, ["a.jpg", "b.jpg", "deep/c.heic", "d.png"])
    write_photos(library, ["notes.txt"])
    theirs = library / "b.jpg.xmp"
    theirs.write_bytes(DARKTABLE.encode())
    theirs.chmod(0o640)
    os.utime(theirs, ns=(10**18, 10**18 + 7))
    before = snapshot(library)
    plan = tag(photos, tmp_path, dry_run=True)
    assert snapshot(library) == before and plan.operation is None
    report = tag(photos, tmp_path)
    assert (report.exit_code, actions(report)) == (0, actions(plan))
    assert set(actions(report).values()) == {"new", "merged"}
    now = snapshot(library)
    assert {key: now[key] for key in before if key != str(theirs)} == {
        k: v for k, v in before.items() if k != str(theirs)
    }
    assert {path.name for path in library.rglob("*.xmp")} == {"a.jpg.xmp", "b.jpg.xmp", "c.heic.xmp", "d.png.xmp"}
    assert keywords(theirs.read_bytes()) == ("holiday & sea", "ibis")
    assert theirs.stat().st_mode & 0o777 == 0o640
    again = tag(photos, tmp_path)
    assert again.operation is None and set(actions(again).values()) == {"same"} and snapshot(library) == now
    undone = commands.undo()
    assert (undone.of, undone.exit_code, undone.sentence) == (report.operation, 0, "4 sidecars as before")
    assert snapshot(library) == before
    commands.undo(undone.operation)
    assert keywords(theirs.read_bytes()) == ("holiday & sea", "ibis")


def test_another_answer_replaces_ours_and_unknown_photos_get_none_unless_asked(library, tmp_path):
    photos = write_photos(library, ["a.jpg", "b.jpg", "c.jpg"])
    (library / "b.jpg.xmp").write_bytes(DARKTABLE.encode())
    tag(photos, tmp_path)

    def show(i):
        return {"label": "kiwi", "name": "kiwi", "unknown": i == 0, "doubtful": i == 1}

    report = tag(photos, tmp_path, show)
    assert actions(report) == {
        ("a.jpg", "a.jpg.xmp"): "removed",
        ("b.jpg", "b.jpg.xmp"): "merged",
        ("c.jpg", "c.jpg.xmp"): "merged",
    }
    assert not (library / "a.jpg.xmp").exists() and (library / "b.jpg.xmp").read_bytes() == DARKTABLE.encode()
    assert actions(tag(photos, tmp_path, show))["a.jpg", None] == "none"
    tag(photos, tmp_path, show, unknown_tag="no bird", doubtful_tag="look again")
    said = [keywords((library / f"{name}.jpg.xmp").read_bytes()) for name in "abc"]
    assert said == [("no bird",), ("holiday & sea", "look again"), ("kiwi",)]
    for _ in range(3):
        commands.undo()
    assert sorted(path.name for path in library.iterdir()) == ["a.jpg", "b.jpg", "b.jpg.xmp", "c.jpg"]
    assert (library / "b.jpg.xmp").read_bytes() == DARKTABLE.encode()


NAMED = {  # files of a folder → which sidecars a photo has, or gets
    "as darktable calls it": (["a.jpg", "a.jpg.xmp"], "a.jpg", ("a.jpg.xmp",)),
    "none": (["a.jpg"], "a.jpg", ("a.jpg.xmp",)),
    "in another case": (["a.JPG", "a.jpg.XMP"], "a.JPG", ("a.jpg.XMP",)),
    "of another photo in another case": (["a.JPG", "a.jpg", "a.jpg.xmp"], "a.JPG", ("a.JPG.xmp",)),
    "as Adobe calls it": (["a.CR2", "a.xmp"], "a.CR2", ("a.xmp",)),
    "both": (["a.CR2", "a.xmp", "a.CR2.xmp"], "a.CR2", ("a.CR2.xmp", "a.xmp")),
    "of the raw of a pair": (["a.jpg", "a.CR2", "a.xmp"], "a.jpg", ("a.jpg.xmp",)),
    "of a photo alone": (["a.jpg", "a.xmp"], "a.jpg", ("a.xmp",)),
    "of one of two photos": (["a.jpg", "a.png", "a.xmp"], "a.jpg", ("a.jpg.xmp",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_the_sidecar_that_is_merged_is_the_one_that_programs_read(kind):
    names, photo, wanted = NAMED[kind]
    assert XmpNames(names).of(photo) == wanted
    assert XmpNames(["a.CR2"]).of("a.CR2", adobe=True) == ("a.xmp",)


def test_a_raw_beside_its_jpeg_has_the_same_answer_whether_it_can_be_read_or_not(library, tmp_path):
    photos = write_photos(library, ["a.NEF", "a.jpg", "b.CR2"])
    (library / "a.xmp").write_bytes(ADOBE.encode())
    report = tag(photos, tmp_path, lambda i: {"label": "x", "name": ("wrong", "right", "own")[i]})
    assert [(one.path.name, one.keyword) for one in report.photos] == [
        ("a.NEF", "right"),
        ("a.jpg", "right"),
        ("b.CR2", "own"),
    ]
    assert keywords((library / "a.xmp").read_bytes()) == ("right",)
    commands.undo()
    results = results_of(tmp_path / "results.jsonl", photos[1:2])
    with results.open("a") as file:
        file.write(f'{{"type": "error", "path": "{photos[0]}", "reason": "raw photo"}}\n')
    report = commands.tag(results=results)
    assert (report.skipped, sorted(actions(report))) == ((), [("a.NEF", "a.xmp"), ("a.jpg", "a.jpg.xmp")])


def test_the_sidecar_of_a_raw_goes_where_its_jpeg_goes():
    names = ["a.jpg", "a.NEF", "a.NEF.xmp", "a.jpg.xmp", "a.xmp", "b.NEF.xmp"]
    assert [one.end for one in companions(["a.jpg"], names)["a.jpg"]] == [".NEF", ".NEF.xmp", ".jpg.xmp", ".xmp"]


def test_what_cannot_be_merged_is_named_and_left(library, tmp_path):
    photos = write_photos(library, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    (library / "a.jpg.xmp").write_text("a sidecar")
    (library / "b.jpg.xmp").symlink_to(library / "a.jpg.xmp")
    (library / "c.jpg.xmp").mkdir()
    (library / "d.jpg.xmp").write_bytes(DARKTABLE.encode())
    (library / "d.jpg.xmp").chmod(0o444)
    before = snapshot(library)
    report = tag(photos, tmp_path)
    assert {one.path.name: one.reason for one in report.skipped} == {
        "a.jpg.xmp": "not XML (syntax error, line 1)",
        "b.jpg.xmp": "a link, and only files are changed",
        "c.jpg.xmp": "not a file",
        "d.jpg.xmp": "read-only, so it is not changed",
    }
    assert report.exit_code == 3
    now = snapshot(library)
    assert {key: now[key] for key in before} == before
    assert set(now) - set(before) == {str(library / "e.jpg.xmp")}


def test_undo_leaves_a_sidecar_that_another_program_wrote_since(library, tmp_path):
    photos = write_photos(library, ["a.jpg", "b.jpg"])
    tag(photos, tmp_path)
    (library / "a.jpg.xmp").write_text("edited since")
    undone = commands.undo()
    assert [(one.path.name, one.reason) for one in undone.skipped] == [("a.jpg.xmp", "it has changed since")]
    assert sorted(path.name for path in library.iterdir()) == ["a.jpg", "a.jpg.xmp", "b.jpg"]
    assert (library / "a.jpg.xmp").read_text() == "edited since"


def test_photos_elsewhere_get_no_sidecar():
    with pytest.raises(WrongOption) as refused:
        commands.tag(["s3://bucket/photos"], words=["emu", "ibis"])
    assert str(refused.value).startswith(
        "a sidecar lies beside its photo on this machine, and s3://bucket/photos is elsewhere"
    )


# --------------------------------------------------------------------------- sort --xmp


@pytest.mark.parametrize("mode", ["copy", "move", "link"])
def test_sort_writes_keywords_beside_the_sorted_photos_and_one_undo_takes_all_back(library, tmp_path, mode):
    photos = write_photos(library, ["a.jpg", "a.NEF", "a.xmp", "b.jpg", "b.jpg.xmp", "c.jpg", "other/c.jpg"])
    for name in ("a.xmp", "b.jpg.xmp"):
        (library / name).write_bytes(DARKTABLE.encode())
    into = tmp_path / "sorted"
    write_photos(into, ["emu/c.jpg.xmp"])
    before = snapshot(library, into)
    jpegs = [one for one in photos if one.suffix == ".jpg"]
    results = results_of(tmp_path / "results.jsonl", jpegs, lambda i: {"unknown": i == 3})
    report = commands.sort(results=results, into=into, mode=mode, xmp=True)
    assert (report.exit_code, report.tagged, report.sidecars) == (0, 4, 3)
    said = {
        str(path.relative_to(into)): keywords(path.read_bytes())
        for path in into.rglob("*.xmp")
        if path.stat().st_size > 99
    }
    assert said == {
        "emu/a.jpg.xmp": ("emu",),
        "emu/a.xmp": ("holiday & sea", "emu"),
        "ibis/b.jpg.xmp": ("holiday & sea", "ibis"),
        "emu/c-2.jpg.xmp": ("emu",),
    }
    if mode != "move":
        assert snapshot(library) == {key: value for key, value in before.items() if key.startswith(str(library))}
    again = commands.sort(results=results, into=into, mode=mode, xmp=True)
    assert again.there == 4 * (mode != "move")
    assert not again.there or again.advice()[0].startswith(f"hint: promptctl tag {into} --prompt NAME writes keywords")
    now = snapshot(library, into)
    undone = commands.undo()
    assert (undone.exit_code, snapshot(library, into)) == (0, before)
    commands.undo(undone.operation)
    assert snapshot(library, into).keys() == now.keys()
    assert keywords((into / "emu/a.xmp").read_bytes()) == ("holiday & sea", "emu")


def test_a_plan_knows_of_keywords_and_names_a_sidecar_that_cannot_be_merged(library, tmp_path):
    photos = write_photos(library, ["a.jpg", "b.jpg", "b.jpg.xmp"])
    into, plan = tmp_path / "sorted", tmp_path / "plan.jsonl"
    results = results_of(tmp_path / "results.jsonl", photos[:2])
    commands.sort(results=results, into=into, xmp=True, plan=plan)
    report = commands.apply(plan)
    assert [(one.path.name, one.reason) for one in report.skipped] == [("b.jpg.xmp", "not XML (syntax error, line 1)")]
    assert keywords((into / "emu/a.jpg.xmp").read_bytes()) == ("emu",)
    assert (into / "ibis/b.jpg.xmp").read_bytes() == photos[2].read_bytes()
    for wrong in ('"keywords": 1', '"keywords": {"context": 1}'):
        plan.write_text(re.sub(r'"keywords": \{.*?\}', wrong, plan.read_text()))
        with pytest.raises(BadPlan, match="line 1: its keywords are none"):
            commands.apply(plan)


# --------------------------------------------------------------------------- stopped, and a disk that says no


class Scene:
    """Photos, one with a sidecar of another program's."""

    def __init__(self, folder, *names):
        self.library, self.home, self.results = folder / "library", folder / "home", folder / "results.jsonl"
        for path in (self.library, self.home):
            shutil.rmtree(path, ignore_errors=True)
        photos = write_photos(self.library, names)
        (self.library / "b.jpg.xmp").write_bytes(DARKTABLE.encode())
        results_of(self.results, photos)
        self.before = snapshot(self.library)

    def tag(self, store):
        return commands.tag(results=self.results, store=store).exit_code

    def check(self, where):
        """Each sidecar is as it was or as it is to be."""
        for name, wanted in (("a", ("emu",)), ("b", ("holiday & sea", "ibis"))):
            path = self.library / f"{name}.jpg.xmp"
            if path.exists() and path.read_bytes() != DARKTABLE.encode():
                assert keywords(path.read_bytes()) == wanted, where


@pytest.mark.parametrize("what", ["tag", "undo"])
def test_tagging_and_undo_may_be_stopped_at_any_moment(tmp_path, what):
    points = 0
    while True:
        scene = Scene(tmp_path, "a.jpg", "b.jpg")
        store = Store(scene.home)
        if what == "undo":
            scene.tag(store)
        act = scene.tag if what == "tag" else (lambda store: commands.undo(store=store))
        point = killed_at(scene.home, act, 2 * points + 1)
        if point is None:
            break
        points += 1
        scene.check(point)
        if points % 2 and what == "tag":  # once more
            assert scene.tag(store) == 0, point
            assert len(list(scene.library.glob("*.xmp"))) == 2, point
        with suppress(NoSuchOperation):  # until there is nothing left
            while True:
                assert commands.undo(store=store).exit_code == 0, point
        assert snapshot(scene.library) == scene.before, point
    assert points > 12


def test_no_space_stops_it_and_it_goes_on_afterwards(library, tmp_path, monkeypatch):
    photos = write_photos(library, ["a.jpg", "b.jpg"])
    original, left = os.write, [0]

    def write(descriptor, data):
        if bytes(data).startswith(b"<?xpacket"):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        return original(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        nothing = tag(photos, tmp_path)
        left[0] = 1
        report = tag(photos, tmp_path)
    assert nothing.full == "no space left on device" and "undo" not in nothing.complaint(), "it takes back another"
    assert (report.full, len(report.photos), len(report.skipped)) == ("no space left on device", 1, 1)
    assert "undo takes back what was done" in report.complaint()
    assert set(actions(tag(photos, tmp_path)).values()) == {"same", "new"}


def test_a_folder_that_cannot_be_written_to_costs_its_sidecars_alone(library, tmp_path, monkeypatch):
    photos = write_photos(library, ["a.jpg", "locked/b.jpg"])
    original = files.write

    def write(path, data, mtime_ns=None):
        if path.parent.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        original(path, data, mtime_ns)

    monkeypatch.setattr(files, "write", write)
    report = tag(photos, tmp_path)
    assert [(one.path.name, one.reason) for one in report.skipped] == [("b.jpg.xmp", "permission denied")]
    assert (report.exit_code, report.operation) == (3, 1)
    report = tag(photos[1:], tmp_path)
    assert (report.exit_code, report.operation, report.advice()) == (1, None, []), "undo would take back another"


def test_a_file_of_results_with_its_head_is_tagged_and_sorted_by(library, tmp_path):
    photos = write_photos(library, ["a.jpg"])
    results = results_of(tmp_path / "results.jsonl", photos)
    head = '{"schema_version": 2, "type": "head", "context": "birds@1"}\n'
    results.write_text(head + results.read_text() + '{"type": "summary", "images": 1}\n')
    assert commands.tag(results=results).operation == 1
    (library / "a.jpg.xmp").unlink()
    photos[0].rename(library / "b.jpg")
    gone = commands.tag(results=results)
    assert (gone.exit_code, gone.skipped[0].path, sorted(library.glob("*.xmp"))) == (1, photos[0], []), "an orphan"
    (library / "b.jpg").rename(photos[0])
    assert len(commands.sort(results=results, into=tmp_path / "sorted").photos) == 1


@pytest.mark.parametrize(("mode", "what"), [("move", "apply"), ("copy", "apply"), ("move", "undo"), ("copy", "undo")])
def test_sorting_with_keywords_may_be_stopped_at_any_moment(tmp_path, mode, what):
    points = 0
    while True:
        scene = Scene(tmp_path, "b.jpg")
        into, plan = tmp_path / "sorted", tmp_path / "plan.jsonl"
        shutil.rmtree(into, ignore_errors=True)
        plan.unlink(missing_ok=True)
        store = Store(scene.home)
        commands.sort(results=scene.results, into=into, mode=mode, xmp=True, plan=plan, store=store)
        if what == "undo":
            commands.apply(plan, store=store)
        act = commands.undo if what == "undo" else (lambda plan=plan, *, store: commands.apply(plan, store=store))
        point = killed_at(scene.home, lambda store, act=act: act(store=store), 2 * points + 1)
        if point is None:
            break
        points += 1
        if points % 2 and what == "apply":
            assert commands.apply(plan, store=store).exit_code == 0, point
            (sidecar,) = into.rglob("*.xmp")
            assert keywords(sidecar.read_bytes()) == ("holiday & sea", "emu"), point
        with suppress(NoSuchOperation):
            while True:
                assert commands.undo(store=store).exit_code == 0, point
        assert snapshot(scene.library) == scene.before and not into.exists(), point
    assert points > 12
