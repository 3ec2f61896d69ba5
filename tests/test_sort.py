"""Sort: every photo in the folder of its class, nothing overwritten or lost, and everything as it was after undo."""

from __future__ import annotations

import json
import os

import pytest
from sorting import contents, results_of, snapshot, write_photos

from promptctl import commands
from promptctl.errors import BadTarget, NoSuchOperation, TakenBackAlready, WrongOption
from promptctl.store import files
from promptctl.store.journal import Journal


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "inbox"


@pytest.fixture
def into(tmp_path):
    return tmp_path / "sorted"


def sort(inbox, into, photos, tmp_path, show=None, **options):
    return commands.sort(results=results_of(tmp_path / "results.jsonl", photos, show), into=into, **options)


MODES = ("copy", "move", "link")


@pytest.mark.parametrize("mode", MODES)
def test_photos_go_to_their_folders_and_back(inbox, into, tmp_path, mode):
    photos = write_photos(inbox, ["a.jpg", "b.jpg", "deep/c.jpg", "d.jpg", "e.jpg"])
    inbox.joinpath("notes.txt").write_text("mine")
    before = snapshot(inbox)

    def show(i):
        return {"unknown": i == 3, "doubtful": i == 4}

    report = sort(inbox, into, photos, tmp_path, show, mode=mode)
    assert report.exit_code == 0
    names = sorted(str(path.relative_to(into)) for path in into.rglob("*.jpg"))
    assert names == ["doubtful/e.jpg", "emu/a.jpg", "emu/c.jpg", "ibis/b.jpg", "unknown/d.jpg"]
    if mode == "move":
        assert sorted(path.name for path in inbox.rglob("*.*")) == ["notes.txt"]
    else:
        assert snapshot(inbox) == before
    if mode == "copy":
        assert (into / "emu/a.jpg").lstat().st_mtime_ns == before[str(photos[0])][1]
    if mode == "link":
        assert (into / "emu/a.jpg").readlink() == photos[0]
    undone = commands.undo()
    assert (undone.of, undone.exit_code, undone.skipped) == (report.operation, 0, ())
    assert snapshot(inbox) == before
    assert not into.exists()


