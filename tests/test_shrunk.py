"""A JPEG that is larger than a backbone needs is decoded shrunk, and looks the same to it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from promptctl.clip.backbone import Backbone
from promptctl.data import near_copies
from promptctl.encoding import decode as decoding
from promptctl.encoding.budget import Budget
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import decode, decoded, identify, thumbnail
from promptctl.encoding.files import UnreadableImage
from promptctl.encoding.pipeline import encode_files, encode_views
from promptctl.encoding.shrink import Look
from promptctl.encoding.views import look_of, view, view_box

MODES = ("RGB", "L", "CMYK")


def painted(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Soft patches of colour, like a photo out of focus."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def jpeg(image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def shrunk(data: bytes, side: int) -> Image.Image:
    with decoded(data, Look(side, 1)) as picture:
        return picture


def apart(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures at the size of the second, in grey levels."""
    resized = one.resize(other.size, Image.Resampling.BOX)
    return float(np.abs(np.asarray(resized, float) - np.asarray(other, float)).mean())


@pytest.fixture(scope="module")
def backbone(tiny_folder):
    return Backbone(f"local-dir:{tiny_folder}")


@pytest.mark.parametrize(
    ("size", "side", "left"),
    [
        ((1600, 1200), 600, (800, 600)),
        ((1200, 1600), 599, (600, 800)),
        ((1600, 1200), 160, (400, 300)),
        ((1601, 1203), 150, (201, 151)),
        ((1600, 1200), 10, (200, 150)),
        ((3000, 200), 100, (1500, 100)),  # the short side counts
        ((3000, 200), 101, (3000, 200)),
    ],
)
def test_a_jpeg_is_shrunk_by_a_power_of_two_to_no_less_than_is_needed(size, side, left):
    data = jpeg(painted(*size))
    small = shrunk(data, side)
    assert small.size == left
    assert apart(decode(data), small) < 2


def test_the_long_side_of_a_shrunk_jpeg_rounds_as_that_of_the_whole_one():
    rng = np.random.default_rng(0)
    transform = Resize(56, InterpolationMode.BICUBIC)
    for width, height in [(1350, 900), (900, 1350), *rng.integers(460, 1000, (30, 2))]:
        data = jpeg(Image.new("L", (int(width), int(height))))
        assert transform(shrunk(data, 56)).size == transform(decode(data)).size, (width, height)


@pytest.mark.parametrize("mode", MODES)
def test_a_jpeg_below_twice_the_need_is_decoded_as_it_is(mode):
    data = jpeg(painted(639, 400, mode))
    np.testing.assert_array_equal(np.asarray(shrunk(data, 201)), np.asarray(decode(data)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}], ids=["plain", "progressive", "444"]
)
def test_every_colour_model_is_the_same_picture_smaller(mode, options):
    data = jpeg(painted(640, 480, mode), **options)
    small = shrunk(data, 120)
    assert (small.mode, small.size) == ("RGB", (160, 120))
    assert apart(decode(data), small) < 1.5


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_shrunk_photo_is_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(painted(640, 480), exif=exif)
    small = shrunk(data, 120)
    assert min(small.size) == 120
    assert apart(decode(data), small) < 1.5


def test_other_formats_come_as_they_are():
    out = io.BytesIO()
    painted(640, 480).save(out, "PNG")
    assert shrunk(out.getvalue(), 10).size == (640, 480)


def test_a_large_jpeg_is_shrunk_to_what_is_needed_at_once():
    assert shrunk(jpeg(Image.new("L", (8000, 4000))), 450).size == (1000, 500)


def test_a_shrunk_jpeg_takes_less_memory_and_is_read_where_a_whole_one_is_not(monkeypatch):
    monkeypatch.setattr(decoding, "PICTURES", Budget(50_000_000))
    data = jpeg(painted(4000, 1500))
    with pytest.raises(UnreadableImage, match=r"4000 x 1500 pixels of JPEG take 72 MB of memory to read"):
        decode(data)
    assert shrunk(data, 300).size == (1000, 375)
    identify(data)  # it depends on the backbone, which is not known yet


def test_the_smallest_crop_of_a_shrunk_photo_is_no_smaller_than_the_input():
    rng = np.random.default_rng(0)
    for size in (32, 224, 336):
        side = look_of(size, views=True).least_side
        for width, height in ((side, side), (side, 3 * side), (2 * side, side)):
            boxes = np.array([view_box(width, height, rng) for _ in range(500)])
            assert (boxes[:, 2:] - boxes[:, :2]).min() >= size


def as_seen(picture: Image.Image, backbone: Backbone) -> np.ndarray:
    return backbone.encoder.encode(backbone.encoder.preprocess(picture)[None])[0]


@pytest.fixture
def large(tmp_path) -> Path:
    (tmp_path / "large.jpg").write_bytes(jpeg(painted(1280, 960)))
    return tmp_path / "large.jpg"


def test_a_backbone_sees_the_shrunk_photo_as_the_whole_one(backbone, large):
    features, _ = encode_files([large], backbone.encoder, FeatureCache())
    whole = decode(large.read_bytes())
    assert features.vectors[0] @ as_seen(whole, backbone) > 0.999
    with decoded(large.read_bytes(), look_of(32, views=False)) as small:
        assert small.size == (160, 120)
        np.testing.assert_allclose(features.vectors[0], as_seen(small, backbone), atol=1e-6)


def test_views_are_crops_of_what_the_smallest_of_them_needs(backbone, large):
    features, _ = encode_files([large], backbone.encoder, FeatureCache())
    views = encode_views(features, 6, backbone.encoder, FeatureCache())[0]
    with decoded(large.read_bytes(), look_of(32, views=True)) as small:
        assert small.size == (320, 240)
    whole = decode(large.read_bytes())
    for number, vector in enumerate(views):
        seen, in_full = (as_seen(view(p, features.sha256[0], number, 32), backbone) for p in (small, whole))
        np.testing.assert_allclose(vector, seen, atol=1e-6)
        assert vector @ in_full > 0.999


def test_a_photo_has_one_feature_whatever_is_read_beside_it(backbone, large):
    others = []
    for number in range(5):
        others.append(large.with_name(f"{number}.jpg"))
        others[-1].write_bytes(jpeg(painted(300 * (number + 1), 400, seed=number)))
    alone, _ = encode_files([large], backbone.encoder, FeatureCache())
    beside, _ = encode_files([*others, large], backbone.encoder, FeatureCache(large.parent / "another"))
    np.testing.assert_allclose(beside.vectors[-1], alone.vectors[0], atol=1e-6)


def test_a_thumbnail_of_a_photo_is_that_of_its_copy_without_losses(tmp_path):
    picture = painted(1283, 957)
    (tmp_path / "a.jpg").write_bytes(jpeg(picture, quality=95))
    picture.save(tmp_path / "a.png")
    one, other = (thumbnail(tmp_path / name, near_copies.SIDE) for name in ("a.jpg", "a.png"))
    assert np.abs(one - other).max() < 4
