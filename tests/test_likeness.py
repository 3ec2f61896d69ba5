"""Near copies: which pairs are looked at, and what a glance at their pixels says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from promptctl.data.near_copies import NEAR, SIDE, alike, by_features_alone, is_near_copy
from promptctl.encoding.decode import thumbnail


def scene(seed: int) -> Image.Image:
    """Soft patches of light and dark, as photos have them."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(patches).resize((240, 180), Image.Resampling.BICUBIC)


COPIES = {
    "half the size": (lambda picture: picture.resize((120, 90)), 0.86),
    "a tenth of the size": (lambda picture: picture.resize((24, 18)), 0.86),
    "darker": (lambda picture: picture.point(lambda value: value * 3 // 4), 0.86),
    "mirrored": (ImageOps.mirror, 0.86),
    "grey": (lambda picture: picture.convert("L"), 0.86),
    "cut at its edges": (lambda picture: picture.crop((10, 8, 230, 172)), NEAR),
}


@pytest.mark.parametrize("change", COPIES)
def test_what_was_changed_a_little_is_a_near_copy(tmp_path, change):
    changed, cosine = COPIES[change]
    scene(0).save(tmp_path / "one.png")
    changed(scene(0)).save(tmp_path / "other.jpg", quality=60)
    one, other = (thumbnail(tmp_path / name, SIDE) for name in ("one.png", "other.jpg"))
    assert is_near_copy(cosine, one, other)


@pytest.mark.parametrize("cosine", [0.86, 0.99])
def test_another_picture_of_the_kind_is_none_however_alike_a_backbone_finds_it(tmp_path, cosine):
    for seed in range(5):
        scene(seed).save(tmp_path / f"{seed}.png")
    first, *others = (thumbnail(tmp_path / f"{seed}.png", SIDE) for seed in range(5))
    assert not any(is_near_copy(cosine, first, other) for other in others)


def test_what_is_of_one_grey_is_no_copy_of_anything():
    flat = np.full((SIDE, SIDE), 9.0)
    assert not is_near_copy(0.99, flat, flat)
    flat[3, 4] += 0.5
    assert not is_near_copy(0.99, flat, flat), "a speck is no picture"


def test_a_thumbnail_is_upright(tmp_path: Path):
    turned = Image.Exif()
    turned[0x0112] = 6
    scene(0).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    scene(0).save(tmp_path / "upright.png")
    np.testing.assert_array_equal(*(thumbnail(tmp_path / f"{name}.png", SIDE) for name in ("turned", "upright")))


def test_the_most_alike_are_found_and_come_first():
    learned = np.eye(3, 4, dtype=np.float32)
    measured = np.array([[0.8, 0.6, 0, 0], [0, 0, 0, 1], [0.1, 0.995, 0, 0]], np.float32)
    found = alike(measured, learned, 0.75)
    assert [(row, nearest) for row, nearest, _ in found] == [(2, 1), (0, 0)]
    np.testing.assert_allclose([cosine for *_, cosine in found], [0.995, 0.8], atol=1e-6)
    assert alike(measured[:0], learned, 0.5) == alike(measured, learned[:0], 0.5) == []


def test_without_pixels_a_class_of_pictures_that_all_look_alike_tells_nothing():
    bench = (
        np.array([[1, 0.01 * i, 0] for i in range(5)])
        / np.linalg.norm([[1, 0.01 * i, 0] for i in range(5)], axis=1)[:, None]
    )
    varied = np.eye(3)[[1, 2, 1]]
    measured, learned = np.vstack([bench[:2], varied[:1]]), np.vstack([bench[2:], varied[1:]])
    of_measured, of_learned = np.array([0, 0, 1]), np.array([0, 0, 0, 1, 1])
    assert by_features_alone(measured, of_measured, learned, of_learned) == [2]
