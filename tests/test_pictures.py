from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from promptctl.encoding import decode as decoding
from promptctl.encoding import files, formats
from promptctl.encoding.budget import FILES, PICTURES, Budget
from promptctl.encoding.decode import decode, hash_image, identify
from promptctl.encoding.files import NotAnImage, UnreadableImage, read_file
from promptctl.encoding.formats import is_image_name
from promptctl.encoding.views import view, view_box


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_all_eight_orientations_are_the_same_picture():
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8))
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, turn in back.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turn is None else upright.transpose(turn)
        np.testing.assert_array_equal(np.asarray(decode(encoded(stored, exif=exif))), np.asarray(upright))


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    eight = decode(encoded(Image.fromarray((ramp / 257).round().astype(np.uint8))))
    sixteen = decode(encoded(Image.fromarray(ramp)))
    assert np.abs(np.asarray(eight, int) - np.asarray(sixteen, int)).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (9, 7), (200, 100, 50)).convert(mode)
    kind = "TIFF" if mode in ("CMYK", "F", "YCbCr", "I") else "PNG"
    # Pillow before 13 cannot read the uncompressed YCbCr it writes
    options = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
    picture = decode(encoded(image, kind, **options))
    assert (picture.mode, picture.size) == ("RGB", (9, 7))


def test_transparent_pixels_are_white():
    assert decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1, 1), (40, 1), (1, 50)])
def test_odd_shapes_decode(size):
    assert decode(encoded(Image.new("RGB", size))).size == size


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


def test_bad_files_say_why(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    for data, reason in (
        (b"<html>", "not an image"),
        (encoded(noise, "JPEG")[:1500], "damaged"),
        (encoded(noise)[:-900], "damaged"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            decode(data)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    for name, reason in (
        ("pipe.jpg", "not a regular file"),
        ("dangling.jpg", "no such file"),
        ("empty.jpg", "empty file"),
        ("page.jpg", "not an image"),
        (".", "not a readable folder"),
    ):
        for read in (read_file, hash_image):
            with pytest.raises(UnreadableImage, match=reason):
                read(tmp_path / name)


# --------------------------------------------------------------------------- formats

FTYP = b"\0\0\0\x18ftyp%b\0\0\0\0%b%b"


def test_heic_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage) as refused:
        decode(FTYP % (b"heic", b"mif1", b"heic"))
    assert str(refused.value) == "HEIC, which needs one more package: pip install 'promptctl[heic]'"


def test_heic_is_read_with_its_package():
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 60))).save(out, quality=90)
    picture = decode(out.getvalue())
    assert picture.size == (64, 48)
    assert np.abs(np.asarray(picture, int)[20, 20] - (200, 30, 60)).max() < 8


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_told_from_heic_by_its_brands():
    data = encoded(Image.new("RGB", (64, 48), (200, 30, 60)), "AVIF")
    assert decode(data.replace(b"ftypavif", b"ftypmif1")).size == (64, 48)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\x0a\xfa\x1f", "JPEG XL, which is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", "JPEG XL, which is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000, which is not read: convert it to JPEG or PNG"),
        (b"8BPS\0\x01", "Photoshop file, which is not read: convert it to JPEG or PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript file, which is not read: convert it to JPEG or PNG"),
        (b"\xc5\xd0\xd3\xc6\x1e\0", "PostScript file, which is not read: convert it to JPEG or PNG"),
        (b"<svg xmlns=", "SVG drawing, which is not read: convert it to JPEG or PNG"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg ', "SVG drawing, which is not read: convert it to JPEG or PNG"),
    ],
)
def test_images_that_are_not_read_are_named_whatever_they_are_called(tmp_path, data, reason):
    for name in ("a.jpg", "a.tif", "a"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImage) as refused:
            read_file(tmp_path / name)
        assert not isinstance(refused.value, NotAnImage)
        assert str(refused.value) == reason
    with pytest.raises(UnreadableImage) as refused:
        identify(data)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n", "a PDF, not an image"),
        (bytes(257) + b"ustar\x0000", "an archive, whose photos classify --engine ray reads"),
        (b"PAR1\x15\x04", "a table, whose photos classify --engine ray reads"),
        (FTYP % (b"isom", b"mp41", b"avc1"), "a video, not an image"),
        (b"\x1a\x45\xdf\xa3", "a video, not an image"),
        (b"RIFF\x24\0\0\0AVI LIST", "a video, not an image"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not an image"),
        (b"PK\x03\x04", "not an image"),
        (b"BMW is a car", "not an image"),
        (b"P1 is a street", "not an image"),
    ],
)
def test_what_is_no_image_is_told_from_an_image_that_is_not_read(tmp_path, data, what):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(NotAnImage) as refused:
        read_file(tmp_path / "a.jpg")
    assert str(refused.value) == what


