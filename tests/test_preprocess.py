from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from promptctl.encoding.preprocess import Preprocess

SIZES = (32, 33, (32, 32), (24, 40), (41, 30))  # of what comes out
SHAPES = (
    (1, 1),
    (1, 60),
    (60, 1),
    (32, 32),
    (33, 33),
    (40, 24),
    (24, 40),
    (64, 64),
    (31, 29),
    (150, 47),
    (47, 150),
    (3, 99),
    (100, 168),  # its long side comes to 53.76 of 32, and is rounded down
)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def both(**settings):
    cfg = PreprocessCfg(mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28), **settings)
    return image_transform_v2(cfg, is_train=False), Preprocess.of(dataclasses.asdict(cfg))


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_pixels_are_those_of_open_clip(resize_mode, interpolation):
    compared = 0
    for size, fill, shape in itertools.product(SIZES, (0, 90), SHAPES):
        theirs, ours = both(size=size, resize_mode=resize_mode, interpolation=interpolation, fill_color=fill)
        try:
            expected = theirs(noise(*shape)).numpy()
        except ValueError:  # nothing is left of a strip
            continue
        found = ours(noise(*shape))
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0, err_msg=f"{size} {fill} {shape}")
        compared += 1
    assert compared > 80


def test_a_strip_that_open_clip_shrinks_to_nothing_keeps_a_row():
    _, ours = both(size=32, resize_mode="longest")
    assert ours(noise(150, 1)).shape == (3, 32, 32)


@pytest.mark.parametrize(
    "odd",
    [
        {"mode": "L"},
        {"interpolation": "nearest"},
        {"resize_mode": "letterbox"},
        {"size": (32,)},
        {"fill_color": (1, 2, 3)},
        {"gamma": 2.2},
    ],
)
def test_settings_that_are_not_known_to_be_the_same_are_left_to_open_clip(odd):
    settings = dataclasses.asdict(PreprocessCfg())
    assert Preprocess.of(settings) is not None
    assert Preprocess.of({**settings, **odd}) is None
