from __future__ import annotations

import os

import pytest

from promptctl.data import walk
from promptctl.data.folder import ImageFolder, check_classes
from promptctl.data.splits import is_one_of_several, look_of, split_of
from promptctl.errors import DatasetError, NoImages, OneClass

SAID = {
    "train": "train Training training_set Train-Set train_images imgs_train trainset TrainImages train2017 TRAIN_DATA",
    "val": "val valid validation validation_set Valid dev val2017 val_imgs devset",
    "test": "test testing test_set test-images eval evaluation Evaluation_Set holdout hold-out held_out testset",
}


def photos(tmp_path, *folders):
    from PIL import Image

    for i, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / folder / "1.png")
    return tmp_path


def found(folder):
    return {(image.label, image.split) for image in folder.images}


@pytest.mark.parametrize(("split", "name"), [(split, name) for split, names in SAID.items() for name in names.split()])
def test_split_folders_as_data_sets_call_them(tmp_path, split, name):
    assert split_of(name) == split
    folder = ImageFolder.scan(photos(tmp_path, f"{name}/emu", f"{name}/ibis"))
    assert found(folder) == {("emu", split), ("ibis", split)}


@pytest.mark.parametrize(
    "name", ["steam train", "freight_train", "test tube", "invalid", "contest", "Val d'Isère", "a"]
)
def test_classes_that_speak_of_trains_and_tests_are_no_splits(name):
    assert split_of(name) is None
    assert not is_one_of_several(name)


def test_a_name_says_a_split_and_something_else():
    assert look_of("birds_train") == ("train", "birds")
    assert look_of("train_val") is None


def test_train_and_test_of_one_thing_are_splits(tmp_path):
    folder = ImageFolder.scan(photos(tmp_path, "birds_train/emu", "birds_train/ibis", "birds_test/emu"))
    assert found(folder) == {("emu", "train"), ("ibis", "train"), ("emu", "test")}


def test_a_split_packed_twice_is_unwrapped(tmp_path):
    folder = ImageFolder.scan(photos(tmp_path, "seg_train/seg_train/emu", "seg_test/seg_test/emu"))
    assert found(folder) == {("emu", "train"), ("emu", "test")}


UNTOLD = "look like splits, and it cannot be told which is which"
FLAT = "look like splits, but there are no class folders inside"


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train_a/emu", "train_b/emu"), ("train_a/, train_b/", UNTOLD)),
        (("train1", "train2"), ("train1/, train2/", UNTOLD)),
        (("trainA", "trainB", "testA", "testB"), ("testA/, testB/, trainA/, trainB/", UNTOLD)),
        (("fold1/emu", "fold2/emu"), ("fold1/, fold2/", UNTOLD)),
        (("train/emu", "test (2)/emu"), ("train/, test (2)/", UNTOLD)),
        (("train", "test"), ("test/, train/", FLAT)),
        (("train_set", "test_set", "x"), ("test_set/, train_set/", FLAT)),
        (("test_set",), ("test_set/", "looks like a split, but there are no class folders inside")),
    ],
)
def test_folders_that_look_like_splits_and_are_of_no_use_are_refused(tmp_path, folders, said):
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(photos(tmp_path, *folders))
    assert str(refused.value) == f"{said[0]} in {tmp_path} {said[1]}"


def test_a_class_called_train_is_one_with_its_sub_folders(tmp_path):
    folder = ImageFolder.scan(photos(tmp_path, "train", "train/steam", "train/diesel", "bus"))
    assert found(folder) == {("train", None), ("bus", None)}
    assert len(folder.images) == 4


def test_a_part_without_class_folders_is_named(tmp_path, caplog):
    folder = ImageFolder.scan(photos(tmp_path, "train/emu", "train/ibis", "test"))
    assert found(folder) == {("emu", "train"), ("ibis", "train")}
    assert caplog.messages == [f"1 photo lies directly in {tmp_path / 'test'}, in no class folder: left out"]


def test_classes_may_have_their_splits_inside(tmp_path):
    folder = ImageFolder.scan(photos(tmp_path, "emu/train", "emu/test", "ibis/training_set", "ibis/test/far"))
    assert found(folder) == {("emu", "train"), ("emu", "test"), ("ibis", "train"), ("ibis", "test")}