@pytest.mark.parametrize("piece", [b"<!---->", b"<?xml?>", b"<!-- -->\n", b"<!DOCTYPE svg>", b" "])
def test_what_a_file_is_is_told_at_once_however_it_starts(piece):
    started = time.process_time()
    assert formats.of_content(piece * 26) is None
    assert time.process_time() - started < 1


def test_an_eps_runs_no_program(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: ran.append(arguments))
    monkeypatch.setattr(os, "system", ran.append)
    eps = encoded(Image.new("RGB", (8, 8)), "EPS")
    for name in ("a.jpg", "a.eps"):
        (tmp_path / name).write_bytes(eps)
        with pytest.raises(UnreadableImage, match="PostScript file"):
            hash_image(tmp_path / name)
    with pytest.raises(UnreadableImage, match="PostScript file"):
        decode(eps)
    assert ran == []


def test_a_format_outside_the_list_is_never_opened():
    for kind in ("TGA", "ICO", "PCX", "SGI", "DDS", "JPEG2000", "PDF", "SPIDER", "IM", "MSP", "XBM", "ICNS", "QOI"):
        image = Image.new("F" if kind == "SPIDER" else "1" if kind in ("XBM", "MSP") else "RGB", (64, 64))
        try:
            data = encoded(image, kind)
        except (OSError, KeyError, ValueError):  # not in this Pillow
            continue
        with pytest.raises(UnreadableImage, match=r"not an image|is not read"):
            decode(data)


def test_names_tell_images_without_opening_any():
    read = "jpg JPEG jpe jfif png gif bmp tif TIFF webp ppm pgm pbm pnm avif heic HEIF"
    known = "NEF cr2 CR3 dng arw orf rw2 raf pef srw raw jxl psd eps svg jp2 ico tga xcf exr"
    for suffix in f"{read} {known}".split():
        assert is_image_name(Path(f"a.{suffix}")), suffix
    for suffix in ("txt", "mov", "MP4", "pdf", "xmp", "aae", "json", "csv", "html", "zip", "py", "hdf5", "mpg"):
        assert not is_image_name(Path(f"a.{suffix}")), suffix
    assert not is_image_name(Path("jpg"))


def test_a_name_of_an_image_that_is_not_read_says_why_nothing_is_recognised(tmp_path):
    (tmp_path / "a.tga").write_bytes(bytes(30))
    with pytest.raises(UnreadableImage) as refused:
        read_file(tmp_path / "a.tga")
    assert str(refused.value) == "Targa picture, which is not read: convert it to JPEG or PNG"
    assert not isinstance(refused.value, NotAnImage)


# --------------------------------------------------------------------------- TIFFs of several pictures


def directory(entries: dict[int, int], *, at: int, next_at: int = 0) -> bytes:
    block = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        block += struct.pack("<HHII", tag, 4, 1, value)
    return block + struct.pack("<I", next_at)


def painted_tiff(first: dict[int, int], child: dict[int, int] | None = None, second: dict[int, int] | None = None):
    """A TIFF of 16 x 8 grey pixels in its first directory, a sub-directory and a second page."""
    picture = {256: 16, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 128}
    pixels, child_at, second_at = bytes(range(128)), 600, 900
    entries = picture | ({330: child_at} if child is not None else {}) | first
    data = b"II*\0" + struct.pack("<I", 200) + pixels
    data = data.ljust(200, b"\0") + directory(entries, at=200, next_at=second_at if second is not None else 0)
    data = data.ljust(child_at, b"\0") + directory(picture | (child or {}), at=child_at)
    return data.ljust(second_at, b"\0") + directory(picture | (second or {}), at=second_at)


@pytest.mark.parametrize(
    "data",
    [
        painted_tiff({}),
        painted_tiff({254: 0}, {254: 1}),  # a pyramid
        painted_tiff({254: 1, 273: 300}, second={254: 0}),  # a thumbnail page before the page itself
        painted_tiff({}, {}, {}),
    ],
)
def test_an_ordinary_tiff_of_several_pictures_is_read(data):
    identify(data)
    np.testing.assert_array_equal(np.asarray(decode(data))[..., 0].ravel(), np.arange(128))


