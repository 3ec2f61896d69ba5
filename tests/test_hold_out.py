"""Hold-out: a fifth of every class, whole groups, and no image ever on another side than before."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from promptctl.data.images import HashedImage
from promptctl.data.sampling import held_out, hold_out, rank_key


def sha(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def images_of(counts: dict[str, int], first: int = 0) -> list[HashedImage]:
    return [
        HashedImage(Path(f"{label}{i}"), label, None, sha(f"{label}{i}"))
        for label, n in counts.items()
        for i in range(first, first + n)
    ]


def apart(images: list[HashedImage], **more) -> Counter[str]:
    return Counter(image.label for image in hold_out(images, **more).held_out)


def sides_of(images: list[HashedImage], **more) -> dict[str, bool]:
    divided = hold_out(images, **more)
    assert sorted((*divided.train, *divided.held_out), key=str) == sorted(images, key=str)
    return {i.sha256: side for side, part in enumerate((divided.train, divided.held_out)) for i in part}


@pytest.mark.parametrize(("n", "held"), [(1, 0), (4, 0), (5, 1), (9, 1), (10, 2), (14, 2), (15, 3), (101, 20)])
def test_a_fifth_of_each_class_and_none_of_one_under_five(n, held):
    assert apart(images_of({"emu": n, "ibis": 20, "owl": 1})) == Counter(emu=held, ibis=4)


def test_the_smallest_hashes_are_held_out_whatever_the_order():
    images = images_of({"emu": 15, "ibis": 5})
    divided = hold_out(images)
    assert hold_out(images[::-1]) == divided
    emus = sorted((i for i in images if i.label == "emu"), key=lambda image: rank_key(image.sha256, 0))
    assert [image for image in divided.held_out if image.label == "emu"] == emus[:3]
    assert [str(image.path) for image in divided.held_out] == ["emu3", "emu8", "emu9", "ibis1"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_no_image_changes_its_side_in_whatever_order_folders_come(order):
    folders = [images_of({"emu": 7, "ibis": 3}), images_of({"emu": 4, "owl": 12}, 7), images_of({"ibis": 9}, 3)]
    images, known = [], {}
    for i in order:
        images += folders[i]
        now = sides_of(images, known=known)
        assert now.items() >= known.items()
        known = now
        sizes, held = Counter(i.label for i in images), Counter(i.label for i in images if now[i.sha256])
        assert held == Counter({label: n // 5 for label, n in sizes.items() if n >= 5})


def test_what_is_known_stays_even_where_too_many_are_held_out():
    images = images_of({"emu": 10})
    known = {image.sha256: True for image in images[:4]} | {images[4].sha256: False}
    sides = sides_of(images, known=known)
    assert [sides[image.sha256] for image in images] == [True] * 4 + [False] * 6


def test_groups_are_on_one_side():
    images = images_of({"emu": 30, "ibis": 30})
    groups = [i // 3 for i in range(60)]  # bursts of three
    sides = sides_of(images, groups=groups)
    assert apart(images, groups=groups) == Counter(emu=6, ibis=6)
    assert all(len({sides[image.sha256] for image in images[i : i + 3]}) == 1 for i in range(0, 60, 3))
    backwards = dict(zip((i.sha256 for i in images[::-1]), [*range(60)], strict=True))
    turned = sides_of(images[::-1], groups=[99 - backwards[i.sha256] // 3 for i in images[::-1]])
    assert turned == sides, "neither their order nor their numbers decide"


@pytest.mark.parametrize(
    ("sizes", "held"),
    [((6, 6), 0), ((3, 3, 3, 3, 3), 3), ((2, 3, 20), 5), ((7, 4, 4, 4, 1, 20), 8), ((2,) * 6 + (3,), 3), ((2,) * 8, 2)],
)
def test_of_groups_as_many_are_held_out_as_their_sizes_allow(sizes, held):
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    for names in range(5):  # whichever hash comes first
        images = images_of({"emu": len(groups), "ibis": 20}, 100 * names)
        assert apart(images, groups=[*groups, *range(100, 120)]) == Counter(emu=held, ibis=4)


def test_the_most_is_held_out_that_any_choice_of_groups_gives():
    rng = np.random.default_rng(0)
    for _ in range(40):
        sizes = rng.integers(1, 9, rng.integers(2, 9))
        groups = [group for group, size in enumerate(sizes) for _ in range(size)]
        sums = {0}
        for size in sizes:
            sums |= {one + int(size) for one in sums}
        most = max(total for total in sums if total <= len(groups) // 5)
        assert apart(images_of({"emu": len(groups)}), groups=groups)["emu"] == most


def test_large_groups_are_held_out_no_sooner_than_small_ones():
    groups = [*range(50), *(50 + i // 10 for i in range(100))]
    large = 0
    for names in range(100):
        images = images_of({"emu": 150}, 1000 * names)
        large += sum(held_out(["emu"] * 150, [i.sha256 for i in images], groups=groups)[50:])
    assert 0.4 < large / (100 * 30) < 0.75, "two thirds of the photos are in large groups"


def test_a_group_across_classes_is_on_one_side_and_counts_in_each():
    images = images_of({"emu": 10, "ibis": 10})
    groups = [*range(10), *range(10)]  # every photo has a near copy in the other class
    sides = sides_of(images, groups=groups)
    assert apart(images, groups=groups) == Counter(emu=2, ibis=2)
    assert all(sides[images[i].sha256] == sides[images[i + 10].sha256] for i in range(10))


def test_one_picture_in_two_classes_is_on_one_side():
    for names in range(5):
        images = images_of({"emu": 10}, 100 * names)
        images += [HashedImage(Path(f"copy{i}"), "ibis", None, image.sha256) for i, image in enumerate(images)]
        images += images_of({"ibis": 60}, 100 * names)
        divided = hold_out(images)
        assert not {i.sha256 for i in divided.train} & {i.sha256 for i in divided.held_out}
        assert apart(images) == Counter(emu=2, ibis=14)


def test_a_new_image_of_a_group_goes_where_the_group_is():
    images = images_of({"emu": 20})
    known = {image.sha256: i < 2 for i, image in enumerate(images[:10])}
    groups = [*range(10), 0, 1, 1, 5, 5, *range(15, 20)]
    sides = sides_of(images, groups=groups, known=known)
    assert [sides[image.sha256] for image in images[10:15]] == [True, True, True, False, False]
    both_sides = [0, 1, 0, *range(3, 10), 0, *range(11, 20)]
    assert not sides_of(images, groups=both_sides, known=known)[images[10].sha256], "it is learned from"
