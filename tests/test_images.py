from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
from conftest import copy_into_splits, paint
from PIL import Image

from promptctl.data.folder import ImageFolder
from promptctl.data.images import HashedImage, hash_images
from promptctl.data.readers.class_names import read_names
from promptctl.data.sampling import at_most, fifth_of_each, sample
from promptctl.data.walk import walk
from promptctl.errors import DatasetError, NoImages, TooFewShots


def found(folder: ImageFolder) -> set[tuple[str, str, str | None]]:
    return {(image.path.name, image.label, image.split) for image in folder.images}


# --------------------------------------------------------------------------- layouts


def test_class_folders_are_classes(photos):
    folder = ImageFolder.scan(photos)
    assert folder.labels == ("blue", "green", "red")
    assert len(folder.images) == 18
    assert folder.splits == frozenset()


def test_train_val_test_are_splits(photos, tmp_path):
    folder = ImageFolder.scan(copy_into_splits(photos, tmp_path / "split"))
    assert folder.labels == ("blue", "green", "red")
    assert folder.splits == {"train", "test"}
    assert len(folder.only("train")) == 12


def test_a_class_called_test_is_a_class_when_it_holds_pictures(tmp_path):
    paint(tmp_path / "p", images=2, colours={"test": (1, 2, 3), "other": (4, 5, 6)})
    assert ImageFolder.scan(tmp_path / "p").labels == ("other", "test")


def test_hidden_folders_and_clutter_are_not_classes(photos):
    shutil.copytree(photos / "red", photos / ".ipynb_checkpoints")
    (photos / "red" / "Thumbs.db").write_bytes(b"x")
    (photos / "red" / ".DS_Store").write_bytes(b"x")
    assert ImageFolder.scan(photos).labels == ("blue", "green", "red")
    assert len(ImageFolder.scan(photos).images) == 18


@pytest.mark.parametrize("header", ["path,label\n", "file_name,label\n", "label,path\n", ""])
def test_a_csv_lists_images_relative_to_itself(photos, header):
    rows = [("red/0.png", "crimson"), ("blue/1.png", "navy, dark")]
    order = (lambda p, n: f'"{n}",{p}') if header.startswith("label") else (lambda p, n: f'{p},"{n}"')
    (photos / "list.csv").write_text(header + "\n".join(order(*row) for row in rows) + "\n")
    assert found(ImageFolder.scan(photos / "list.csv")) == {("0.png", "crimson", None), ("1.png", "navy, dark", None)}


def test_hugging_face_metadata_inside_its_split(photos):
    for split, rows in (("train", ["red/0.png", "blue/0.png"]), ("test", ["red/1.png"])):
        shutil.copytree(photos, photos / "hf" / split, ignore=shutil.ignore_patterns("hf", split))
        lines = [json.dumps({"file_name": row, "label": row.split("/")[0]}) for row in rows]
        (photos / "hf" / split / "metadata.jsonl").write_text("\n".join(lines))
    assert found(ImageFolder.scan(photos / "hf")) == {
        ("0.png", "red", "train"),
        ("0.png", "blue", "train"),
        ("1.png", "red", "test"),
    }


def test_hugging_face_metadata_csv(photos):
    (photos / "metadata.csv").write_text("file_name,label\nred/0.png,red\ngreen/0.png,green\n")
    assert found(ImageFolder.scan(photos)) == {("0.png", "red", None), ("0.png", "green", None)}


@pytest.mark.parametrize("images_in", ["", "images", "data/jpg"])
def test_coop_split_files_find_their_images(photos, tmp_path, images_in):
    base = tmp_path / "pets" / images_in
    shutil.copytree(photos, base, dirs_exist_ok=True)
    split = {"train": [["red/0.png", 0, "red kite"]], "val": [], "test": [["blue/3.png", 1, "blue tit"]]}
    (tmp_path / "pets" / "split_zhou_Pets.json").write_text(json.dumps(split))
    expected = {("0.png", "red kite", "train"), ("3.png", "blue tit", "test")}
    assert found(ImageFolder.scan(tmp_path / "pets")) == expected
    assert found(ImageFolder.scan(tmp_path / "pets" / "split_zhou_Pets.json")) == expected


def test_listed_images_that_are_missing_are_counted(photos):
    (photos / "list.csv").write_text("path,label\nred/0.png,red\nred/no.png,red\n")
    folder = ImageFolder.scan(photos / "list.csv")
    assert [(item.path.name, item.reason) for item in folder.skipped] == [("no.png", "no such file")]