@pytest.mark.parametrize("other", ["ibis", "ibis/day"])
def test_splits_inside_one_class_only_are_no_splits(tmp_path, other):
    folder = ImageFolder.scan(photos(tmp_path, "emu/train", "emu/test", other))
    assert found(folder) == {("emu", None), ("ibis", None)}


def test_data_sets_beside_each_other_are_no_classes(tmp_path):
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(photos(tmp_path, "v1/train/emu", "v1/train/ibis", "v2/train/emu"))
    assert str(refused.value) == f"v1/, v2/ in {tmp_path} have splits of their own"
    assert refused.value.hint == f"give one of them, {tmp_path / 'v1'} for example"


def test_splits_may_be_numbered(tmp_path):
    folder = ImageFolder.scan(photos(tmp_path, "01_train/emu", "01_train/ibis", "02_test/emu"))
    assert found(folder) == {("emu", "train"), ("ibis", "train"), ("emu", "test")}


@pytest.mark.parametrize(
    ("folder", "lists", "meant"),
    [
        ("p", "labels.csv", "labels.csv"),
        ("p", "test.csv train.csv", "train.csv"),
        ("p/train", "train/_classes.csv", "train/_classes.csv"),
        ("p/images", "labels.csv", "labels.csv"),
    ],
)
def test_a_list_beside_photos_without_class_folders_is_pointed_to(tmp_path, folder, lists, meant):
    root = photos(tmp_path, folder) / "p"
    for name in lists.split():
        (root / name).write_text("path,label\n")
    with pytest.raises(DatasetError) as refused:
        check_classes(["images"], ImageFolder.scan(root))
    assert refused.value.hint.startswith(f"did you mean {root / meant}?")


def test_a_folder_too_deep_or_too_high_is_told_which_was_meant(tmp_path):
    root = photos(tmp_path, "a/b/c/emu", "a/b/c/ibis") / "a"
    with pytest.raises(NoImages) as refused:
        ImageFolder.scan(root / "b" / "c" / "emu")
    assert refused.value.hint.startswith(f"did you mean {root / 'b' / 'c'}?")
    with pytest.raises(OneClass) as refused_class:
        check_classes(["b"], ImageFolder.scan(root))
    assert refused_class.value.hint == f"did you mean {root / 'b' / 'c'}?"


def test_one_class_is_left_because_others_are_skipped(tmp_path, monkeypatch):
    root = photos(tmp_path, "emu", "emu/sub", "ibis")
    own = walk._enter

    def refuse(folder):
        if folder in (str(root / "ibis"), str(root / "emu" / "sub")):
            raise PermissionError(13, "Permission denied")
        return own(folder)

    monkeypatch.setattr(walk, "_enter", refuse)  # root is refused nothing
    with pytest.raises(OneClass) as refused:
        check_classes(["emu"], ImageFolder.scan(root))
    assert refused.value.hint.startswith(f"{root / 'ibis'} (permission denied) was skipped; or add a folder of")
    (root / "list.csv").write_text("path,label\nemu/1.png,emu\nno.png,ibis\n")
    with pytest.raises(OneClass) as refused:
        check_classes(["emu"], ImageFolder.scan(root / "list.csv"))
    assert refused.value.hint == f"{root / 'no.png'} (no such file) was skipped; or list images of something else too"


def test_a_part_that_cannot_be_read_is_named_itself(tmp_path, monkeypatch):
    root = photos(tmp_path, "train/emu", "train/ibis", "test/emu")
    for name in ("stat", "_enter"):
        place = os if name == "stat" else walk
        monkeypatch.setattr(place, name, _refusing(getattr(place, name), str(root / "test") + os.sep))
    with pytest.raises(NoImages) as refused:
        ImageFolder.scan(root)
    assert str(refused.value) == f"{root / 'test'} cannot be read: permission denied"


def _refusing(own, start):
    def refuse(path, *rest, **more):
        if f"{path}{os.sep}".startswith(start) and f"{path}{os.sep}" != start:
            raise PermissionError(13, "Permission denied")
        return own(path, *rest, **more)

    return refuse
