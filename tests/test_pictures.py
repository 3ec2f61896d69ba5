from __future__ import annotations

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from promptctl.pictures import UnreadableImage, decode, read_file, view, view_box


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
    bomb = encoded(Image.new("1", (20000, 20000)))
    for data, reason in (
        (b"<html>", "not an image"),
        (encoded(noise, "JPEG")[:1500], "damaged"),
        (encoded(noise)[:-900], "damaged"),
        (bomb, "more pixels than is safe to open"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            decode(data)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "empty.jpg").touch()
    for name, reason in (
        ("pipe.jpg", "not a regular file"),
        ("dangling.jpg", "no such file"),
        ("empty.jpg", "empty file"),
        (".", "not a readable folder"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            read_file(tmp_path / name)


def test_heic_without_its_package_says_what_to_install(tmp_path):
    if ".heic" in Image.registered_extensions():
        pytest.skip("pillow-heif is installed")
    with pytest.raises(UnreadableImage, match="HEIC, which needs one more package: pip install pillow-heif"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


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
        chance = np.random.default_rng([number, *bytes.fromhex(SHA)])
        left, upper, right, lower = view_box(90, 60, chance)
        wanted = resized_crop(picture, upper, left, lower - upper, right - left, [32, 32], Image.Resampling.BICUBIC)
        found = np.asarray(view(picture, SHA, number, 32))
        flipped = (found != np.asarray(wanted)).any()
        np.testing.assert_array_equal(found[:, ::-1] if flipped else found, np.asarray(wanted))
        mirrored += flipped
    assert 4 <= mirrored <= 16


@pytest.mark.parametrize("size", [(100, 100), (640, 480), (300, 1000), (2000, 20), (1, 1)])
def test_boxes_are_distributed_as_random_resized_crop_has_them(size):
    width, height = size
    chance = np.random.default_rng(0)
    ours = np.array([view_box(width, height, chance) for _ in range(4000)], float)
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
