"""Raw photos: told by content and by name, shown by their preview or developed, and never the end of the program."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageDraw
from raws import dng
from test_pictures import FTYP, encoded, painted_tiff

from promptctl.encoding import decode as decoding
from promptctl.encoding import formats, raw
from promptctl.encoding.budget import Budget
from promptctl.encoding.decode import decode, decoder_of, hash_image, identify
from promptctl.encoding.files import UnreadableImage, read_file
from promptctl.encoding.formats import RAW_MISSING, RAW_UNKNOWN

pytest.importorskip("rawpy")

RED, BLUE = (200, 40, 40), (40, 40, 200)
STARTS = {
    "Canon": b"II*\0\x10\0\0\0CR\x02\0" + bytes(300),
    "Canon's newer": FTYP % (b"crx ", b"crx ", b"isom"),
    "Fujifilm": b"FUJIFILMCCD-RAW 0201",
    "Panasonic": b"IIU\0\x18\0\0\0",
    "Olympus": b"IIRO\x08\0\0\0",
    "DNG": painted_tiff({50706: 0x0104}),
    "a sensor's mosaic": painted_tiff({262: 32803}),
    "Nikon: a thumbnail first": painted_tiff({254: 1}, {262: 32803, 259: 34713}),
    "a thumbnail, and the photo below it": painted_tiff({254: 1}, {259: 7}),
    "linear": painted_tiff({259: 6}, second={262: 34892}),
    "Sony": painted_tiff({259: 32767}),
    "cut off": painted_tiff({254: 1}, {259: 7})[:590],
}


@pytest.fixture
def without_rawpy(monkeypatch):
    monkeypatch.setattr(formats, "_is_installed", lambda package: False)


def painted(width: int = 160, height: int = 120, corner: tuple[int, int, int] = BLUE) -> Image.Image:
    """Red, with another upper left quarter."""
    picture = Image.new("RGB", (width, height), RED)
    ImageDraw.Draw(picture).rectangle((0, 0, width // 2 - 1, height // 2 - 1), fill=corner)
    return picture


def corners(picture: Image.Image) -> str:
    """Of the upper left, upper right, lower left and lower right corner: the colour that is strongest."""
    x, y = picture.width - 6, picture.height - 6
    return "".join("rgb"[int(np.argmax(picture.getpixel(at)))] for at in ((5, 5), (x, 5), (5, y), (x, y)))


# --------------------------------------------------------------------------- which files


@pytest.mark.parametrize("kind", STARTS)
def test_a_raw_photo_is_told_by_its_content_and_one_that_is_broken_is_named(tmp_path, kind):
    identify(STARTS[kind])
    assert decoder_of(STARTS[kind]) == raw.DECODER
    with pytest.raises(
        UnreadableImage, match=r"^raw photo that cannot be read(:| \().*(: export it as JPEG|ends too early)$"
    ):
        decode(STARTS[kind])


@pytest.mark.parametrize("kind", STARTS)
def test_without_the_library_one_sentence_says_what_to_install(tmp_path, without_rawpy, kind):
    assert RAW_MISSING == "raw photo, which needs one more package: pip install 'promptctl[raw]'"
    (tmp_path / "a.tif").write_bytes(STARTS[kind])
    for look in (lambda: identify(STARTS[kind]), lambda: decode(STARTS[kind]), lambda: hash_image(tmp_path / "a.tif")):
        with pytest.raises(UnreadableImage) as refused:
            look()
        assert str(refused.value) == RAW_MISSING
    (tmp_path / "a.kdc").write_bytes(b"of a camera that nobody remembers")
    with pytest.raises(UnreadableImage, match="needs one more package"):
        read_file(tmp_path / "a.kdc")


@pytest.mark.parametrize("suffix", [".NEF", ".dng", ".CR2", ".arw", ".orf", ".pef", ".srw", ".rw2"])
def test_a_tiff_that_is_called_like_a_raw_photo_is_none_of_either(tmp_path, suffix):
    path = tmp_path / f"IMG_0001{suffix}"
    path.write_bytes(encoded(Image.new("RGB", (160, 120)), "TIFF"))
    for look in (read_file, hash_image):
        with pytest.raises(UnreadableImage) as refused:
            look(path)
        assert str(refused.value) == RAW_UNKNOWN
    path.write_bytes(encoded(Image.new("RGB", (160, 120)), "JPEG"))
    assert decode(read_file(path)).size == (160, 120), "a JPEG by the wrong name is a JPEG"


def test_ordinary_photos_are_still_known_by_the_features_of_before():
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        assert decoder_of(encoded(painted(), kind)) == "upright-rgb-3"
    assert decoder_of(dng(painted())) == "raw-1" and decoder_of(b"none") == "upright-rgb-3"


# --------------------------------------------------------------------------- what is seen of them


@pytest.mark.parametrize(("orientation", "seen"), [(1, "brrr"), (3, "rrrb"), (6, "rbrr"), (8, "rrbr")])
@pytest.mark.parametrize("preview", [None, "as the sensor lay", "upright"])
def test_it_is_upright_with_a_preview_and_without(orientation, seen, preview):
    small = painted(120, 90, corner=BLUE)
    upright = {1: small, 3: small.rotate(180), 6: small.rotate(-90, expand=True), 8: small.rotate(90, expand=True)}
    if preview == "upright" and orientation == 3:
        pytest.skip("nobody can tell")
    given = {None: None, "as the sensor lay": small, "upright": upright[orientation]}[preview]
    picture = decode(dng(painted(), preview=given, orientation=orientation))
    assert corners(picture) == seen
    assert (picture.width < picture.height) == (orientation in (6, 8))


def test_what_the_preview_says_of_itself_counts():
    turned = Image.Exif()
    turned[274] = 8
    data = dng(painted(), preview=painted(120, 90), orientation=1, exif=turned.tobytes())
    assert corners(decode(data)) == "rrbr"


def test_the_preview_is_seen_where_it_is_large_enough_and_else_the_photo_itself():
    green = (40, 200, 40)
    for side, shown in ((80, "grrr"), (79, "brrr")):  # half of the sensor has 80 x 60
        assert corners(decode(dng(painted(), preview=painted(side, 60 if side == 80 else 59, green)))) == shown
    large = painted(1200, 1040)
    for side, shown in ((512, "grrr"), (511, "brrr")):
        picture = decode(dng(large, preview=painted(600, side, green)))
        assert corners(picture) == shown
    assert picture.size == (600, 520), "developed at half its size"


def test_a_preview_that_is_damaged_is_no_preview():
    data = dng(painted(), preview=painted(120, 90, (40, 200, 40)))
    at = data.index(b"\xff\xd8\xff")
    assert corners(decode(data[: at + 20] + b"\0" * 300 + data[at + 320 :])) == "brrr"


# --------------------------------------------------------------------------- bounded, and never the end


def test_a_process_that_ends_costs_its_file_and_the_next_file_gets_another(monkeypatch):
    decode(dng(painted()))
    process = raw._PROCESSES._idle[-1]
    os.kill(process._popen.pid, signal.SIGKILL)
    process._popen.wait()
    with pytest.raises(UnreadableImage) as refused:
        decode(dng(painted()))
    assert str(refused.value) == "raw photo that cannot be read: damaged, the decoder did not outlive it"
    assert process._questions.closed and process._answers.closed
    assert corners(decode(dng(painted()))) == "brrr"
    monkeypatch.setattr(raw, "_SECONDS", 0.0)
    with pytest.raises(UnreadableImage, match="did not outlive it"):
        decode(dng(painted(1200, 1200)))


def test_many_at_a_time_share_a_few_processes():
    found: list[str] = []

    def look() -> None:
        found.append(corners(decode(dng(painted()))))

    threads = [threading.Thread(target=look) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["brrr"] * 12 and len(raw._PROCESSES._idle) <= raw._MOST_PROCESSES


def test_more_memory_than_there_is_is_asked_for_by_none(monkeypatch):
    monkeypatch.setattr(decoding, "PICTURES", Budget(25_000_000))
    with pytest.raises(UnreadableImage) as refused:
        decode(dng(painted(1000, 800)))
    assert str(refused.value).startswith("1000 x 800 pixels of raw photo take ")


def test_one_that_was_cut_off_is_said_to_be():
    with pytest.raises(UnreadableImage, match=r"^raw photo that cannot be read: damaged, it ends too early$"):
        decode(dng(painted(), preview=painted(120, 90))[:-60])


def test_a_hostile_file_is_an_unreadable_one():
    data = dng(painted(), preview=painted(120, 90))
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 8):
            broken[at] = rng.integers(256)
        for at in rng.integers(len(data) - 900, len(data), 4):  # where the directories are
            broken[at] = rng.integers(256)
        with suppress(UnreadableImage):
            decode(bytes(broken))
    assert corners(decode(data)) == "brrr"


def test_nothing_is_imported_from_the_folder_one_is_in(tmp_path, monkeypatch):
    (tmp_path / "rawpy.py").write_text("raise SystemExit('a stranger wrote this')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    raw._PROCESSES.end()
    assert corners(decode(dng(painted()))) == "brrr"


def test_a_folder_of_raws_is_learned_from_and_sorted_like_any_other(cli, tmp_path, tiny):
    for label, colour in (("red", RED), ("blue", BLUE)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(4):
            shade = tuple(min(255, value + 9 * i) for value in colour)
            data = dng(Image.new("RGB", (64, 48), shade), preview=Image.new("RGB", (64, 48), shade) if i % 2 else None)
            (tmp_path / "photos" / label / f"{i}.{'NEF' if i % 2 else 'dng'}").write_bytes(data)
    done = cli("learn", tmp_path / "photos", "--name", "colours", "--epochs", 1, "--model", tiny)
    assert done.code == 0, done.err
    done = cli(
        "sort", tmp_path / "photos", "--prompt", "colours", "--into", tmp_path / "sorted", "--xmp", "--no-unknown"
    )
    assert done.code == 0, done.err
    assert (
        len(list((tmp_path / "sorted").rglob("*.NEF.xmp"))) == len(list((tmp_path / "sorted").rglob("*.dng.xmp"))) == 4
    )