@pytest.mark.parametrize(("kind", "options"), [("TIFF", {}), ("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_several_frames_the_first_is_read(kind, options):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


def test_an_inverted_cmyk_jpeg_is_not_a_negative():
    image = Image.new("RGB", (16, 16), (200, 30, 60)).convert("CMYK")
    data = encoded(image, "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(np.asarray(decode(data), int)[8, 8] - (200, 30, 60)).max() < 8


# --------------------------------------------------------------------------- warnings

LOOK = """
import logging, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from promptctl.cli.process import prepare_process
from promptctl.encoding import decode, files
prepare_process()
logging.warning("as open_clip does")  # which gives a root logger without a handler one that speaks
def look(path):
    try:
        return decode.decode(Path(path).read_bytes()).size
    except files.UnreadableImage as reason:
        return str(reason)
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(look, sys.argv[1:])))
"""


def test_no_raw_warning_reaches_a_person(tmp_path):
    files = {
        "seven.tif": painted_tiff({277: 7, 262: 2}),  # Pillow's log calls it an error
        "large.jpg": encoded(Image.new("L", (10_000, 9_500)), "JPEG"),
        "large.tif": encoded(Image.new("1", (10_000, 9_500)), "TIFF", compression="group4"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files]
    done = subprocess.run([sys.executable, "-c", LOOK, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "['damaged (Invalid value for samples per pixel)', (2500, 2375), (2500, 2375)]\n"
    assert done.stderr == ""
    expected = subprocess.run([sys.executable, "-Wdefault", "-c", LOOK, *paths], capture_output=True, text=True)
    assert "DecompressionBombWarning" in expected.stderr


# --------------------------------------------------------------------------- memory


def large_png(width: int, height: int, *, depth: int, colour: int, samples: int) -> bytes:
    """A PNG of one row again and again."""
    row = b"\0" + bytes(i % 251 for i in range((width * depth * samples + 7) // 8))
    packer = zlib.compressobj(1)
    pixels = b"".join([packer.compress(row * 100) for _ in range(height // 100)] + [packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = (b"PLTE", bytes(range(256)) * 3)
    chunks = [(b"IHDR", header), *([palette] if colour == 3 else []), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


KINDS = {"grey16": (16, 0, 1), "rgb": (8, 2, 3), "rgba": (8, 6, 4), "palette": (8, 3, 1)}
MEASURE = """
import sys, resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from promptctl.encoding import decode, files
def peak():
    return int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) * 1024
def look(path):
    with files.file_bytes(Path(path)) as data, decode.decoded(data) as picture:
        return picture.size
before = peak()
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(look, sys.argv[1:])))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_four_decoders_of_large_pictures_stay_within_one_budget(tmp_path):
    for name in ("rgb", "rgba"):
        depth, colour, samples = KINDS[name]
        data = large_png(8000, 8000, depth=depth, colour=colour, samples=samples)
        for copy in range(2):
            (tmp_path / f"{name}{copy}.png").write_bytes(data)
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    sizes, peak = done.stdout.splitlines()
    assert sizes == str([(2000, 2000)] * 4)
    assert done.stderr == ""
    # 64 megapixels take 256 MB as they are, and there are four threads
    assert int(peak) < min(1_000_000_000, FILES.n_bytes + PICTURES.n_bytes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_picture_is_the_same_picture_smaller(kind):
    depth, colour, samples = KINDS[kind]
    data = large_png(6000, 6000, depth=depth, colour=colour, samples=samples)
    with Image.open(io.BytesIO(data)) as image:
        part = image.crop((0, 0, 3000, 300))
        small = part.convert("RGBA") if kind in ("rgba", "palette") else part
    if kind == "grey16":
        expected = np.asarray(small, float)[..., None].repeat(3, -1) / 257
    else:
        pixels = np.asarray(small.convert("RGBA"), float)
        share = pixels[..., 3:] / 255
        expected = pixels[..., :3] * share + 255 * (1 - share)
    found = np.asarray(decode(data), float)
    assert found.shape == (2000, 2000, 3)
    expected = expected.reshape(100, 3, 1000, 3, 3).mean((1, 3))
    np.testing.assert_allclose(found[:100, :1000], expected, atol=1.5)


def test_a_large_jpeg_is_decoded_shrunk_and_upright():
    base = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    large = base.resize((8000, 4000), Image.Resampling.BILINEAR)
    data = encoded(large, "JPEG", exif=exif, quality=90)
    assert decoding._Source.of(data).n_bytes < 100_000_000, "32 megapixels take 128 MB"
    picture = decode(data)
    assert picture.size == (2000, 4000)
    expected = base.resize((4000, 2000), Image.Resampling.BILINEAR).transpose(Image.Transpose.ROTATE_270)
    assert np.abs(np.asarray(picture, int) - np.asarray(expected, int)).mean() < 3


def test_an_ordinary_picture_is_not_shrunk():
    assert decode(encoded(Image.new("L", (7000, 4500)), "JPEG")).size == (7000, 4500)
    assert decode(encoded(Image.new("L", (40000, 1000)))).size == (40000, 1000), "large, but no side to spare"


def test_a_picture_that_never_fits_is_named_with_its_size(monkeypatch):
    monkeypatch.setattr(decoding, "PICTURES", Budget(100_000_000))
    bomb = encoded(Image.new("1", (12000, 12000)))
    for look in (identify, decode):
        with pytest.raises(UnreadableImage) as refused:
            look(bomb)
        assert str(refused.value) == (
            "12000 x 12000 pixels of PNG take 184 MB of memory to read, 100 MB is the most: make it smaller first"
        )


def test_what_a_progressive_jpeg_holds_is_counted(monkeypatch):
    noise = Image.new("RGB", (3000, 2000))
    sizes = []
    for options in ({}, {"progressive": True}, {"progressive": True, "subsampling": 0}):
        sizes.append(decoding._Source.of(encoded(noise, "JPEG", **options)).pixels.working_bytes)
    assert sizes[0] == 0
    assert sizes[1] == pytest.approx(3 * 3000 * 2000, rel=0.01)
    assert sizes[2] == pytest.approx(6 * 3000 * 2000, rel=0.01)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FILES", Budget(1_000_000))
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(encoded(Image.new("RGB", (9, 9))))
        file.truncate(5_000_000_000)
    with pytest.raises(UnreadableImage) as refused:
        read_file(path)
    assert str(refused.value) == "a file of 5.0 GB, 1 MB is the most that is read"
    with path.open("r+b") as file:
        file.write(FTYP % (b"isom", b"mp41", b"avc1"))
    with pytest.raises(NotAnImage, match="a video, not an image"):
        read_file(path)


# --------------------------------------------------------------------------- views

SHA = "ab" * 32


def test_a_view_is_decided_by_content_and_number_alone():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8))
    first, again = (np.asarray(view(picture, SHA, 3, 32)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (32, 32, 3)
    others = [view(picture, SHA, 4, 32), view(picture, "cd" * 32, 3, 32)]
    assert all((np.asarray(other) != first).any() for other in others)


def test_a_view_is_the_crop_torchvision_would_make_of_its_box():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8))
    mirrored = 0
    for number in range(20):
        rng = np.random.default_rng([number, *bytes.fromhex(SHA)])
        left, upper, right, lower = view_box(90, 60, rng)
        expected = resized_crop(picture, upper, left, lower - upper, right - left, [32, 32], Image.Resampling.BICUBIC)
        found = np.asarray(view(picture, SHA, number, 32))
        flipped = (found != np.asarray(expected)).any()
        np.testing.assert_array_equal(found[:, ::-1] if flipped else found, np.asarray(expected))
        mirrored += flipped
    assert 4 <= mirrored <= 16


@pytest.mark.parametrize("size", [(100, 100), (640, 480), (300, 1000), (2000, 20), (1, 1)])
def test_boxes_are_distributed_as_random_resized_crop_has_them(size):
    width, height = size
    rng = np.random.default_rng(0)
    ours = np.array([view_box(width, height, rng) for _ in range(4000)], float)
    torch.manual_seed(0)
    picture = torch.empty(1, height, width)
    drawn = [RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    theirs = np.array([(left, upper, left + w, upper + h) for upper, left, h, w in drawn], float)
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2] <= width).all()
    assert (ours[:, 3] <= height).all()
    scale = np.array([width, height, width, height])
    for statistic in (np.mean, np.std):
        np.testing.assert_allclose(statistic(ours, 0) / scale, statistic(theirs, 0) / scale, atol=0.02)


@pytest.mark.parametrize(("shape", "kept"), [((20000, 1), (50, 1)), ((3, 900), (3, 150)), ((100, 2), (100, 2))])
def test_a_picture_that_is_a_line_is_cut_to_its_middle(shape, kept):
    line = np.zeros((shape[1], shape[0], 3), np.uint8)
    line[shape[1] // 2, shape[0] // 2] = 255
    picture = decode(encoded(Image.fromarray(line)))
    assert picture.size == kept
    assert np.asarray(picture).max() == 255