def test_folders_that_cannot_be_used_say_why(tmp_path):
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "a.png")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    for path, sentence in (
        (tmp_path / "nowhere", f"there is no folder {tmp_path / 'nowhere'}"),
        (tmp_path / "flat", f"{tmp_path / 'flat'} has no class folders"),
        (tmp_path / "empty", f"{tmp_path / 'empty'} has class folders but no image in them"),
        (
            tmp_path / "flat" / "a.png",
            f"{tmp_path / 'flat' / 'a.png'} is neither a folder nor a list of images",
        ),
    ):
        with pytest.raises(NoImages) as refused:
            ImageFolder.scan(path)
        assert str(refused.value) == sentence


def test_a_broken_csv_line_is_shown(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.png\n")
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(tmp_path / "list.csv")
    assert str(refused.value) == f"{tmp_path / 'list.csv'} has no label in line 2"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_as_any_spreadsheet_writes_it(tmp_path, encoding, delimiter):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = ["path;label", "a.png;Kühe", ""]
    (tmp_path / "list.csv").write_text("\r\n".join(rows).replace(";", delimiter), encoding, newline="")
    (image,) = ImageFolder.scan(tmp_path / "list.csv").images
    assert (image.path, image.label) == (tmp_path / "a.png", "Kühe")


def test_a_name_that_is_not_utf8_spoils_no_other_in_a_list(tmp_path):
    names = [os.fsdecode(name) for name in ("ü.png".encode(), b"\xff\xfe.png", "写真.png".encode())]
    try:
        for name in names:
            Image.new("RGB", (4, 4)).save(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    rows = ["path,label", *(f"{name},emu" for name in names), ""]
    (tmp_path / "list.csv").write_bytes(os.fsencode("\n".join(rows)))
    folder = ImageFolder.scan(tmp_path / "list.csv")
    assert sorted(image.path.name for image in folder.images) == sorted(names)
    assert folder.skipped == ()


def test_metadata_inside_a_class_folder_is_somebodys_notes(photos):
    (photos / "red" / "metadata.csv").write_text("file_name,photographer\n0.png,me\n")
    assert ImageFolder.scan(photos).labels == ("blue", "green", "red")


def test_an_empty_class_folder_is_named_and_left_out(photos):
    (photos / "yellow").mkdir()
    folder = ImageFolder.scan(photos)
    assert folder.labels == ("blue", "green", "red")
    assert [(item.path.name, item.reason) for item in folder.skipped] == [("yellow", "no image in this class folder")]


def test_a_link_that_leads_back_is_walked_once(photos):
    (photos / "red" / "loop").symlink_to(photos, target_is_directory=True)
    assert len(walk([photos]).files) == 18


# --------------------------------------------------------------------------- names


def test_names_are_read_with_or_without_a_header(tmp_path):
    for text in ("folder,name\ntshirt,T-shirt\n", 'tshirt,"T-shirt"\n', "\ufefftshirt,T-shirt\r\n"):
        (tmp_path / "names.csv").write_text(text, encoding="utf-8")
        assert read_names(tmp_path / "names.csv", ["tshirt", "hat"]) == {"tshirt": "T-shirt"}


def test_names_of_folders_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "names.csv").write_text("shirt,a shirt\n")
    with pytest.raises(DatasetError) as refused:
        read_names(tmp_path / "names.csv", ["hat"])
    assert str(refused.value) == f"{tmp_path / 'names.csv'} names a folder that is not there: 'shirt'"


# --------------------------------------------------------------------------- sampling


def hashed(n: int, labels: str = "ab") -> list[HashedImage]:
    import hashlib
    from pathlib import Path

    return [
        HashedImage(Path(f"{label}{i}"), label, None, hashlib.sha256(f"{label}{i}".encode()).hexdigest())
        for label in labels
        for i in range(n)
    ]


def test_a_draw_depends_on_content_and_seed_alone():
    images = hashed(20)
    one = sample(images, 4, seed=1)
    again = sample(list(reversed(images)), 4, seed=1)
    assert {i.sha256 for i in one.train} == {i.sha256 for i in again.train}
    assert {i.sha256 for i in one.train} != {i.sha256 for i in sample(images, 4, seed=2).train}
    assert len(one.train) == 8
    assert len(one.held_out) == 32


def test_the_draw_is_the_same_on_every_machine():
    drawn = sample(hashed(20), 2, seed=1).train
    assert [str(image.path) for image in drawn] == ["a14", "a1", "b19", "b5"]


def test_more_shots_contain_the_fewer():
    images = hashed(20)
    few, more = (set(sample(images, shots, seed=3).train) for shots in (2, 8))
    assert few < more


def test_too_few_images_name_the_class():
    with pytest.raises(TooFewShots) as refused:
        sample(hashed(3), 4, seed=1)
    assert str(refused.value) == "class 'a' has 3 usable images, 4 were asked for"
    assert refused.value.hint == "--shots 3, or more images of 'a'"


@pytest.mark.parametrize(("images", "apart"), [(1, 0), (2, 1), (6, 1), (8, 2), (20, 4)])
def test_a_fifth_of_each_class_whatever_its_hashes(images, apart):
    divided = fifth_of_each(hashed(images))
    assert [sum(image.label == label for image in divided.held_out) for label in "ab"] == [apart, apart]
    assert sorted((*divided.train, *divided.held_out), key=str) == sorted(hashed(images), key=str)


def test_of_each_class_those_whose_hashes_come_first_are_apart_and_copies_with_them():
    images = hashed(20)
    divided = fifth_of_each(images)
    for label in "ab":
        of_class = sorted((i for i in images if i.label == label), key=lambda image: image.sha256)
        assert [i for i in divided.held_out if i.label == label] == of_class[:4]
        assert [i for i in divided.train if i.label == label] == of_class[4:]
    copied = replace(divided.held_out[0], label="b")
    assert copied in fifth_of_each([*images, copied]).held_out
    together = {divided.held_out[0], divided.train[0]}
    grouped = fifth_of_each(images, groups=[0 if image in together else n for n, image in enumerate(images, 1)])
    assert together <= set(grouped.held_out) or together <= set(grouped.train)
    assert len(grouped.held_out) == 8


def test_a_limit_is_spread_over_the_classes():
    chosen = at_most(hashed(50), 10)
    assert sorted(image.label for image in chosen) == ["a"] * 5 + ["b"] * 5


def test_the_same_content_counts_once_a_class(photos):
    shutil.copy(photos / "red" / "0.png", photos / "red" / "copy.png")
    images, skipped = hash_images(ImageFolder.scan(photos).images)
    assert len(images) == 18
    assert skipped == ()


def test_files_that_are_not_images_are_named(photos):
    for name in ("notes.txt", "clip.MOV", "README", "odd.xyz", "called.png"):
        (photos / "red" / name).write_text("hello")
    (photos / "red" / "empty.png").write_bytes(b"")
    folder = ImageFolder.scan(photos)
    _, skipped = hash_images(folder.images)
    assert {(item.path.name, item.reason, item.foreign) for item in (*folder.skipped, *skipped)} == {
        ("notes.txt", "not a photo", True),
        ("clip.MOV", "not a photo", True),
        ("README", "not an image", True),
        ("odd.xyz", "not an image", True),
        ("called.png", "not an image", False),
        ("empty.png", "empty file", False),
    }


def test_a_picture_of_two_classes_is_refused(photos):
    (photos / "list.csv").write_text("path,label\nred/0.png,red\nred/0.png,red\nred/0.png,blue\n")
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(photos / "list.csv")
    assert str(refused.value) == f"{photos / 'list.csv'} calls {photos / 'red/0.png'} both 'red' and 'blue'"


def test_splits_have_their_names_and_no_others(photos):
    rows = ["red/0.png,red,training", "red/1.png,red,Testing", "red/2.png,red,dev", "red/3.png,red,"]
    (photos / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    expected = ["train", "test", "val", None]
    assert [image.split for image in ImageFolder.scan(photos / "list.csv").images] == expected
    (photos / "list.csv").write_text("\n".join(["path,label,split", *rows, "red/4.png,red,spare"]))
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(photos / "list.csv")
    assert str(refused.value) == f"{photos / 'list.csv'} has the split 'spare' in line 6"


def test_a_list_with_nothing_in_it_and_one_with_blanks(photos):
    (photos / "list.csv").write_text("path,label\n")
    with pytest.raises(NoImages) as refused:
        ImageFolder.scan(photos / "list.csv")
    assert str(refused.value) == f"{photos / 'list.csv'} lists no image"
    (photos / "list.csv").write_text("path, label\n red/0.png , red\n")
    assert found(ImageFolder.scan(photos / "list.csv")) == {("0.png", "red", None)}


def test_a_file_named_twice_is_walked_once(photos):
    one = photos / "red" / "0.png"
    assert sorted(walk([one, photos, one]).files) == sorted(walk([photos]).files)


class Watched(list):
    """A list that knows how much of it was asked for."""

    taken = 0

    def __iter__(self):
        for self.taken, item in enumerate(super().__iter__(), 1):
            yield item

    def __getitem__(self, which):
        self.taken = max(self.taken, which.stop)
        return super().__getitem__(which)


def test_the_first_of_very_many_files_is_told_before_the_last_is_waited_for(photos):
    many = Watched(ImageFolder.scan(photos).images * 500)

    def stop(done: int, total: int) -> None:
        raise RuntimeError(f"{done} of {total}")

    with pytest.raises(RuntimeError, match=f"^1 of {len(many)}$"):
        hash_images(many, stop)
    assert many.taken < len(many) / 5