def test_an_undo_can_be_taken_back_and_a_second_one_goes_further(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    start = snapshot(tmp_path / "inbox")
    sort(inbox, into, photos[:1], tmp_path, mode="move")
    one = snapshot(inbox, into)
    sort(inbox, into, photos[1:], tmp_path, mode="move")
    two = snapshot(inbox, into)
    assert commands.undo().of == 2
    assert snapshot(inbox, into) == one
    assert commands.undo().of == 1
    assert snapshot(inbox) == start
    with pytest.raises(NoSuchOperation):
        commands.undo()
    with pytest.raises(TakenBackAlready) as already:
        commands.undo(1)
    assert str(already.value) == "operation 1 was taken back by operation 4"
    commands.undo(4)
    assert snapshot(inbox, into) == one
    commands.undo(3)
    assert snapshot(inbox, into) == two
    assert [one.state for one in commands.operations().operations] == [
        "",
        "",
        "taken back by 5",
        "taken back by 6",
        "",
        "",
    ]
    assert commands.undo().of == 2
    assert snapshot(inbox, into) == one


def test_undoing_an_undo_of_copies_and_links_makes_them_again(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    sort(inbox, into, photos[:1], tmp_path, mode="copy")
    sort(inbox, into, photos[1:], tmp_path, mode="link")
    there = snapshot(inbox, into)
    commands.undo()
    commands.undo()
    assert not into.exists()
    commands.undo(4)
    commands.undo(3)
    assert snapshot(inbox, into) == there


def test_a_thousand_photos_of_one_name_are_a_thousand(inbox, into, tmp_path):
    photos = write_photos(inbox, [f"{i:04}/IMG_0001.jpg" for i in range(1000)])
    for photo in photos[:20]:
        photo.write_bytes(b"the same")
    before = contents(inbox)
    report = sort(inbox, into, photos, tmp_path, lambda i: {"label": "emu"}, mode="move")
    assert len(report.photos) == 1000
    assert len(list((into / "emu").iterdir())) == 1000
    assert contents(into) == before
    commands.undo()
    assert contents(inbox) == before


def test_what_is_there_is_never_overwritten_whatever_its_case_or_form(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a/IMG.jpg", "b/img.JPG", "c/caf\u00e9.jpg", "d/cafe\u0301.jpg"])
    theirs = write_photos(into / "emu", ["img.jpg", "CAFE\u0301.JPG"])
    before = [path.read_bytes() for path in theirs]
    report = sort(inbox, into, photos, tmp_path, lambda i: {"label": "emu"}, mode="move")
    assert [photo.target for photo in report.photos] == [
        "emu/IMG-2.jpg",
        "emu/img-3.JPG",
        "emu/caf\u00e9-2.jpg",
        "emu/cafe\u0301-3.jpg",
    ]
    assert [path.read_bytes() for path in theirs] == before


def test_a_folder_that_is_there_is_used_as_it_is_spelled(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg"])
    (into / "Emu").mkdir(parents=True)
    assert sort(inbox, into, photos, tmp_path).photos[0].target == "Emu/a.jpg"
    commands.undo()
    assert (into / "Emu").is_dir(), "it was there before"


# --------------------------------------------------------------------------- plans


def test_a_plan_moves_nothing_and_a_dry_run_says_its_very_lines(inbox, into, tmp_path, cli):
    photos = write_photos(inbox, ["a.jpg", "b.jpg", "a.xmp"])[:2]
    results = results_of(tmp_path / "results.jsonl", photos)
    before = snapshot(tmp_path)
    done = cli("sort", "--from", results, "--into", into, "--move", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert snapshot(tmp_path) == before
    plan = tmp_path / "plan.jsonl"
    said = cli("sort", "--from", results, "--into", into, "--move", "--plan", plan)
    assert said.code == 0, said.err
    assert plan.read_text() == done.out
    assert snapshot(inbox) == {path: what for path, what in before.items() if path.startswith(str(inbox) + "/")}
    assert not into.exists()
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["type"] for line in lines] == ["plan", "photo", "photo", "summary"]
    assert lines[1]["target"] == "emu/a.jpg"
    assert [side[1] for side in lines[1]["sidecars"]] == ["emu/a.xmp"]


def test_a_plan_is_applied_once_and_gone_on_with_where_it_was_refused(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg", "c.jpg"])
    plan = tmp_path / "plan.jsonl"
    sort(inbox, into, photos, tmp_path, mode="move", plan=plan)
    status = photos[1].stat()
    photos[1].write_bytes(b"changed since")
    first = commands.apply(plan)
    assert (first.exit_code, len(first.photos)) == (3, 2)
    assert [(one.path, one.reason) for one in first.skipped] == [(photos[1], "it has changed since it was planned")]
    assert photos[1].read_bytes() == b"changed since"
    photos[1].write_bytes(b"photo 1 'b.jpg'")
    os.utime(photos[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    second = commands.apply(plan)
    assert (second.exit_code, second.operation, len(second.photos), second.before) == (0, first.operation, 1, 2)
    third = commands.apply(plan)
    assert (third.exit_code, third.operation, len(third.photos), third.before) == (0, first.operation, 0, 3)
    assert len(Journal().heads()) == 1
    commands.undo()
    assert sorted(path.name for path in inbox.iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]
    assert commands.apply(plan).operation == 3, "it was taken back, so it is applied anew"


def test_a_plan_that_was_cut_off_is_applied_with_a_warning(inbox, into, tmp_path, cli):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    plan = tmp_path / "plan.jsonl"
    sort(inbox, into, photos, tmp_path, mode="copy", plan=plan)
    lines = plan.read_bytes().splitlines(keepends=True)
    plan.write_bytes(b"".join(lines[:2]))
    done = cli("apply", plan)
    assert done.code == 0 and "does not end as a plan does" in done.err
    plan.write_bytes(b"".join(lines))
    assert "does not end" not in cli("apply", plan).err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda photo: photo.unlink(), "it has gone"),
        (lambda photo: photo.write_bytes(b"x"), "it has changed since it was planned"),
        (lambda photo: (photo.unlink(), photo.symlink_to(photo.parent / "b.jpg")), "a link, and only files are sorted"),
        (lambda photo: (photo.unlink(), photo.mkdir()), "not a file"),
        (lambda photo: photo.chmod(0o444), "read-only, so it is not moved"),
    ],
)
def test_what_is_not_as_planned_stays_and_is_named(inbox, into, tmp_path, change, reason):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    plan = tmp_path / "plan.jsonl"
    sort(inbox, into, photos, tmp_path, mode="move", plan=plan)
    change(photos[0])
    before = snapshot(inbox)
    report = commands.apply(plan)
    assert report.exit_code == 3
    assert [(one.path, one.reason) for one in report.skipped] == [(photos[0], reason)]
    assert (into / "ibis" / "b.jpg").exists()
    assert {path: what for path, what in before.items() if not path.endswith("b.jpg")} == {
        path: what for path, what in snapshot(inbox).items() if not path.endswith("b.jpg")
    }


def test_a_place_that_was_taken_since_stays_as_it_is(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    plan = tmp_path / "plan.jsonl"
    sort(inbox, into, photos, tmp_path, mode="move", plan=plan)
    write_photos(into / "emu", ["A.JPG"])
    report = commands.apply(plan)
    assert [one.reason for one in report.skipped] == ["there is a file of this name already"]
    assert photos[0].exists()


# --------------------------------------------------------------------------- what is refused, and what is left


def test_links_and_read_only_photos_are_named_and_the_rest_is_sorted(inbox, into, tmp_path, cli):
    photos = write_photos(inbox, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    photos[1].unlink()
    photos[1].symlink_to(photos[0])
    photos[2].chmod(0o400)
    results = results_of(tmp_path / "results.jsonl", photos)
    done = cli("sort", "--from", results, "--into", into, "--move")
    assert done.code == 3
    assert f"  {photos[1]}: a link, and only files are sorted\n" in done.err
    assert f"  {photos[2]}: read-only, so it is not moved\n" in done.err
    assert sorted(path.name for path in into.rglob("*.jpg")) == ["a.jpg", "d.jpg"]
    assert cli("sort", "--from", results_of(tmp_path / "r.jsonl", photos[2:3]), "--into", into).code == 0
    assert (into / "emu/c.jpg").stat().st_mode & 0o777 == 0o400


def test_a_copy_that_was_changed_since_is_left_and_named(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg", "c.jpg"])
    sort(inbox, into, photos, tmp_path)
    edited = into / "emu/a.jpg"
    status = edited.stat()
    edited.write_bytes(edited.read_bytes()[::-1])
    os.utime(edited, ns=(status.st_atime_ns, status.st_mtime_ns))  # as tools do that keep times
    photos[1].unlink()
    undone = commands.undo()
    assert [(one.path, one.reason) for one in undone.skipped] == [(edited, "it has changed since")]
    assert undone.exit_code == 3
    assert photos[1].read_bytes() == b"photo 1 'b.jpg'", "its copy was all that was left of it"
    assert sorted(path.name for path in into.rglob("*.jpg")) == ["a.jpg"]


def test_moved_photos_come_back_as_they_are_now_and_never_over_another(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg", "deep/down/c.jpg"])
    sort(inbox, into, photos, tmp_path, mode="move")
    with (into / "emu/a.jpg").open("ab") as file:
        file.write(b", edited")
    photos[1].write_bytes(b"another")
    (inbox / "deep" / "down").rmdir()
    (inbox / "deep").rmdir()
    undone = commands.undo()
    assert [(one.path, one.reason) for one in undone.skipped] == [
        (into / "ibis/b.jpg", "there is a file of this name already")
    ]
    assert photos[0].read_bytes().endswith(b", edited")
    assert photos[1].read_bytes() == b"another"
    assert photos[2].exists()
    photos[1].unlink()
    again = commands.undo(1)
    assert (again.operation, again.exit_code) == (undone.operation, 0)
    assert photos[1].read_bytes() == b"photo 1 'b.jpg'"
    assert not into.exists()


def test_photos_that_are_sorted_are_not_sorted_again(inbox, into, tmp_path):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    for mode in ("copy", "link"):
        target = into / mode
        sort(inbox, target, photos[:1], tmp_path, mode=mode)
        again = sort(inbox, target, photos, tmp_path, mode=mode)
        assert ([photo.target for photo in again.photos], again.there) == (["ibis/b.jpg"], 1)
        assert sort(inbox, target, photos, tmp_path, mode=mode).there == 2
    there = sorted((into / "copy").rglob("*.jpg"))
    assert sort(inbox, into / "copy", there, tmp_path, mode="move").there == 2


def test_where_nothing_can_be_sorted_into(inbox, into, tmp_path, home):
    photos = write_photos(inbox, ["a.jpg"])
    into.write_text("a file")
    with pytest.raises(BadTarget) as refused:
        sort(inbox, into, photos, tmp_path)
    assert str(refused.value) == f"nothing is sorted into {into}: it is not a folder"
    with pytest.raises(BadTarget):
        sort(inbox, home / "contexts", photos, tmp_path)
    with pytest.raises(WrongOption):
        commands.sort([inbox], into=tmp_path / "x")


# --------------------------------------------------------------------------- photos that are looked at


def test_photos_are_answered_and_sorted_by_a_context(cli, photos, colours_bytes, answering, tmp_path, into, tiny):
    from promptctl.store.store import Store

    Store().save("colours", colours_bytes, new=True)
    (photos / "red" / "broken.jpg").write_bytes(b"no photo")
    (photos / "red" / "notes.txt").write_text("mine")
    before = snapshot(photos)
    done = cli("sort", photos, "--prompt", "colours", "--into", into, "--move")
    assert done.code == 3, done.err
    assert f"{photos / 'red' / 'broken.jpg'}: " in done.err
    sorted_photos = list(into.rglob("*.png"))
    assert len(sorted_photos) == 18
    assert {path.parent.name for path in sorted_photos} <= {"red", "green", "blue", "unknown", "doubtful"}
    assert cli("undo").code == 0
    assert snapshot(photos) == before


def test_a_folder_in_which_it_lies_can_be_sorted_into(cli, photos, colours_bytes, answering, tiny):
    from promptctl.store.store import Store

    Store().save("colours", colours_bytes, new=True)
    into = photos / "sorted"
    first = cli("sort", photos, "--prompt", "colours", "--into", into)
    assert first.code == 0, first.err
    before = snapshot(photos)
    again = cli("sort", photos, "--prompt", "colours", "--into", into)
    assert again.code == 0
    assert f"{into} is in there too: what it holds is sorted already and stays\n" in again.err
    assert "18 photos sorted before, which stay as they are\n" in again.err
    assert "hint: --into another folder sorts them anew, by what the context knows now\n" in again.err
    assert "hint" not in first.err
    assert again.err.count(" is in there too: ") == 1
    assert snapshot(photos) == before


LIMITS = ([], ["--unknown", "20%"], ["--no-unknown"], ["--min-confidence", "0.9"], ["--accept-error", "10%"])


@pytest.mark.parametrize("limits", LIMITS)
def test_results_are_limited_as_photos_are(cli, colours_bytes, answering, tmp_path, into, limits):
    from conftest import COLOURS, paint

    from promptctl.store.store import Store

    Store().save("colours", colours_bytes, new=True)
    inbox = paint(
        tmp_path / "new", images=5, seed=9, colours={**COLOURS, "grey": (90, 90, 90), "pink": (250, 150, 200)}
    )
    results = tmp_path / "results.jsonl"
    found = cli("classify", inbox, "--prompt", "colours", "--output", results)
    assert found.code == 0, found.err
    photos = cli("sort", inbox, "--prompt", "colours", "--into", into, "--one-by-one", "--dry-run", *limits)
    again = cli("sort", "--from", results, "--prompt", "colours", "--into", into, "--dry-run", *limits)
    assert photos.code == again.code == 0, photos.err + again.err
    assert without_likeness(again.out) == without_likeness(photos.out)


def without_likeness(lines):
    """Which --no-unknown does not ask for."""
    return [{**json.loads(line), "likeness": None} for line in lines.splitlines()]


def test_photos_are_answered_together_unless_it_is_said_otherwise(cli, photos, colours_bytes, answering, into):
    from promptctl.store.store import Store

    Store().save("colours", colours_bytes, new=True)
    together = cli("sort", photos, "--prompt", "colours", "--into", into, "--dry-run").out.splitlines()
    alone = cli("sort", photos, "--prompt", "colours", "--into", into, "--dry-run", "--one-by-one").out.splitlines()
    assert (json.loads(together[0])["together"], json.loads(alone[0])["together"]) == (True, False)


def test_words_sort_too_and_only_a_context_knows_what_is_unknown(inbox, into, tmp_path, cli):
    results = results_of(tmp_path / "r.jsonl", write_photos(inbox, ["a.jpg"]))
    done = cli("sort", "--from", results, "--into", into, "--unknown", "1%")
    assert (done.code, done.out) == (1, "")
    assert done.err == ("error: what is unknown or too often wrong only a context can tell\nhint:  add --prompt NAME\n")


def test_an_undo_that_can_take_nothing_back_says_so_and_how_to_go_further(inbox, into, tmp_path, cli):
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    sort(inbox, into, photos[:1], tmp_path)
    sort(inbox, into, photos[1:], tmp_path)
    (into / "emu/b.jpg").write_bytes(b"edited")
    undone = cli("undo")
    assert undone.code == 3 and undone.out.endswith(" is not taken back\n")
    assert "promptctl undo 2   (to try the rest again)\n      promptctl undo 1   (the one before it)\n" in undone.err
    assert "to have it back" not in undone.err
    further = cli("undo", "1")
    assert further.code == 0 and further.out.endswith(" is taken back: 1 copy taken away\n")


def test_a_plain_undo_names_the_one_before_what_cannot_be_taken_back(inbox, into, tmp_path, cli, home):
    sort(inbox, into, write_photos(inbox, ["a.jpg"]), tmp_path)
    with Journal(home).begin("purge", ("purge",), steps=[{"do": "purge", "name": "birds"}]) as operation:
        operation.became(done=[0])
    refused = cli("undo")
    assert refused.code == 1 and "hint:  promptctl undo 1   (the one before it)\n" in refused.err


@pytest.mark.parametrize("moment", ["before the old name goes", "as it goes"])
def test_of_two_sorts_that_move_one_photo_at_once_one_has_it(inbox, into, tmp_path, monkeypatch, moment):
    (photo,) = write_photos(inbox, ["a.jpg"])
    others = tmp_path / "other.jpg"
    name = "fsync_folder" if moment == "before the old name goes" else "delete"
    call = getattr(files, name)

    def comes_between(path):
        if (into / "emu/a.jpg").exists() and photo.exists():  # another sort has made its link, and is quicker
            os.link(photo, others)
            photo.unlink()
        call(path)

    monkeypatch.setattr(files, name, comes_between)
    report = sort(inbox, into, [photo], tmp_path, mode="move")
    assert [one.reason for one in report.skipped] == ["it has gone"] and not report.photos
    assert (others.exists(), photo.exists(), (into / "emu/a.jpg").exists()) == (True, False, False)


def test_a_photo_that_is_deleted_while_it_moves_is_where_it_went(inbox, into, tmp_path, monkeypatch):
    (photo,) = write_photos(inbox, ["a.jpg"])
    delete = files.delete
    monkeypatch.setattr(files, "delete", lambda path: (path.unlink() if path == photo else None, delete(path)))
    report = sort(inbox, into, [photo], tmp_path, mode="move")
    assert len(report.photos) == 1 and (into / "emu/a.jpg").exists()


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (b'"size"', b'"length"'),
        (b'"from":"', b'"from":7,"x":"'),
        (b'"do":"copy",', b""),
        (b'"do":"copy"', b'"do":"burn"'),
        (b'"n":1,', b'"n":"x",'),
        (b'"n":1,', b""),
        (b'"left":[]', b'"left":7'),
        (b'"done":[0', b'"done":["a"'),
    ],
)
def test_a_journal_that_says_nothing_is_refused_in_one_sentence(inbox, into, tmp_path, home, cli, written, instead):
    sort(inbox, into, write_photos(inbox, ["a.jpg"]), tmp_path)
    journal = home / "journal" / "1.jsonl"
    journal.write_bytes(journal.read_bytes().replace(written, instead))
    done = cli("undo")
    assert done.code == 12 and ("is damaged: " in done.err or "not known here: " in done.err)
    assert (into / "emu/a.jpg").exists()


def test_where_the_journal_cannot_go_on_it_is_said_what_was_done(inbox, into, tmp_path, home, cli, monkeypatch):
    results = results_of(tmp_path / "results.jsonl", write_photos(inbox, ["a.jpg"]))
    append = files.append

    def full(descriptor, data, *, durable):
        if data.startswith(b'{"type":"became"'):
            raise OSError(28, "No space left on device")
        append(descriptor, data, durable=durable)

    monkeypatch.setattr(files, "append", full)
    done = cli("sort", "--from", results, "--into", into, "--move")
    assert done.code == 1
    assert done.err.endswith("what was done is operation 1: the same command goes on, promptctl undo takes it back\n")
