"""Camera traps: boxes of a detector read, looked into, and written for Timelapse and for Camtrap DP."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS
from PIL import Image, ImageFile

from promptctl import LearnSettings, commands
from promptctl.cli.commands.classify import ClassifyFormat
from promptctl.cli.options import Format
from promptctl.clip.backbone import Backbone
from promptctl.data.readers import detections as reader
from promptctl.data.readers.detections import Detection, read_detections
from promptctl.encoding import pipeline
from promptctl.encoding.boxes import look_of_box, square_of
from promptctl.encoding.cache import FeatureCache
from promptctl.errors import BadSetting, DatasetError, NoImages, WrongOption
from promptctl.render import OF_PHOTOS
from promptctl.report import SkippedFile
from promptctl.store.store import Store

CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}
BOXES = {"red": [0.1, 0.1, 0.2, 0.3], "green": [0.6, 0.2, 0.25, 0.3], "blue": [0.3, 0.6, 0.2, 0.3]}
SIZE = (320, 240)


@pytest.fixture
def learned(home, colours_bytes, answering):
    """A context of three colours by the name of c."""
    Store().save("c", colours_bytes, new=True)


def scene(path: Path, *colours: str, taken: str | None = None, size: tuple[int, int] = SIZE, orientation: int = 1):
    """A grey picture with patches of colours in their boxes, and somewhat beyond."""
    chance = np.random.default_rng([*os.fsencode(f"{path.parent.name}/{path.name}")])
    pixels = np.full((size[1], size[0], 3), 120.0)
    for colour in colours:
        left, upper, right, lower = square_of((*BOXES[colour],), *size)
        pixels[upper:lower, left:right] = COLOURS[colour]
    exif = Image.Exif()
    exif[0x0112] = orientation
    if taken:
        exif[0x8769] = {36867: taken}
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = np.clip(pixels + chance.normal(0, 30, pixels.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path, quality=92, exif=exif)


def animal(colour: str, conf: float = 0.9) -> dict[str, object]:
    return {"category": "1", "conf": conf, "bbox": BOXES[colour]}


def megadetector(path: Path, images: dict[str, object], **info: object) -> Path:
    """Detections as MegaDetector writes them; what is no list is why a photo failed."""
    rows = [
        {"file": file, "detections": found}
        if isinstance(found, list)
        else {"file": file, "failure": found, "detections": None}
        for file, found in images.items()
    ]
    head = {"format_version": "1.6", "detector": "md_v5a.0.1.pt", **info}
    path.write_text(json.dumps({"info": head, "detection_categories": CATEGORIES, "images": rows}))
    return path


@pytest.fixture(scope="session")
def set_of_photos(tmp_path_factory) -> Path:
    """Two cameras with eight photos, and md.json beside them."""
    root = tmp_path_factory.mktemp("traps") / "photos"
    scene(root / "cam1/100RECNX/1.jpg", "red", taken="2024:05:01 06:10:11")
    scene(root / "cam1/100RECNX/2.jpg", "green", "blue", taken="2024:05:01 06:10:12")
    scene(root / "cam1/3.jpg", taken="2024:05:02 06:10:13")
    scene(root / "cam2/1.jpg", "red", taken="2024:05:03 06:10:14")
    scene(root / "cam2/2.jpg", taken="2024:05:03 06:10:15")
    scene(root / "cam2/3.jpg", "blue", taken="2024:05:03 06:10:16")
    scene(root / "cam2/4.jpg", "green")
    (root / "cam2/5.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    person = {"category": "2", "conf": 0.8, "bbox": [0.1, 0.1, 0.1, 0.4]}
    images = {
        "cam1/100RECNX/1.jpg": [animal("red"), animal("green", 0.04)],
        "cam1/100RECNX/2.jpg": [animal("green", 0.5), animal("blue", 0.95), person],
        "cam1/3.jpg": [animal("red", 0.1)],
        "cam2/1.jpg": [person, {"category": "3", "conf": 0.5, "bbox": [0.5, 0.5, 0.2, 0.2]}],
        "cam2/2.jpg": [],
        "cam2/3.jpg": [animal("blue")],
        "cam2/4.jpg": [animal("green")],
        "cam2/5.jpg": [animal("green")],
    }
    megadetector(root / "md.json", images)
    return root


@pytest.fixture
def traps(set_of_photos, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(set_of_photos, tmp_path / "photos")


def labels(report) -> dict[str, str]:
    found = list(report.items())
    return {Path(one.path).name: one.reason if isinstance(one, SkippedFile) else one.top[0].label for one in found}


# --------------------------------------------------------------------------- what is looked into


def test_every_animal_is_looked_at_and_the_rest_passes_through(traps, learned):
    report = commands.classify([traps], "c", detections=traps / "md.json", unknown=None)
    found = {item.path.relative_to(traps).as_posix(): item for item in report.items()}
    shown = {path: (item.top[0].label, item.answer_of) for path, item in found.items() if hasattr(item, "top")}
    assert shown == {
        "cam1/3.jpg": ("empty", "detector"),
        "cam1/100RECNX/1.jpg": ("red", "box"),
        "cam1/100RECNX/2.jpg": ("blue", "box"),  # the more certain of two
        "cam2/1.jpg": ("person", "detector"),
        "cam2/2.jpg": ("empty", "detector"),
        "cam2/3.jpg": ("blue", "box"),
        "cam2/4.jpg": ("green", "box"),
    }
    two = found["cam1/100RECNX/2.jpg"].detections
    assert [(one.category, one.top[0].label if one.top else None) for one in two] == [
        ("animal", "blue"), ("person", None), ("animal", "green"),
    ]  # fmt: skip
    assert found["cam1/100RECNX/1.jpg"].detections[1].top == ()  # below the threshold
    assert (found["cam2/1.jpg"].top[0].probability, found["cam2/2.jpg"].top[0].probability) == (0.8, 1.0)
    assert found["cam1/3.jpg"].top[0].probability == pytest.approx(0.9)  # as sure as no box is one
    assert isinstance(found["cam2/5.jpg"], SkippedFile)
    assert report.by_class() == {"blue": 2, "empty": 2, "green": 1, "person": 1, "red": 1}
    assert set(report.labels) == {"red", "green", "blue", "person", "vehicle", "empty"}


def test_the_threshold_is_the_files_own_unless_one_is_given(traps, learned):
    file = megadetector(traps / "own.json", {"cam1/3.jpg": [animal("red", 0.1)]})
    least = {"typical_detection_threshold": 0.05}
    recommending = megadetector(traps / "two.json", {"cam1/3.jpg": [animal("red", 0.1)]}, detector_metadata=least)
    photo = [traps / "cam1/3.jpg"]
    asked = [(file, None), (file, 0.1), (recommending, None), (recommending, 0.2)]
    answers = [
        next(iter(commands.classify(photo, "c", detections=one, detection_threshold=least).items())).answer_of
        for one, least in asked
    ]
    assert answers == ["detector", "box", "box", "detector"]


def test_photos_of_nothing_and_of_people_are_not_opened(traps, learned, monkeypatch):
    opened = []
    real = pipeline.file_bytes
    monkeypatch.setattr(pipeline, "file_bytes", lambda path: opened.append(path.name) or real(path))
    list(commands.classify([traps / "cam2"], "c", detections=traps / "md.json").items())
    assert sorted(opened) == ["3.jpg", "4.jpg", "5.jpg"]


def test_a_box_is_encoded_once_whatever_stands_beside_it(traps, learned, tiny):
    encoder, photo = Backbone(tiny).encoder, traps / "cam1/100RECNX/2.jpg"
    green, blue, small = (*BOXES["green"],), (*BOXES["blue"],), (0.3, 0.6, 0.02, 0.02)
    with FeatureCache() as cache:
        alone = [item.vector for item in pipeline.stream_boxes([(photo, [green])], encoder, cache)]
        assert cache.n_new == 1
        again = [item.vector for item in pipeline.stream_boxes([(photo, [small, green, None, blue])], encoder, cache)]
        assert cache.n_new == 4
        list(pipeline.stream_boxes([(photo, [small, green, None, blue])], encoder, cache))
        assert cache.n_new == 4
    assert np.array_equal(alone[0], again[1])
    with FeatureCache(traps / "fresh") as cache:  # decoded beside a smaller one, it is the same to the last bit
        fresh = [item.vector for item in pipeline.stream_boxes([(photo, [small, green])], encoder, cache)]
    assert np.abs(alone[0] - fresh[1]).max() < 1e-6


def test_many_boxes_of_a_photo_come_in_their_order(traps, tiny):
    photo, boxes = traps / "cam1/100RECNX/2.jpg", [(0.01 * place, 0.1, 0.2, 0.2) for place in range(70)]
    with FeatureCache() as cache:
        found = list(pipeline.stream_boxes([(photo, boxes), (photo, [])], Backbone(tiny).encoder, cache))
        alone = [next(pipeline.stream_boxes([(photo, [box])], Backbone(tiny).encoder, cache)) for box in boxes[::23]]
    assert len(found) == 70
    assert all(np.array_equal(one.vector, found[23 * place].vector) for place, one in enumerate(alone))


def test_a_small_box_of_a_large_photo_has_the_detail_of_the_whole_file(tmp_path, tiny):
    photo, box = tmp_path / "large.jpg", (0.5, 0.5, 0.02, 0.02)
    stripes = np.tile(np.array([[0], [255]], np.uint8), (1500, 4000))  # a row each, which shrinking makes grey
    Image.fromarray(stripes).convert("RGB").save(photo, quality=95)
    encoder, seen = Backbone(tiny).encoder, []

    class Watched:
        fingerprint, width, size = encoder.fingerprint, encoder.width, encoder.size
        encode = staticmethod(encoder.encode)

        @staticmethod
        def preprocess(picture):
            seen.append(picture)
            return encoder.preprocess(picture)

    with FeatureCache() as cache:
        list(pipeline.stream_boxes([(photo, [None, box])], Watched, cache))
    whole, cropped = seen
    assert min(whole.size) < 400 and min(cropped.size) == 100  # 2 % of 4000 pixels and a quarter more
    assert np.asarray(cropped.convert("L"), float).std() > 100 > 10 > np.asarray(whole.convert("L"), float).std()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.4, 0.4, 0.2, 0.2), (375, 250, 625, 500)),  # in the middle, as wide as the longer side and a quarter
        ((0.0, 0.0, 0.1, 0.1), (0, 0, 125, 125)),  # moved into the picture
        ((0.9, 0.9, 0.1, 0.1), (875, 625, 1000, 750)),
        ((0.0, 0.4, 1.0, 0.1), (0, 0, 1000, 750)),  # no longer than the picture
        ((0.5, 0.5, 1e-9, 1e-9), (500, 375, 501, 376)),
    ],
)
def test_a_box_is_cut_square_inside_of_the_picture(box, expected):
    assert square_of(box, 1000, 750) == expected


def test_detail_depends_on_the_box_alone_and_is_enough():
    for side in (1.0, 0.7, 0.4, 0.1, 0.013, 1e-6):
        look = look_of_box((0.1, 0.1, side, side / 3), 224)
        assert look.least_side * max(side, 2**-10) >= 2 * 224  # of what is cut, twice what the backbone takes


def test_boxes_are_of_the_upright_picture(tmp_path, learned, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene(tmp_path / "a.jpg", "red", "blue")
    turned = Image.open("a.jpg").transpose(Image.Transpose.ROTATE_90)  # as a camera on its side has it
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save("b.jpg", quality=95, exif=exif)
    megadetector(tmp_path / "md.json", {"a.jpg": [animal("blue")], "b.jpg": [animal("blue")]})
    assert labels(commands.classify(["a.jpg", "b.jpg"], "c", detections="md.json", unknown=None)) == {
        "a.jpg": "blue", "b.jpg": "blue",
    }  # fmt: skip


# --------------------------------------------------------------------------- which photo is meant


@pytest.mark.parametrize(
    ("file", "inputs"),
    [
        ("{name}", ["photos"]),
        ("{name}", []),  # those that it names
        ("photos/{name}", ["photos"]),
        ("photos/{name}", ["photos/cam1", "photos/cam2"]),
        ("{root}/{name}", ["photos"]),
        ("/somewhere/else/photos/{name}", ["photos"]),
        ("/somewhere/else/photos/{name}", []),
        ("D:\\traps\\photos\\{windows}", ["photos"]),
        ("{windows}", ["./photos"]),
    ],
)
def test_photos_are_found_however_a_file_names_them(traps, learned, file, inputs):
    found = json.loads((traps / "md.json").read_text())
    for image in found["images"]:
        name = image["file"]
        image["file"] = file.format(name=name, root=traps, windows=name.replace("/", "\\"))
    (traps / "md.json").write_text(json.dumps(found))
    report = commands.classify(inputs, "c", detections="photos/md.json", unknown=None)
    assert Counter(item.top[0].label for item in report.items() if not isinstance(item, SkippedFile)) == {
        "blue": 2, "empty": 2, "green": 1, "person": 1, "red": 1,
    }  # fmt: skip
    assert (report.detections.without_entry, report.detections.without_photo) == ((), ())
    assert report.detections.moved is None


def test_what_does_not_go_together_is_counted_and_named(traps, learned, cli):
    nan = {"category": "1", "conf": 0.9, "bbox": [0.1, math.nan, 0.2, 0.2]}
    images = {
        "cam1/100RECNX/1.jpg": [nan, {**nan, "bbox": [102, 88, 438, 382]}],
        "cam1/100RECNX/2.jpg": "Failure image access",
        "cam1/3.jpg": [{"category": "7", "conf": 0.9, "bbox": BOXES["red"]}],
        "cam9/1.jpg": [animal("red")],
        "https://example.org/1.jpg": [animal("red")],
    }
    megadetector(traps / "odd.json", images)
    done = cli("classify", "photos/cam1", "photos/cam2/4.jpg", "-p", "c", "--detections", "photos/odd.json", "-q")
    assert done.code == 0
    assert len(done.out.splitlines()) == 4 and "empty" not in done.out  # all looked at whole
    for line in (
        "warning: 1 photo without an entry in photos/odd.json, looked at whole: photos/cam2/4.jpg",
        "warning: 1 photo that the detector could not look at, looked at whole: photos/cam1/100RECNX/2.jpg",
        "warning: 1 photo with broken boxes in photos/odd.json, 2 in all: photos/cam1/100RECNX/1.jpg (not four finite "
        "numbers)",
        "warning: 1 kind of boxes in photos/odd.json that are neither animal, person nor vehicle, not used: 7 (1)",
        "2 entries of photos/odd.json without a photo here: cam9/1.jpg, https://example.org/1.jpg",
    ):
        assert line in done.err.splitlines()


def test_photos_of_another_folder_are_said_to_be_taken_for_those_named(traps, learned):
    megadetector(traps / "other.json", {f"D:\\cams\\cam7\\{n}.jpg": [animal("red")] for n in (1, 2, 3)})
    report = commands.classify([traps / "cam2"], "c", detections=traps / "other.json")
    assert report.detections.moved == ("D:/cams/cam7", str(traps / "cam2"))
    assert "those in" in report.detections.warnings()[0]


def test_a_single_person_or_vehicle_is_what_a_photo_is_labelled(traps, learned):
    alone = {
        f"cam2/{number}.jpg": [{"category": category, "conf": 0.7, "bbox": [0.1, 0.1, 0.1, 0.4]}]
        for number, category in ((1, "2"), (2, "3"))
    }
    report = commands.classify([], "c", detections=megadetector(traps / "alone.json", alone))
    found = {item.path.name: item.top[0] for item in report.items()}
    assert {name: (top.label, top.probability) for name, top in found.items()} == {
        "1.jpg": ("person", 0.7),
        "2.jpg": ("vehicle", 0.7),
    }


def test_an_entry_without_a_photo_is_passed_over_where_it_was_expected(traps, learned):
    gone = {"cam1/gone.jpg": [], "cam2/gone.jpg": [animal("red")], "cam2/clip.mp4": []}
    report = commands.classify([], "c", detections=megadetector(traps / "gone.json", {**gone, "cam2/2.jpg": []}))
    assert labels(report) == {"gone.jpg": "no such file or directory", "2.jpg": "empty"}
    assert len(report.files) == 3


def test_no_folder_is_gone_through_because_a_file_names_it(traps, learned):
    megadetector(traps / "all.json", {"/": [animal("red")], "cam2": [], "cam2/3.jpg": [animal("blue")]})
    report = commands.classify([], "c", detections=traps / "all.json", unknown=None)
    assert labels(report) == {"3.jpg": "blue"}
    assert report.detections.without_photo == ("/", "cam2")


def test_names_of_a_million_folders_cost_no_time(traps, learned):
    megadetector(traps / "deep.json", {f"{'a/' * 300_000}{n}.jpg": [animal("red")] for n in range(2)})
    report = commands.classify([traps / "cam2/2.jpg"], "c", detections=traps / "deep.json", unknown=None)
    assert len(report.detections.without_photo) == 2
    assert max(map(len, report.detections.notes())) < 1000


def test_nothing_is_fetched_because_a_file_says_so(traps, learned):
    images = {"https://example.org/1.jpg": [animal("red")], "cam2/2.jpg": []}
    item, _ = commands.classify([], "c", detections=megadetector(traps / "net.json", images)).items()
    assert "://" not in str(item.path) and item.reason == "no such file or directory"


# --------------------------------------------------------------------------- the file


def test_speciesnet_is_read_as_it_writes(tmp_path):
    person = {"category": "2", "label": "human", "conf": 0.9, "bbox": [0, 0, 1, 1]}
    wild = {"category": "1", "label": "animal", "conf": 0.5, "bbox": [0.1, 0.1, 0.2, 0.2]}
    whole = {"category": "0", "label": "whole_image_classification", "conf": 1.0, "bbox": [0, 0, 1, 1]}
    more = {"prediction": "x;mammalia;;;;;mammal", "prediction_score": 0.9, "model_version": "4.0.1a"}
    predictions = [
        {"filepath": "a.jpg", "detections": [wild, person], **more},
        {"filepath": "b.jpg", "failures": ["DETECTOR", "CLASSIFIER"], **more},
        {"filepath": "c.jpg", "failures": ["CLASSIFIER"], "detections": [], **more},
        {"filepath": "d.jpg", "classifications": {"classes": [], "scores": []}},
        {"filepath": "e.jpg", "detections": [whole], **more},
    ]
    (tmp_path / "sn.json").write_text(json.dumps({"predictions": predictions}))
    a, b, c, d, e = read_detections(tmp_path / "sn.json").entries
    assert (e.detections, e.n_other, e.n_broken) == ((), 0, 0)
    assert a.detections == (
        Detection("person", 0.9, (0.0, 0.0, 1.0, 1.0)), Detection("animal", 0.5, (0.1, 0.1, 0.2, 0.2)),
    )  # fmt: skip
    assert (b.failure, c.failure, c.detections, d.failure) == ("DETECTOR", None, (), "it has no list of detections")


@pytest.mark.parametrize(
    ("bbox", "conf"),
    [
        ([0.1, 0.1, 0.0, 0.2], 0.9), ([0.1, 0.1, -0.1, 0.2], 0.9), ([1.5, 0.1, 0.2, 0.2], 0.9),
        ([0.9, 0.5, 0.3, 0.2], 0.9), ([0.1, 0.1, 0.2], 0.9), ("0.1", 0.9), (None, 0.9), ([0.1, 0.1, 0.2, True], 0.9),
        ([0.1, 0.1, 10**400, 0.2], 0.9),
        ([0.1, 0.1, 0.2, math.inf], 0.9), ([0.1, 0.1, 0.2, 0.2], math.nan), ([0.1, 0.1, 0.2, 0.2], 2),
        ([0.1, 0.1, 0.2, 0.2], "0.9"), ({"x": 1}, 0.9), ([-0.5, 0.1, 0.2, 0.2], 0.9), ([1.0, 0.1, 0.01, 0.2], 0.9),
        ([-0.1, 0.1, 0.3, 0.2], 0.9),
    ],
)  # fmt: skip
def test_a_broken_box_is_none(tmp_path, bbox, conf):
    file = megadetector(tmp_path / "md.json", {"a.jpg": [{"category": "1", "conf": conf, "bbox": bbox}, animal("red")]})
    (entry,) = read_detections(file).entries
    assert (entry.n_broken, len(entry.detections)) == (1, 1)


def test_a_box_that_leaves_the_picture_by_rounding_is_cut(tmp_path):
    file = megadetector(
        tmp_path / "md.json", {"a.jpg": [{"category": "1", "conf": 1, "bbox": [-0.001, 0.5, 0.5, 0.5004]}]}
    )
    (entry,) = read_detections(file).entries
    assert entry.detections[0].box == pytest.approx((0, 0.5, 0.499, 0.5), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"), ("{", "is not JSON"), ("[" * 100_000, "is not JSON"),
        ("[]", "but no detections: it holds []"),
        ('{"a": 1}', "its keys are 'a'"), ('{"images": [], "b": 2}', "its keys are 'images', 'b'"), ("7", "it holds 7"),
        ('{"images": [7], "detection_categories": {}}', "an image without a file, number 1"),
        ('{"predictions": [{"filepath": ""}]}', "an image without a filepath, number 1"),
        ('{"file": "a", "bbox": 1}', "its keys are 'file', 'bbox'"), ('{"bbox": 1}', "but no detections"),
        ("1" * 5000, "is not JSON"), ('{"images": [{"bbox": [1]}], "detection_categories": {}}', "without a file"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_detections_is_refused_in_a_sentence(tmp_path, text, said):
    (tmp_path / "md.json").write_text(text)
    with pytest.raises(DatasetError, match="json") as refused:
        read_detections(tmp_path / "md.json")
    assert said in str(refused.value) and len(str(refused.value)) < 400


def test_a_file_is_read_up_to_a_size_and_a_number_of_values(tmp_path, monkeypatch):
    file = megadetector(tmp_path / "md.json", {f"{n}.jpg": [animal("red")] for n in range(50)})
    for limit, value in (("MOST_BYTES", 3000), ("MOST_VALUES", 300)):
        with monkeypatch.context() as patch, pytest.raises(DatasetError, match="the most that is read"):
            patch.setattr(reader, limit, value)
            read_detections(file)
    assert len(read_detections(file).entries) == 50


def test_odd_entries_do_no_harm(tmp_path):
    rows = [
        {"file": "a.jpg", "detections": [7, {"category": ["1"], "conf": 1, "bbox": BOXES["red"]}, {"conf": 1}]},
        {"file": "a.jpg", "detections": []},
        {"file": "b.jpg", "detections": [{"category": "1", "conf": 0.5, "bbox": BOXES["red"]}] * 400},
    ]
    known = {"info": [], "detection_categories": {"1": "Animal", "0": "empty", "2": 7}, "images": rows}
    (tmp_path / "md.json").write_text("\ufeff" + json.dumps(known), "utf-8")
    found = read_detections(tmp_path / "md.json")
    assert [len(entry.detections) for entry in found.entries] == [0, 300]
    assert (found.doubles, found.detector, found.threshold) == (("a.jpg",), None, 0.2)
    assert found.entries[0].n_broken == 2 and sum(found.others.values()) == 1


# --------------------------------------------------------------------------- together, bursts, resumed, sorted


def test_boxes_are_answered_together_each_by_itself(traps, learned):
    report = commands.classify([traps], "c", detections=traps / "md.json", unknown=None, together=True)
    found = list(report.items())
    assert report.by_class() == {"blue": 2, "empty": 2, "green": 1, "person": 1, "red": 1}
    assert all((item.alone is None) == (item.answer_of != "box") for item in found if not isinstance(item, SkippedFile))


def test_bursts_of_boxes_are_refused_in_a_sentence(traps, learned):
    with pytest.raises(WrongOption, match="boxes are answered by themselves"):
        commands.classify([traps], "c", detections=traps / "md.json", burst=60)
    with pytest.raises(WrongOption, match="there are no boxes"):
        commands.classify([traps], "c", detection_threshold=0.3)


def test_results_go_on_where_they_stopped_and_are_sorted_by(traps, learned, cli):
    asked = ["classify", "photos", "-p", "c", "--detections", "photos/md.json", "--no-unknown", "--output", "all.jsonl"]
    assert cli(*asked).code == 3  # one is broken
    whole = Path("all.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    Path("all.jsonl").write_bytes(b"".join(lines[:4]))
    assert cli(*asked, "--resume").code == 3
    assert Path("all.jsonl").read_bytes() == whole
    megadetector(traps / "md.json", {"cam1/3.jpg": []})
    other = cli(*asked, "--resume")
    assert other.code == 1 and "was begun with detections sha256" in other.err
    done = cli("sort", "--from", "all.jsonl", "--into", "sorted")
    assert done.code == 3
    assert {path.name: len(list(path.iterdir())) for path in Path("sorted").iterdir()} == {
        "blue": 2, "empty": 2, "green": 1, "person": 1, "red": 1,
    }  # fmt: skip


def test_several_contexts_answer_the_same_box(traps, learned, colours_bytes):
    Store().save("d", colours_bytes, new=True)
    found = list(commands.classify([traps / "cam1"], ["c", "d"], detections=traps / "md.json", unknown=None).items())
    assert [item.others["d@1"].top[0].label for item in found] == [item.top[0].label for item in found]


# --------------------------------------------------------------------------- MegaDetector's format


def written(cli, *arguments: object, code: int = 0) -> dict[str, object]:
    done = cli("classify", *arguments, "--format", "megadetector")
    assert done.code == code, done.err
    return json.loads(done.out)


def valid(found: dict[str, object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)  # its import sets it, for everybody
        validator = pytest.importorskip("megadetector.postprocessing.validate_batch_results")
    results = validator.validate_batch_results(found)["validation_results"]
    assert (results["errors"], results["warnings"]) == ([], [])


def test_timelapse_reads_what_is_written(traps, learned, cli):
    found = written(cli, "photos", "-p", "c", "--detections", "photos/md.json", "--no-unknown", code=3)
    valid(found)
    asked = json.loads((traps / "md.json").read_text())
    assert {image["file"] for image in found["images"]} == {image["file"] for image in asked["images"]}
    images = {image["file"]: image for image in found["images"]}
    names = found["classification_categories"]
    best, person, other = images["cam1/100RECNX/2.jpg"]["detections"]
    assert (best["bbox"], best["conf"], person["category"]) == (BOXES["blue"], 0.95, "2")
    assert [names[box["classifications"][0][0]] for box in (best, other)] == ["blue", "green"]
    assert "classifications" not in person
    falling = [probability for _, probability in best["classifications"]]
    assert falling == sorted(falling, reverse=True) and len(falling) == 3
    assert images["cam2/2.jpg"]["detections"] == []
    assert images["cam2/5.jpg"]["detections"] is None and "damaged" in images["cam2/5.jpg"]["failure"]
    assert found["info"]["detector_metadata"] == {"typical_detection_threshold": 0.2}
    again = written(cli, "photos", "-p", "c", "--detections", "photos/md.json", "--no-unknown", code=3)
    assert again == found  # no clock in it


def test_without_detections_each_photo_is_one_box(traps, learned, cli):
    found = written(cli, "photos/cam1", "photos/cam2/5.jpg", "-p", "c", "--no-unknown", "--top", 2, code=3)
    valid(found)
    images = {image["file"]: image for image in found["images"]}
    (box,) = images["cam1/100RECNX/1.jpg"]["detections"]
    assert (box["bbox"], box["category"]) == ([0, 0, 1, 1], "1")
    assert box["conf"] == box["classifications"][0][1] and len(box["classifications"]) == 2
    assert images["cam2/5.jpg"]["detections"] is None


def test_what_is_unknown_is_a_class_of_its_own_to_filter_by(traps, learned, cli):
    Image.effect_noise((300, 200), 90).convert("RGB").save("photos/cam1/noise.jpg")
    found = written(cli, "photos/cam1/noise.jpg", "photos/cam1/100RECNX/1.jpg", "-p", "c", "--detections",
                    megadetector(traps / "n.json", {"cam1/noise.jpg": [animal("red")]}))  # fmt: skip
    valid(found)
    image = next(image for image in found["images"] if image["file"] == "cam1/noise.jpg")
    classes = image["detections"][0]["classifications"]
    assert [(found["classification_categories"][number], sure) for number, sure in classes] == [("unknown", 1.0)]


def test_no_photo_at_all_is_still_a_file(traps, learned, cli):
    Path("only.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    done = cli("classify", "only.mp4", "-p", "c", "--format", "megadetector")
    valid(json.loads(done.out))
    assert json.loads(done.out)["images"] == []  # the format wants frames of a film


def test_scientific_names_describe_the_classes(traps, learned, cli):
    Path("taxa.csv").write_text("red,Rufus ruber\nblue,Caeruleus avis\n")
    found = written(cli, "photos/cam1", "-p", "c", "--taxa", "taxa.csv")
    valid(found)
    assert found["classification_categories"] == {"0": "blue", "1": "green", "2": "red", "3": "unknown"}
    assert found["classification_category_descriptions"] == {
        "0": "Caeruleus avis", "1": "green", "2": "Rufus ruber", "3": "unknown",
    }  # fmt: skip


# --------------------------------------------------------------------------- Camtrap DP


def field(name: str, kind: str = "string", **constraints: object) -> dict[str, object]:
    when = {"format": "%Y-%m-%dT%H:%M:%S%z"} if kind == "datetime" else {}
    return {"name": name, "type": kind, **when, "constraints": {"required": False, **constraints}}


SCHEMA = {  # of the observations of Camtrap DP 1.0.2
    "fields": [
        field("observationID", required=True, unique=True),
        field("deploymentID", required=True),
        field("mediaID"),
        field("eventID"),
        field("eventStart", "datetime", required=True),
        field("eventEnd", "datetime", required=True),
        field("observationLevel", required=True, enum=["media", "event"]),
        field("observationType", required=True,
              enum=["animal", "human", "vehicle", "blank", "unknown", "unclassified"]),
        field("cameraSetupType", enum=["setup", "calibration"]),
        field("scientificName"),
        field("count", "integer", minimum=1),
        field("lifeStage", enum=["adult", "subadult", "juvenile"]),
        field("sex", enum=["female", "male"]),
        field("behavior"),
        field("individualID"),
        field("individualPositionRadius", "number", minimum=0),
        field("individualPositionAngle", "number", minimum=-90, maximum=90),
        field("individualSpeed", "number", minimum=0),
        field("bboxX", "number", minimum=0, maximum=1),
        field("bboxY", "number", minimum=0, maximum=1),
        field("bboxWidth", "number", minimum=1e-15, maximum=1),
        field("bboxHeight", "number", minimum=1e-15, maximum=1),
        field("classificationMethod", enum=["human", "machine"]),
        field("classifiedBy"),
        field("classificationTimestamp", "datetime"),
        field("classificationProbability", "number", minimum=0, maximum=1),
        field("observationTags"),
        field("observationComments"),
    ],
    "missingValues": ["", "NaN", "nan"],
    "primaryKey": "observationID",
}  # fmt: skip


def observed(cli, *arguments: object, code: int) -> list[dict[str, str]]:
    """The rows of the table, which frictionless finds nothing wrong with."""
    frictionless = pytest.importorskip("frictionless")
    done = cli("classify", *arguments, "--format", "camtrap-dp")
    assert done.code == code, done.err
    Path("observations.csv").write_text(done.out, "utf-8", newline="")
    table = frictionless.Resource(path="observations.csv", schema=frictionless.Schema.from_descriptor(SCHEMA))
    report = table.validate()
    assert report.valid, report.flatten(["rowNumber", "fieldName", "note"])
    return list(csv.DictReader(io.StringIO(done.out)))


def test_camtrap_dp_has_a_row_for_each_animal(traps, learned, cli):
    rows = observed(cli, "photos", "-p", "c", "--detections", "photos/md.json", "--no-unknown", "--timezone", "+02:00",
                    code=3)  # fmt: skip
    shown = [(row["mediaID"], row["observationType"], row["scientificName"], row["count"]) for row in rows]
    assert sorted(shown) == [
        ("cam1/100RECNX/1.jpg", "animal", "red", "1"),
        ("cam1/100RECNX/2.jpg", "animal", "blue", "1"),
        ("cam1/100RECNX/2.jpg", "animal", "green", "1"),
        ("cam1/100RECNX/2.jpg", "human", "Homo sapiens", "1"),
        ("cam1/3.jpg", "blank", "", ""),
        ("cam2/1.jpg", "human", "Homo sapiens", "1"),
        ("cam2/1.jpg", "vehicle", "", "1"),
        ("cam2/2.jpg", "blank", "", ""),
        ("cam2/3.jpg", "animal", "blue", "1"),
    ]
    first = next(row for row in rows if row["mediaID"] == "cam1/100RECNX/1.jpg")
    assert (first["eventStart"], first["eventEnd"]) == ("2024-05-01T06:10:11+02:00",) * 2
    assert (first["deploymentID"], first["classifiedBy"]) == ("cam1", "promptctl c@1")
    assert [float(first[key]) for key in ("bboxX", "bboxY", "bboxWidth", "bboxHeight")] == BOXES["red"]
    assert {row["classifiedBy"] for row in rows if row["observationType"] != "animal"} == {"md_v5a.0.1.pt"}


def test_photos_without_a_time_are_named_and_have_no_row(traps, learned, cli):
    done = cli("classify", "photos/cam2", "-p", "c", "--format", "camtrap-dp")
    assert done.code == 3
    assert "cam2/4.jpg" not in done.out and "4.jpg" not in done.out
    lines = done.err.splitlines()
    assert "warning: 1 photo without a time in the EXIF, and so without a row: photos/cam2/4.jpg" in lines
    assert "warning: 3 of the photos say no time zone, UTC is written: --timezone +02:00 says which" in lines


def test_what_is_not_taken_is_unknown_in_camtrap_dp(traps, learned, cli):
    rows = observed(cli, "photos/cam1", "-p", "c", "--min-confidence", "99.999%", "--no-unknown",
                    "--deployment", "site 7", "--timezone", "Europe/Brussels", code=0)  # fmt: skip
    assert {row["observationType"] for row in rows} <= {"unknown", "animal"}
    unknown = [row for row in rows if row["observationType"] == "unknown"]
    assert unknown and {row["scientificName"] for row in unknown} == {""}
    assert all(row["observationComments"].startswith("doubtful: most like ") for row in unknown)
    assert {row["deploymentID"] for row in rows} == {"site 7"}
    assert rows[0]["eventStart"].endswith("+02:00")  # in May


@pytest.mark.parametrize("zone", ["25:00", "Mars/Base", "../../etc/passwd", "/etc/passwd", "", "+2"])
def test_what_is_no_time_zone_is_refused(zone):
    with pytest.raises(BadSetting, match="timezone"):
        commands.survey(None, zone)


def test_the_formats_of_photos_are_written_to_stdout_alone(traps, learned, cli):
    for more in (["--output", "x.jsonl"], ["--json"], ["-q"]):
        done = cli("classify", "photos", "-p", "c", "--format", "megadetector", *more)
        assert (done.code, done.out) == (2, "") and "stdout alone" in done.err
    assert cli("classify", "photos", "-p", "c", "--deployment", "x").code == 2


def test_classify_has_the_formats_of_all_commands_and_its_own():
    assert {one.value for one in ClassifyFormat} == {one.value for one in Format} | set(OF_PHOTOS)


def test_no_photos_and_no_boxes_are_refused(traps, learned):
    with pytest.raises(WrongOption):
        commands.classify([], "c")
    with pytest.raises(NoImages, match="names no photos"):
        commands.classify([], "c", detections=megadetector(traps / "none.json", {}))
    (traps / "apart").mkdir()
    with pytest.raises(
        NoImages, match=r"no photo that \S+ names is beside it, .*apart/cam1/3\.jpg and so on"
    ) as refused:
        commands.classify([], "c", detections=megadetector(traps / "apart" / "md.json", {"cam1/3.jpg": []}))
    assert refused.value.hint == "name the folder that its paths begin in, before --detections"
    with pytest.raises(DatasetError, match="cannot be read"):
        commands.classify([traps], "c", detections=traps / "missing.json")
    assert os.path.lexists(traps)


# --------------------------------------------------------------------------- sorted at once, and the page


def test_sort_looks_into_boxes_and_a_class_may_be_called_as_the_detector_calls_nothing(traps, learned, tiny):
    for label, colour in (("red", "red"), ("empty", "green")):
        for number in range(3):
            scene(Path(f"shots/{label}/{number}.png"), colour)
    commands.learn("shots", "two", shots=2, model=tiny, settings=LearnSettings(epochs=1))
    commands.sort(["photos"], "two", into="sorted", detections="photos/md.json", unknown=None)
    assert {path.name for path in Path("sorted").iterdir()} <= {"red", "empty", "person"}
    assert {"2.jpg", "3.jpg"} <= {path.name[:1] + ".jpg" for path in Path("sorted/empty").iterdir()}


def test_the_pages_run_through_works(traps, colours_bytes, answering, cli):
    Store().save("birds", colours_bytes, new=True)
    Path("taxa.csv").write_text("red,Rufus ruber\n")
    (traps / "md.json").rename("md.json")
    page = (Path(__file__).parent.parent / "docs" / "camera-traps.md").read_text("utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        command, _, file = line.partition(" > ")
        done = cli(*shlex.split(command)[1:])
        assert (done.code, "error" in done.err) == (3, False), (line, done.err)  # one photo is broken on purpose
        if file:
            Path(file).write_text(done.out, "utf-8", newline="")
    valid(json.loads(Path("out.json").read_text()))
    assert Path("observations.csv").read_text().count("Rufus ruber") == 1
    assert Path("sorted/person/1.jpg").exists()


# --------------------------------------------------------------------------- sorted, and tagged


def test_photos_are_sorted_where_they_lie_by_what_is_in_the_boxes_and_stay_there(traps, learned, cli):
    asked = ["sort", "photos", "-p", "c", "--into", "photos", "--move", "--no-unknown"]
    done = cli(*asked, "--detections", "photos/md.json", "--json")
    assert done.code == 3, done.err  # 5.jpg cannot be read
    assert Counter(path.parent.name for path in traps.glob("*/*.jpg") if path.name != "5.jpg") == {
        "blue": 2, "empty": 2, "green": 1, "person": 1, "red": 1,
    }  # fmt: skip
    assert json.loads(done.out)["detections"] | {"file": None} == {
        "file": None, "detector": "md_v5a.0.1.pt", "threshold": 0.2, "without_entry": 0, "without_photo": 0,
        "failed": 0, "broken": 0, "doubles": 0, "others": {},
    }  # fmt: skip
    before = sorted(traps.rglob("*.jpg"))
    again = cli(*asked)
    assert sorted(traps.rglob("*.jpg")) == before
    assert all(f"/{folder} is in there too" in again.err for folder in ("person", "empty", "red"))
    assert cli("undo").code == 0


def test_boxes_are_looked_into_where_photos_are_tagged(traps, learned, cli):
    done = cli("tag", "photos/cam2", "-p", "c", "--detections", "photos/md.json", "--no-unknown", "--json")
    keywords = {Path(one["path"]).name: one["keyword"] for one in json.loads(done.out)["photos"]}
    assert keywords == {"1.jpg": "person", "2.jpg": "empty", "3.jpg": "blue", "4.jpg": "green"}
    plain = cli("tag", "photos/cam2", "-p", "c", "--detections", "photos/md.json", "--no-unknown")
    assert "entries of photos/md.json without a photo here" in plain.err


def test_what_a_detector_said_is_not_doubted_by_limits_of_classes(traps, learned, cli):
    limits = ["--min-confidence", "0.95", "--no-unknown"]
    direct = cli("sort", "photos", "-p", "c", "--into", "a", "--detections", "photos/md.json", *limits, "--json")
    cli("classify", "photos", "-p", "c", "--detections", "photos/md.json", "--together", "--output", "all.jsonl")
    later = cli("sort", "--from", "all.jsonl", "--into", "b", *limits, "--json")
    there = [sorted(one["target"] for one in json.loads(done.out)["photos"]) for done in (direct, later)]
    assert there[0] == there[1]
    assert any(one.startswith("person/") for one in there[1])


def test_a_file_that_is_called_like_no_photo_is_not_moved_because_detections_name_it(traps, learned, cli, tmp_path):
    secrets = [tmp_path / "id_rsa", traps / "passwd", traps / "ledger.xlsx"]
    for one in secrets:
        one.write_text("secret")
    megadetector(traps / "md.json", {**{os.fspath(one): [] for one in secrets}, "../id_rsa": [], "cam2/2.jpg": []})
    done = cli("sort", "-p", "c", "--detections", "photos/md.json", "--into", "sorted", "--move")
    assert (done.code, all(one.exists() for one in secrets)) == (0, True), done.err
    assert [path.name for path in Path("sorted").rglob("*.*")] == ["2.jpg"]


@pytest.mark.parametrize("option", [["--detections", "photos/md.json"], ["--burst", "60"], ["--exclude", "*.png"]])
def test_results_are_answers_and_nothing_is_asked_of_photos(traps, cli, option):
    (traps.parent / "all.jsonl").write_text("")
    done = cli("sort", "--from", "all.jsonl", "--into", "b", *option)
    assert (done.code, f"{option[0]} has no effect" in done.err) == (1, True)
