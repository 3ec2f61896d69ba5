"""Folders as people have them, through the command line: what is passed over, named, counted and refused."""

from __future__ import annotations

import json
import shutil
import unicodedata

import numpy as np
import pytest
from conftest import copy_into_splits, paint
from PIL import Image

from promptctl.data import remarks
from promptctl.data.folder import ImageFolder
from promptctl.report.phrases import counted_images

COMPOSED, APART = (unicodedata.normalize(form, "Émeu") for form in ("NFC", "NFD"))
BESIDE = ["0.png.json", "0.xmp", "IMG_0.AAE", "IMG_1.aae", "IMG_0.MOV", "README", "odd.thing"]
COUNTED = "7 that are not photos (2 .aae, 1 without an extension, 1 .json, 1 .mov, 1 .thing, 1 .xmp)"


def beside(folder):
    for name in BESIDE:
        (folder / name).write_text("hello")


def paint_apart(photos):
    """Pictures that do not look alike even in one class, as photos do not."""
    rng = np.random.default_rng(0)
    for path in sorted(photos.glob("*/*.png")):
        patches = rng.integers(0, 226, 3) + rng.integers(0, 30, (5, 6, 3))
        Image.fromarray(patches.astype(np.uint8)).resize((48, 40), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def learned(cli, photos, tiny):
    assert cli("learn", photos, "--name", "c", "--model", tiny, "--epochs", 1, "--shots", 2).code == 0
    return photos


# --------------------------------------------------------------------------- what is passed over


def test_sidecars_and_films_are_passed_over_in_one_line(cli, learned):
    beside(learned / "red")
    for command in (["classify", learned, "--prompt", "c"], ["evaluate", "c", learned]):
        done = cli(*command)
        assert done.code == 0
        assert f"passed over: {COUNTED}" in done.err.splitlines()
        assert "skipped" not in done.err
        report = json.loads(cli(*command, "--json").out)
        assert report["skipped"] == []
        assert report["passed_over"][".aae"] == 2
        assert sum(report["passed_over"].values()) == 7


def test_learn_and_compare_pass_over_the_same(cli, photos, tiny):
    beside(photos / "red")
    for command in (["learn", photos, "--name", "d", "--epochs", 1], ["compare", photos, "--learners", "zero-shot"]):
        done = cli(*command, "--model", tiny, "--shots", 2)
        assert done.code == 0
        assert f"passed over: {COUNTED}" in done.err.splitlines()
        assert "skipped" not in done.err


def test_an_image_that_cannot_be_read_is_a_failure_and_all_are_in_the_report(cli, learned):
    for i in range(30):
        (learned / "red" / f"bad{i}.jpg").write_text("hello")
    done = cli("classify", learned, "--prompt", "c")
    assert done.code == 3
    assert "  and 10 more, all in --json" in done.err
    assert len(json.loads(cli("classify", learned, "--prompt", "c", "--json").out)["skipped"]) == 30
    rows = [json.loads(row) for row in cli("classify", learned, "--prompt", "c", "--format", "jsonl").out.splitlines()]
    assert sum(row["type"] == "error" for row in rows) == 30


def test_what_a_person_names_is_meant_to_be_a_photo(cli, learned):
    beside(learned / "red")
    for name, reason in (("0.png.json", "not an image"), ("README", "not an image")):
        done = cli("classify", learned / "red" / name, learned / "red" / "0.png", "--prompt", "c", "--json")
        report = json.loads(done.out)
        assert (done.code, report["passed_over"]) == (3, {})
        assert [item["reason"] for item in report["skipped"]] == [reason]


def test_a_folder_of_nothing_but_other_files_is_refused(cli, learned, tmp_path):
    (tmp_path / "notes").mkdir()
    beside(tmp_path / "notes")
    done = cli("classify", tmp_path / "notes", "--prompt", "c")
    assert (done.code, done.err.splitlines()[0]) == (
        1,
        f"error: there is no photo in {tmp_path / 'notes'}, only {COUNTED}",
    )


def test_what_a_server_keeps_is_neither_photo_nor_class(cli, learned):
    for place in ("@eaDir", "#recycle", "red/@eaDir", "$RECYCLE.BIN/S-1", "__MACOSX/red"):
        shutil.copytree(learned / "blue", learned / place)
    assert len(json.loads(cli("classify", learned, "--prompt", "c", "--json").out)["images"]) == 18
    assert ImageFolder.scan(learned).labels == ("blue", "green", "red")


def test_an_unreadable_folder_is_named_and_the_rest_classified(cli, learned, monkeypatch):
    from promptctl.data import walk

    own = walk._enter

    def refuse(folder):
        if folder == str(learned / "red"):
            raise PermissionError(13, "Permission denied")
        return own(folder)

    monkeypatch.setattr(walk, "_enter", refuse)  # root is refused nothing
    for command in (["classify", learned, "--prompt", "c"], ["evaluate", "c", learned]):
        done = cli(*command)
        assert done.code == 3
        assert done.err.splitlines()[:2] == ["warning: 1 skipped:", f"  {learned / 'red'}: permission denied"]


# --------------------------------------------------------------------------- classes


def test_learn_says_every_class_and_which_were_not_measured(cli, photos, tiny):
    for i in range(2, 6):
        (photos / "green" / f"{i}.png").unlink()
    asked = ("learn", photos, "--name", "d", "--model", tiny, "--epochs", 1)
    done = cli(*asked)
    assert done.out.splitlines()[1] == "photos learned from + measured on: blue (5+1), green (2+0), red (5+1)"
    assert "warning: no photo of green was held out: the accuracy does not cover it" in done.err
    rows = json.loads(cli(*asked, "--fresh", "--json").out)["per_class"]
    assert [(row["label"], row["images"], row["train"], row["held_out"]) for row in rows] == [
        ("blue", 6, 5, 1),
        ("green", 2, 2, 0),
        ("red", 6, 5, 1),
    ]


def test_one_image_is_no_images():
    assert counted_images(1, "images of test/") == "the 1 image of test/"
    assert counted_images(2, "images held out") == "the 2 images held out"


def test_a_class_without_test_photos_is_named(cli, photos, tmp_path, tiny):
    split = copy_into_splits(photos, tmp_path / "split")
    shutil.rmtree(split / "test" / "green")
    done = cli("learn", split, "--name", "d", "--model", tiny, "--epochs", 1)
    assert "warning: no photo of green is among the images of test/: the accuracy does not cover it" in done.err


def test_too_many_shots_are_one_sentence_that_names_the_smallest_class(cli, photos, tiny):
    for i in range(2, 6):
        (photos / "green" / f"{i}.png").unlink()
    done = cli("learn", photos, "--name", "d", "--model", tiny, "--shots", 16)
    assert (done.code, done.err.splitlines()) == (
        1,
        [
            "classes: blue, green, red",
            "error: class 'green' has 2 usable images, 16 were asked for",
            "hint:  --shots 2, or more images of 'green'",
        ],
    )


def test_one_class_in_train_and_test_is_named_with_a_path_that_is_there(cli, tmp_path):
    for part in ("train", "test"):
        paint(tmp_path / "p" / part, images=2, colours={"emu": (1, 2, 3)})
    done = cli("learn", tmp_path / "p", "--name", "d")
    assert (done.code, done.err.splitlines()) == (
        1,
        [
            f"error: {tmp_path / 'p'} has one class only, 'emu', and learning needs at least two",
            f"hint:  add a folder of something else beside {tmp_path / 'p' / 'train' / 'emu'}",
        ],
    )


def test_a_link_to_a_folder_elsewhere_is_a_class_folder(cli, photos, tmp_path, tiny):
    more = tmp_path / "more"
    more.mkdir()
    shutil.move(photos / "red", more / "red")
    for name, target in (("blue", photos / "blue"), ("green", "../photos/green")):
        (more / name).symlink_to(target, target_is_directory=True)
    (photos / "blue" / "back").symlink_to(more, target_is_directory=True)  # no photo of red is one of blue
    (photos / "green" / "self").symlink_to(".", target_is_directory=True)
    (tmp_path / "view").symlink_to("more", target_is_directory=True)
    for root in (more, tmp_path / "view"):
        learned = json.loads(cli("learn", root, "--name", root.name, "--model", tiny, "--epochs", 1, "--json").out)
        counts = [(row["label"], row["images"], row["train"], row["held_out"]) for row in learned["per_class"]]
        assert counts == [("blue", 6, 5, 1), ("green", 6, 5, 1), ("red", 6, 5, 1)]
        assert learned["skipped"] == []
        done = cli("evaluate", root.name, root, "--json")
        assert (done.code, "count twice" in done.err) == (0, False)
        assert [row["images"] for row in json.loads(done.out)["per_class"]] == [6, 6, 6]


def test_a_class_learned_on_a_mac_is_the_same_elsewhere(cli, tmp_path, tiny):
    for where, name in (("mac", APART), ("linux", COMPOSED)):
        paint(tmp_path / where, images=4, colours={name: (200, 0, 0), "ibis": (0, 0, 200)})
    asked = ("learn", tmp_path / "mac", "--name", "d", "--model", tiny, "--epochs", 1, "--shots", 2, "--json")
    assert json.loads(cli(*asked).out)["per_class"][1]["label"] == COMPOSED
    done = cli("evaluate", "d", tmp_path / "linux", "--json")
    report = json.loads(done.out)
    assert (done.code, report["images"], report["skipped"]) == (0, 8, [])


def test_a_class_whose_tokens_are_the_same_is_measured(cli, tmp_path, tiny):
    for where, name in (("one", "king’s bird"), ("two", "king's bird")):
        paint(tmp_path / where, images=4, colours={name: (200, 0, 0), "ibis": (0, 0, 200)})
    assert cli("learn", tmp_path / "one", "--name", "d", "--model", tiny, "--epochs", 1, "--shots", 2).code == 0
    assert json.loads(cli("evaluate", "d", tmp_path / "two", "--json").out)["images"] == 8


@pytest.mark.parametrize(("taught", "asked"), [("red_kite", "Red kite"), ("1", "１"), ("emu", "large bird")])
def test_a_part_to_measure_on_may_write_its_classes_otherwise(cli, tmp_path, tiny, taught, asked):
    (tmp_path / "names.csv").write_text("emu,large bird\n" if taught == "emu" else "ibis,sacred ibis\n")
    paint(tmp_path / "p" / "train", images=3, colours={taught: (200, 0, 0), "ibis": (0, 0, 200)})
    paint(tmp_path / "p" / "test", images=2, colours={asked: (200, 0, 0), "ibis": (0, 0, 200)}, seed=1)
    common = ("--model", tiny, "--epochs", 1, "--classes", tmp_path / "names.csv", "--json")
    report = json.loads(cli("learn", tmp_path / "p", "--name", "d", *common).out)
    assert (report["measured_images"], report["skipped"]) == (4, [])
    report = json.loads(cli("compare", tmp_path / "p", "--learners", "coop", "--shots", 1, "--seeds", 1, *common).out)
    assert (report["test_images"], report["skipped"]) == (4, [])


@pytest.mark.parametrize("two", [(COMPOSED, APART), ("1", "１"), ("king's bird", "king’s bird"), ("Emu", "emu")])
def test_folders_that_say_the_same_are_refused_before_anything_is_learned(cli, tmp_path, tiny, home, two):
    paint(tmp_path / "p", images=3, colours={two[0]: (200, 0, 0), two[1]: (0, 0, 200)})
    for command in (["learn", tmp_path / "p", "--name", "d"], ["compare", tmp_path / "p", "--shots", 1]):
        done = cli(*command, "--model", tiny)
        assert done.code == 1
        assert "error: the prompt would call both" in done.err or "are the same name to a reader" in done.err
    assert not (home / "contexts" / "d").exists()


def test_one_class_written_in_two_ways_in_a_list_is_refused(cli, photos):
    (photos / "list.csv").write_text("path,label\nred/0.png,Red\nred/1.png,red\nblue/0.png,blue\n")
    done = cli("learn", photos / "list.csv", "--name", "d")
    assert done.err == (
        f"error: {photos / 'list.csv'} writes one class in two ways, 'Red' and 'red'\nhint:  write it in one way\n"
    )


def test_a_folder_name_that_is_not_utf8_is_refused_before_learning(cli, photos):
    try:
        (photos / "red").rename(photos / "caf\udce9")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    done = cli("learn", photos, "--name", "d")
    assert (done.code, done.err.splitlines()[0]) == (
        1,
        "error: the class 'caf\\udce9' is not called in UTF-8, so nobody could read it again",
    )


def test_an_empty_folder_is_told_what_to_put_there(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    done = cli("learn", tmp_path / "empty", "--name", "d")
    assert done.err == (
        f"error: the folder {tmp_path / 'empty'} is empty\n"
        "hint:  put the images of each class in a folder of its own, "
        f"for example {tmp_path / 'empty' / 'sparrow' / 'photo1.jpg'}\n"
    )


# --------------------------------------------------------------------------- what is said aloud


def test_one_picture_of_two_classes_is_said_aloud(cli, photos, tiny, caplog):
    shutil.copy(photos / "red" / "0.png", photos / "blue" / "copy.png")
    said = remarks.one_picture_of_two_classes(
        [(photos / "blue" / "copy.png", "blue", ""), (photos / "red" / "0.png", "red", "")]
    )
    learn = ["learn", photos, "--name", "d", "--epochs", 1]
    for command in (learn, ["compare", photos, "--learners", "zero-shot"], ["evaluate", "d", photos]):
        caplog.clear()
        done = cli(*command, *([] if command[0] == "evaluate" else ["--model", tiny, "--shots", 2]))
        assert done.code == 0, done.err
        assert [line for line in caplog.messages if "several classes" in line] == said


def test_a_near_copy_between_learned_and_measured_is_said_aloud(cli, photos, tmp_path, tiny, caplog):
    paint_apart(photos)
    split = copy_into_splits(photos, tmp_path / "split")
    Image.open(split / "train" / "red" / "0.png").convert("RGB").save(split / "test" / "red" / "again.jpg", quality=98)
    copy = split / "test" / "red" / "again.jpg"
    for command in (["learn", split, "--name", "d", "--epochs", 1], ["compare", split, "--learners", "zero-shot"]):
        caplog.clear()
        assert cli(*command, "--model", tiny, "--shots", 4).code == 0
        assert any(
            line.startswith(f"{copy} looks nearly the same as {split / 'train' / 'red'}") for line in caplog.messages
        )
    caplog.clear()
    assert cli("evaluate", "d", split).code == 0
    assert (
        f"{copy} looks nearly the same as a photo d@1 was learned from, so measuring on it says little"
        in caplog.messages
    )


def test_names_without_words_are_said_aloud_and_learned(cli, tmp_path, tiny, caplog):
    paint(tmp_path / "p", images=3, colours={"n01514668": (200, 0, 0), "朱鹭": (0, 0, 200), "emu": (0, 200, 0)})
    assert cli("learn", tmp_path / "p", "--name", "d", "--model", tiny, "--epochs", 1, "--shots", 1).code == 0
    (said,) = [line for line in caplog.messages if "--classes" in line]
    assert said.startswith("'n01514668', '朱鹭' say little to the text tower: --classes names.csv")


def test_numbered_classes_and_years_are_told_of_names(cli, tmp_path, tiny, caplog):
    common = ("--model", tiny, "--epochs", 1, "--shots", 1, "--fresh", "--name", "d")
    for names, said in (("001.Emu|002.Ibis", "every class has a number before its name"), ("2015|2016", "'2015', '20")):
        caplog.clear()
        folder = tmp_path / names.replace("|", "-")
        paint(folder, images=2, colours=dict.fromkeys(names.split("|"), (9, 9, 9)))
        assert cli("learn", folder, *common).code == 0
        (line,) = [message for message in caplog.messages if "--classes" in message]
        assert line.startswith(said)
        assert not [message for message in caplog.messages if "not look like" in message]


def test_folders_that_are_no_labels_are_said_aloud_unless_they_are_named(cli, tmp_path, tiny, caplog):
    paint(tmp_path / "p", images=3, colours={"2023": (200, 0, 0), "DCIM": (0, 0, 200), "holiday": (0, 200, 0)})
    asked = ("learn", tmp_path / "p", "--name", "d", "--model", tiny, "--epochs", 1, "--shots", 1, "--fresh")
    assert cli(*asked).code == 0
    assert "'2023', 'DCIM' do not look like what photos show, yet their folders are classes" in caplog.messages
    caplog.clear()
    (tmp_path / "names.csv").write_text("2023,emu\nDCIM,ibis\n")
    assert cli(*asked, "--classes", tmp_path / "names.csv").code == 0
    assert caplog.messages == []
