from __future__ import annotations

import numpy as np
import pytest
from conftest import paint

from promptctl.data.folder import ImageFolder
from promptctl.data.near_copies import alike, by_features_alone
from promptctl.data.remarks import is_odd, numbered, odd_among, odd_labels, one_picture_of_two_classes, say

OF_A_MACHINE = "DCIM|100APPLE|101CANON|100_PANA|102_0715|2023|2023-05|2023-05-01|20230501|2019_12 Italy|01.05.2023"
OF_A_MACHINE += "|Photos from 2021|Fotos aus 2021|202311__|202312_a|unsorted|Unlabelled|Photos Library.photoslibrary"
OF_A_MACHINE += (
    "|IMG_0001|DSC00123|New Folder|New folder (2)|Untitled|untitled folder 3|Copy of emu|emu - Copy|Camera Roll"
)
LABELS = (
    "emu|Larus 2|1 ibis|T-shirt|747-400|3M|1|n01514668|trash|holiday|other|300 Spartans|Img tag|5 euro|2 pounds|camera"
)
LABELS += "|iPhone 12|Boeing 737|2012 Audi A4|1950 dress|Riesling 2015|2000 series|1990s|untitled goose"


@pytest.mark.parametrize("name", OF_A_MACHINE.split("|"))
def test_names_a_camera_or_a_calendar_gives_are_odd(name):
    assert is_odd(name)


@pytest.mark.parametrize("name", LABELS.split("|"))
def test_labels_are_not_odd(name):
    assert not is_odd(name)


def test_odd_labels_are_named_together():
    assert odd_labels(["emu", "Camera"]) == []
    assert odd_labels(["2023", "emu"]) == ["'2023' does not look like what photos show, yet its folder is a class"]
    (said,) = odd_labels(["2023", "Camera", "DCIM", "emu"])
    assert said == "'2023', 'Camera', 'DCIM' do not look like what photos show, yet their folders are classes"


def test_years_alone_may_be_classes():
    assert odd_labels(["2015", "2016"]) == []
    assert odd_among(["2015", "2016", "emu"]) == ["2015", "2016"]
    (said,) = odd_labels(["2015", "2016 Rome", "emu"])
    assert said.startswith("'2015', '2016 Rome' do not look")


@pytest.mark.parametrize(
    "names", ["001.Black footed Albatross|200.Yellowthroat", "00001 Animalia|10000 Plantae", "1. emu|12. ibis"]
)
def test_classes_that_are_numbered_are_said_aloud(names):
    (said,) = numbered(names.split("|"))
    assert said.startswith(f"every class has a number before its name ('{names.split('|')[0]}', ")


@pytest.mark.parametrize("names", ["1 euro|2 euro", "747-400|737-200", "007 Bond|Q", "2-door car|4-door car", "01|02"])
def test_numbers_that_belong_to_names_are_not(names):
    assert numbered(names.split("|")) == []


def test_two_links_to_one_folder_are_said_aloud(photos, tmp_path, caplog):
    (tmp_path / "view").mkdir()
    for name, target in (("a", "red"), ("b", "red"), ("c", "blue")):
        (tmp_path / "view" / name).symlink_to(photos / target, target_is_directory=True)
    ImageFolder.scan(tmp_path / "view")
    one, other = tmp_path / "view" / "a", tmp_path / "view" / "b"
    assert caplog.messages == [f"the classes {one} and {other} are links to one folder: its photos count twice"]


def test_loose_photos_links_and_classes_inside_are_said_aloud(photos, caplog):
    paint(photos / "red", images=1, colours={"pink": (1, 2, 3), "rose": (3, 4, 5)})
    (photos / "red" / "pink" / "0.png").rename(photos / "loose.png")
    (photos / "red" / "rose" / "0.png").rename(photos / "red" / "pink" / "1.png")
    paint(photos / "red", images=1, colours={"rose": (3, 4, 5)})
    (photos / "azure").symlink_to("blue", target_is_directory=True)
    (photos / "shade").symlink_to("red/pink", target_is_directory=True)
    folder = ImageFolder.scan(photos)
    assert caplog.messages == [
        f"1 photo lies directly in {photos}, in no class folder: left out",
        f"the class {photos / 'azure'} is a link to the class {photos / 'blue'}: its photos count twice",
        f"the class {photos / 'shade'} is a link into the class {photos / 'red'}: its photos count twice",
        f"{photos / 'red'} has folders of its own (pink, rose): their photos all count as 'red'",
    ]
    assert folder.labels == ("azure", "blue", "green", "red", "shade")


def test_a_link_from_class_to_class_makes_no_photo_one_of_both(photos):
    (photos / "red" / "up").symlink_to(photos, target_is_directory=True)
    (photos / "red" / "across").symlink_to(photos / "blue", target_is_directory=True)
    assert len(ImageFolder.scan(photos).images) == 18


def test_many_remarks_of_a_kind_are_counted(caplog):
    say([str(i) for i in range(9)])
    assert caplog.messages == ["0", "1", "2", "3", "4", "and 4 more like this"]


def test_one_picture_of_two_classes_is_named(tmp_path):
    one, other, third = (tmp_path / name for name in "abc")
    assert one_picture_of_two_classes([(one, "red", "x"), (other, "blue", "x"), (third, "red", "y")]) == [
        f"one picture is in several classes: {one} as 'red', {other} as 'blue'"
    ]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_near_copies_are_found_and_distinct_pictures_are_not():
    rng = np.random.default_rng(0)
    learned = unit(rng.normal(size=(2000, 32)))
    measured = unit(np.concatenate([rng.normal(size=(1500, 32)), learned[[7, 1999]] + 0.02]))
    classes = np.arange(2000) % 3
    assert sorted((row, nearest) for row, nearest, _ in alike(measured, learned, 0.95)) == [(1500, 7), (1501, 1999)]
    assert by_features_alone(measured, np.arange(1502) % 3, learned, classes) == [1500, 1501]
    assert by_features_alone(measured[:0], classes[:0], learned, classes) == []


def test_likeness_says_nothing_where_all_of_a_class_are_alike():
    rng = np.random.default_rng(0)
    rows = unit(np.ones(32) + 0.05 * rng.normal(size=(12, 32)))
    classes = np.zeros(6, np.int64)
    assert by_features_alone(rows[:6], classes, rows[6:], classes) == []
    assert by_features_alone(rows[:1], classes[:1], rows[1:2], classes[:1]) == [0], "two pictures tell nothing else"
