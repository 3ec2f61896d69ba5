"""Names that every file system takes, what belongs to a photo, and plans that a stranger wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sorting import contents, results_of, snapshot, write_photos

from promptctl import commands
from promptctl.errors import BadPlan, BadResults, BadTarget
from promptctl.sorting.places import Places, folder_name, folder_names, key_of
from promptctl.sorting.plan import read_plan
from promptctl.sorting.sidecars import companions
from promptctl.store.journal import Journal

# --------------------------------------------------------------------------- names of folders


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("emu", "emu"),
        ("house sparrow", "house sparrow"),
        ("Großer Brachvogel", "Großer Brachvogel"),
        ("cafe\u0301", "caf\u00e9"),
        ("a/b", "a_b"),
        ("../../etc", "__.._etc"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("   ", "_"),
        (".hidden", "_hidden"),
        ("dots...", "dots"),
        ("blank . ", "blank"),
        ("C:\\emu", "C__emu"),
        ('a<b>c"d|e?f*g', "a_b_c_d_e_f_g"),
        ("tab\there\nnew\x00", "tab_here_new_"),
        ("con", "con_"),
        ("CON.jpg", "CON_.jpg"),
        ("lpt9", "lpt9_"),
        ("COM¹", "COM¹_"),
        ("nul .x", "nul _.x"),
        ("console", "console"),
        ("evil\u202egnp", "evil_gnp"),
        ("\ud800", "_"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ],
)
def test_a_folder_is_called_as_its_label_and_leads_nowhere(label, folder):
    assert folder_name(label) == folder


@given(st.lists(st.text(max_size=300), max_size=12, unique=True))
def test_every_label_has_a_folder_of_its_own_that_is_one_visible_name(labels):
    names = folder_names(labels)
    assert set(names) == set(labels)
    keys = [key_of(name) for name in names.values()]
    assert len(set(keys)) == len(labels)
    assert not {"unknown", "doubtful"} & set(keys)
    for name in names.values():
        assert 0 < len(os.fsencode(name)) <= 255
        assert not set('/\\:*?"<>|\0') & set(name)
        assert not name.startswith(".") and name == name.strip() and not name.endswith(".")


def test_labels_that_become_one_name_and_those_of_no_class_are_kept_apart():
    labels = ["a/b", "a:b", "A?B", "unknown", "Doubtful", "unknown (class)"]
    assert folder_names(labels) == {
        "a/b": "a_b",
        "a:b": "a_b-2",
        "A?B": "A_B-3",
        "unknown": "unknown (class)",
        "Doubtful": "Doubtful (class)",
        "unknown (class)": "unknown (class)-2",
    }


def test_a_name_of_255_bytes_has_room_for_its_number(tmp_path):
    places, long = Places(tmp_path), "é" * 125
    names = [places.stem_for("emu", long, [".jpg", ".jpg.xmp"]) for _ in range(12)]
    assert len({key_of(name) for name in names}) == 12
    assert all(len(os.fsencode(name + ".jpg.xmp")) <= 255 for name in names)


# --------------------------------------------------------------------------- sidecars


def test_what_belongs_to_a_photo_goes_with_it_under_its_new_name():
    long = "a_name_that_is_longer_than_takeout_would_keep_"
    photos = ["IMG_1.jpg", "IMG_1.png", "IMG(2).jpg", "IMG_0003.HEIC", f"{long}1.jpg"]
    names = [
        *photos, "IMG_1.xmp", "img_1.JPG.xmp", "IMG_1.jpg.json", "IMG_1.MOV", "IMG_1.CR2", "IMG_1.txt", "IMG_10.xmp",
        "IMG_1.png.supplemental-metadata.json", "IMG.jpg.supplemental-me(2).json", "IMG_0003.AAE", "IMG_O0003.AAE",
        "IMG_0003.HEIC.suppl.json", f"{long}.json", "metadata.json", "IMG_1.pdf",
    ]  # fmt: skip
    found = {photo: {one.name: one.end for one in those} for photo, those in companions(photos, names).items()}
    assert found == {
        "IMG_1.jpg": {
            "IMG_1.xmp": ".xmp",
            "img_1.JPG.xmp": ".jpg.xmp",
            "IMG_1.jpg.json": ".jpg.json",
            "IMG_1.MOV": ".MOV",
            "IMG_1.CR2": ".CR2",
        },
        "IMG_1.png": {"IMG_1.png.supplemental-metadata.json": ".png.supplemental-metadata.json"},
        "IMG(2).jpg": {"IMG.jpg.supplemental-me(2).json": ".jpg.json"},
        "IMG_0003.HEIC": {
            "IMG_0003.AAE": ".AAE",
            "IMG_O0003.AAE": "-original.AAE",
            "IMG_0003.HEIC.suppl.json": ".HEIC.suppl.json",
        },
        f"{long}1.jpg": {f"{long}.json": ".jpg.json"},
    }


def test_sidecars_move_and_come_back_and_a_raw_goes_with_its_jpeg(tmp_path):
    inbox, into = tmp_path / "inbox", tmp_path / "sorted"
    photos = write_photos(inbox, ["IMG.JPG", "IMG.CR2", "IMG.xmp", "IMG.JPG.xmp", "IMG.MOV", "alone.NEF", "lost.xmp"])
    write_photos(into / "emu", ["IMG.jpg"])
    before = snapshot(inbox, into)
    lines = results_of(tmp_path / "r.jsonl", photos[:1]).read_text() + "".join(
        json.dumps({"type": "error", "path": str(path), "reason": "raw photo"}) + "\n"
        for path in (photos[1], photos[5])
    )
    (tmp_path / "r.jsonl").write_text(lines)
    report = commands.sort(results=tmp_path / "r.jsonl", into=into, mode="move")
    assert [(one.path, one.reason) for one in report.skipped] == [(photos[5], "raw photo")]
    assert report.sidecars == 4
    assert sorted(path.name for path in (into / "emu").iterdir()) == [
        "IMG-2.CR2", "IMG-2.JPG", "IMG-2.JPG.xmp", "IMG-2.MOV", "IMG-2.xmp", "IMG.jpg",
    ]  # fmt: skip
    assert sorted(path.name for path in inbox.iterdir()) == ["alone.NEF", "lost.xmp"]
    commands.undo()
    assert snapshot(inbox, into) == before


def test_a_sidecar_whose_photo_stays_stays_too(tmp_path):
    inbox, into, plan = tmp_path / "inbox", tmp_path / "sorted", tmp_path / "plan.jsonl"
    photos = write_photos(inbox, ["a.jpg", "a.xmp", "b.jpg"])
    results = results_of(tmp_path / "r.jsonl", [photos[0], photos[2]])
    commands.sort(results=results, into=into, mode="move", plan=plan)
    photos[0].write_bytes(b"changed")
    commands.apply(plan)
    assert sorted(path.name for path in inbox.iterdir()) == ["a.jpg", "a.xmp"]


# --------------------------------------------------------------------------- plans of strangers


@pytest.fixture
def scene(tmp_path):
    inbox, into = tmp_path / "inbox", tmp_path / "sorted"
    photos = write_photos(inbox, ["a.jpg", "b.jpg"])
    write_photos(tmp_path, ["secret.txt"])
    into.mkdir()
    plan = tmp_path / "plan.jsonl"
    commands.sort(results=results_of(tmp_path / "r.jsonl", photos), into=into, mode="move", plan=plan)
    return plan


def rewritten(plan: Path, **changes: object) -> Path:
    """The plan with its first photo changed."""
    head, photo, *rest = [json.loads(line) for line in plan.read_text().splitlines()]
    plan.write_text("".join(json.dumps(line) + "\n" for line in (head, {**photo, **changes}, *rest)))
    return plan


@pytest.mark.parametrize(
    "target",
    [
        "/etc/cron.d/x",
        "../x.jpg",
        "emu/../../x.jpg",
        "emu/./x",
        "emu//x",
        "x.jpg",
        "",
        "emu/",
        "emu/..",
        "a\0b/c",
        "emu/\ud83d.jpg",
        7,
        None,
    ],
)
def test_a_target_that_leads_out_is_refused_before_anything_is_done(scene, tmp_path, target):
    rewritten(scene, target=target)
    before = snapshot(tmp_path / "inbox", tmp_path / "sorted")
    with pytest.raises(BadPlan) as refused:
        commands.apply(scene)
    assert f"{scene} is not a plan that can be applied: line 2: " in str(refused.value)
    assert snapshot(tmp_path / "inbox", tmp_path / "sorted") == before


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "relative.jpg"},
        {"source": "/a/../etc/passwd"},
        {"source": None},
        {"size": "large"},
        {"mtime_ns": None},
        {"sidecars": [["/etc/passwd", "emu/passwd", 1, 1]]},
        {"sidecars": [["{inbox}/b.jpg", "ibis/b.jpg", 1, 1]]},
        {"sidecars": [["{inbox}/b.jpg", "../b.jpg", 1, 1]]},
        {"source": "/\ud800.jpg"},
        {"sidecars": [7]},
        {"sidecars": [["{inbox}/b.jpg"]]},
        {"probability": 10**400},
        {"sidecars": 7},
        {"probability": "x"},
    ],
)
def test_a_plan_says_what_it_touches_or_is_none(scene, tmp_path, changes):
    text = json.dumps(changes).replace("{inbox}", str(tmp_path / "inbox"))
    rewritten(scene, **json.loads(text))
    with pytest.raises(BadPlan):
        commands.apply(scene)
    assert len(list((tmp_path / "inbox").iterdir())) == 2


@pytest.mark.parametrize(
    "data", [b"", b"{}\n", b"[" * 100_000, b'{"type": "plan"}\n', b"\xff\xfe", b'{"type": "plan", "schema_version": 2}']
)
def test_what_is_no_plan_is_one_sentence(tmp_path, data, cli):
    plan = tmp_path / "plan.jsonl"
    plan.write_bytes(data)
    done = cli("apply", plan)
    assert (done.code, done.out) == (12, "")
    assert done.err.startswith(f"error: {plan} is not a plan that can be applied: ")
    plan.unlink()
    assert cli("apply", plan).code == 12


def test_a_plan_leads_into_no_folder_of_the_store(scene, tmp_path, home):
    head, *rest = scene.read_text().splitlines()
    into = home / "contexts"
    scene.write_text("\n".join([json.dumps({**json.loads(head), "into": str(into)}), *rest]))
    with pytest.raises(BadTarget, match="inside the store"):
        commands.apply(scene)
    assert not into.exists() and not Journal(home).heads()


def test_a_target_that_is_too_long_stays_where_it_is_and_the_operation_ends(scene, home, cli):
    rewritten(scene, target="/".join(["a"] * 3000))
    done = cli("apply", scene)
    assert done.code == 3 and "a.jpg: file name too long\n" in done.err
    assert Journal(home).head(1).ended and "promptctl undo" in done.err


def test_where_nothing_was_done_no_undo_is_offered_that_would_take_back_what_came_before(scene, tmp_path, cli):
    write_photos(tmp_path / "sorted", ["emu/a.jpg", "ibis/b.jpg"])
    refused = cli("apply", scene)
    assert refused.code == 1 and "undo" not in refused.err


def test_a_journal_with_a_name_that_no_file_has_can_be_taken_back(tmp_path, home):
    ends = {"from": str(tmp_path / "a.jpg"), "to": str(tmp_path / "\ud83d.jpg")}
    step = {"do": "copy", **ends, "size": 1, "mtime_ns": 1, "dev": 1, "ino": 1}
    with pytest.raises(KeyboardInterrupt), Journal(home).begin("apply", ("apply", "plan.jsonl"), steps=[step]):
        raise KeyboardInterrupt
    assert commands.undo().exit_code == 0


def test_a_link_that_leads_out_is_not_followed_and_one_that_stays_is(scene, tmp_path):
    outside, into = tmp_path / "outside", tmp_path / "sorted"
    outside.mkdir()
    (into / "emu").symlink_to(outside)
    (into / "real").mkdir()
    (into / "ibis").symlink_to(into / "real")
    report = commands.apply(scene)
    assert [one.reason for one in report.skipped] == [f"{into / 'emu'} is a link that leads out of {into}"]
    assert list(outside.iterdir()) == []
    assert (into / "real" / "b.jpg").exists()
    assert commands.undo().exit_code == 0
    assert (into / "ibis").is_symlink()


def test_a_file_where_a_folder_should_be_and_two_of_one_place(scene, tmp_path):
    lines = [json.loads(line) for line in scene.read_text().splitlines()]
    lines[2]["target"] = "emu/A.JPG"
    scene.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = commands.apply(scene)
    assert [(one.path.name, one.reason) for one in report.skipped] == [
        ("b.jpg", "there is a file of this name already")
    ]
    commands.undo()
    (tmp_path / "sorted" / "emu").write_text("a file")
    assert {one.reason for one in commands.apply(scene).skipped} == {f"{tmp_path / 'sorted' / 'emu'} is not a folder"}
    assert len(list((tmp_path / "inbox").iterdir())) == 2


def test_a_source_that_is_named_twice_goes_once(scene, tmp_path):
    lines = scene.read_text().splitlines()
    again = {**json.loads(lines[1]), "target": "emu/again.jpg"}
    scene.write_text("\n".join([*lines, json.dumps(again)]) + "\n")
    before = contents(tmp_path / "inbox")
    report = commands.apply(scene)
    assert (len(report.photos), [one.reason for one in report.skipped]) == (2, ["it is named twice"])
    assert contents(tmp_path / "sorted") == before
    commands.undo()
    assert contents(tmp_path / "inbox") == before


def test_paths_that_are_no_utf8_survive_a_plan(tmp_path):
    inbox, into, plan = tmp_path / "inbox", tmp_path / "sorted", tmp_path / "plan.jsonl"
    inbox.mkdir()
    odd = Path(os.fsdecode(os.fsencode(inbox) + b"/caf\xe9\n.jpg"))
    odd.write_bytes(b"photo")
    commands.sort(results=results_of(tmp_path / "r.jsonl", [odd]), into=into, mode="move", plan=plan)
    assert read_plan(plan)[0].photos[0].file.source == odd
    assert commands.apply(plan).exit_code == 0
    assert os.listdir(os.fsencode(into / "emu")) == [b"caf\xe9\n.jpg"]  # noqa: PTH208
    commands.undo()
    assert odd.exists()


# --------------------------------------------------------------------------- results


def test_results_are_sorted_by_another_line_without_a_photo_being_opened(tmp_path, monkeypatch, cli):
    photos = write_photos(tmp_path / "inbox", ["a.jpg", "b.jpg", "c.jpg"])
    results = results_of(
        tmp_path / "r.jsonl", photos, lambda i: {"probability": (0.95, 0.6, 0.6)[i], "unknown": i == 2}
    )
    opened = []
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *rest, **more: (opened.append(path), original(path, *rest, **more))[1]
    )
    report = commands.sort(results=results, into=tmp_path / "sorted", mode="move", min_confidence=0.8)
    assert [photo.target for photo in report.photos] == ["emu/a.jpg", "doubtful/b.jpg", "unknown/c.jpg"]
    assert not set(opened) & set(photos)


NO_NAME = b'{"type": "result", "path": "\\ud800", "label": "emu", "name": "emu", "probability": 1}'
HUGE = b'{"type": "result", "path": "a", "label": "emu", "name": "emu", "probability": 1' + b"0" * 400 + b"}"

NO_LABEL = b'{"type": "result", "path": "a", "label": null, "name": "emu", "probability": 1}'
NO_NUMBER = b'{"type": "result", "path": "a", "label": "emu", "name": "emu", "probability": NaN}'
NO_RESULTS = (b"", b"x\n", b'{"type": "result"}\n', b'{"type": "result", "path": 7}\n', b"[1]\n", NO_NAME, HUGE)


@pytest.mark.parametrize("data", [*NO_RESULTS, NO_LABEL, NO_NUMBER])
def test_what_is_no_result_is_one_sentence(tmp_path, data):
    (tmp_path / "r.jsonl").write_bytes(data)
    with pytest.raises(BadResults) as refused:
        commands.sort(results=tmp_path / "r.jsonl", into=tmp_path / "sorted")
    assert str(refused.value).startswith(f"{tmp_path / 'r.jsonl'} is not what classify found: ")
