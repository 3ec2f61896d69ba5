"""Groups: near copies and bursts are one group, photos of the same kind are not, and no split takes a group apart."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import paint
from PIL import Image, ImageChops, ImageOps
from test_likeness import scene

from promptctl.context.context import Context
from promptctl.data import bursts as burst_times
from promptctl.data import groups as grouping
from promptctl.data.folder import ImageFolder
from promptctl.data.groups import BURST, LOOKED_AT, equal_pairs, groups_of, joined
from promptctl.data.near_copies import BY_ITSELF, SIDE, is_near_copy, near_each_other, plain_row
from promptctl.encoding.decode import glance, thumbnail
from promptctl.encoding.metadata import taken_at
from promptctl.learners.shots import sample_shots
from promptctl.store.refs import Ref
from promptctl.store.store import Store

TAKEN = "2024:05:01 10:00:%02d"


def exif_of(moment: str | None, fraction: str | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a maker"  # or Pillow finds nothing to write
    if moment:
        exif.get_ifd(0x8769)[36867] = moment
    if fraction:
        exif.get_ifd(0x8769)[37521] = fraction
    return exif


def save(picture: Image.Image, path: Path, *, moment: str | None = None, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(path, quality=quality, exif=exif_of(moment))
    return path


def sha_of(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes() if isinstance(path, Path) else path.encode()).hexdigest()


def features(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Unit rows."""
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def alike(n: int, cosine: float) -> np.ndarray:
    """Unit rows of which every two have this cosine."""
    return features(np.linalg.cholesky(np.full((n, n), cosine) + (1 - cosine) * np.eye(n)))


def partition(numbers: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)}


def grouped(paths: Sequence[Path], rows: np.ndarray, **more) -> set[frozenset[int]]:
    return partition(groups_of(rows, ["emu"] * len(paths), [sha_of(path) for path in paths], paths, **more))


def pairs(*groups: Sequence[int]) -> set[frozenset[int]]:
    return {frozenset(group) for group in groups}


NEAR_COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a smaller size": lambda picture: picture.resize((100, 75)),
    "darker": lambda picture: picture.point(lambda value: value * 3 // 4),
    "shifted": lambda picture: ImageChops.offset(picture, 4, 2),
    "cut at its edges": lambda picture: picture.crop((5, 4, 235, 176)),
    "mirrored": ImageOps.mirror,
}


@pytest.mark.parametrize("change", NEAR_COPIES)
def test_a_near_copy_is_in_the_group_of_its_picture(tmp_path, change):
    paths = [save(scene(i), tmp_path / f"{i}.jpg") for i in range(4)]
    paths.append(save(NEAR_COPIES[change](scene(2)), tmp_path / "copy.jpg", quality=60))
    assert grouped(paths, alike(5, LOOKED_AT + 0.02)) == pairs([0], [1], [2, 4], [3])


def test_however_alike_features_find_them_pictures_of_one_kind_are_no_group(tmp_path):
    paths = [save(scene(i), tmp_path / f"{i}.jpg") for i in range(12)]
    assert grouped(paths, alike(12, 0.99)) == pairs(*([i] for i in range(12)))


def test_pictures_that_features_find_different_are_not_looked_at(tmp_path, monkeypatch):
    paths = [save(scene(0), tmp_path / f"{i}.jpg", quality=60 + i) for i in range(2)]
    monkeypatch.setattr(grouping, "_glance", lambda path: pytest.fail(f"{path} is opened"))
    assert grouped(paths, alike(2, LOOKED_AT - 0.01)) == pairs([0], [1])


def test_each_file_is_opened_once(tmp_path, monkeypatch):
    paths = [save(scene(i), tmp_path / f"{i}.jpg") for i in range(8)]
    opened = []
    monkeypatch.setattr(grouping, "glance", lambda path, side: (opened.append(path), glance(path, side))[1])
    grouped(paths, alike(8, 0.9))
    assert sorted(opened) == paths


def test_pictures_of_one_moment_are_a_group_and_of_another_not(tmp_path):
    paths = [save(scene(i), tmp_path / f"{i}.jpg", moment=TAKEN % second) for i, second in enumerate((0, 2, 5, 9))]
    paths.append(save(scene(4), tmp_path / "no time.jpg"))
    assert BURST == 3
    assert grouped(paths, alike(5, 0.9)) == pairs([0, 1, 2], [3], [4])


def test_pictures_of_one_moment_that_show_something_else_are_no_group(tmp_path):
    paths = [save(scene(i), tmp_path / f"{i}.jpg", moment=TAKEN % 0) for i in range(4)]
    rows = np.zeros((4, 4), np.float32)
    rows[:2, :2] = rows[2:, 2:] = alike(2, 0.9)
    assert grouped(paths, rows) == pairs([0, 1], [2, 3])


def test_a_clock_that_stands_still_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(burst_times, "_MOST_A_SECOND", 3)
    paths = [save(scene(i), tmp_path / f"{i}.jpg", moment=TAKEN % 7) for i in range(4)]
    paths += [save(scene(i), tmp_path / f"{i}.jpg", moment=TAKEN % 30) for i in range(4, 7)]
    assert grouped(paths, alike(7, 0.9)) == pairs([0], [1], [2], [3], [4, 5, 6])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_when_a_picture_was_taken_is_read_to_the_fraction_of_a_second(tmp_path, suffix):
    if suffix == "avif" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow writes no AVIF")
    path = tmp_path / f"a.{suffix}"
    scene(0).save(path, exif=exif_of(TAKEN % 2, "25"))
    taken = taken_at(path.read_bytes())
    assert taken is not None and taken.seconds == glance(path, SIDE)[1] == 1714557602.25
    np.testing.assert_array_equal(glance(path, SIDE)[0], thumbnail(path, SIDE))


@pytest.mark.parametrize("said", [None, "0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2024:05:01"])
def test_a_time_that_cannot_be_read_is_none(tmp_path, said):
    assert taken_at(save(scene(0), tmp_path / "a.jpg", moment=said).read_bytes()) is None


def test_broken_exif_has_no_time():
    header = b"II*\0\x08\0\0\0"
    to_taken = struct.pack("<HHHII", 1, 34665, 4, 1, 26) + bytes(4) + struct.pack("<HHHII", 1, 36867, 2, 20, 1 << 31)
    for data in (b"", header[:7], header, header + to_taken, header + to_taken[:-3], header * 100):
        assert taken_at(data) is None


def test_without_a_file_features_alone_tell_what_is_nearly_the_same(tmp_path):
    near = features([[1, 0, 0, 0], [1, 0.05, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    assert near[0] @ near[1] > BY_ITSELF
    stored = [f"shot {i}" for i in range(4)]
    shas = [sha_of(name) for name in stored]
    assert partition(groups_of(near, ["emu"] * 4, shas, [None] * 4)) == pairs([0, 1], [2], [3])
    new = save(scene(0), tmp_path / "new.jpg")
    assert partition(groups_of(near, ["emu"] * 4, shas, [None, new, None, None])) == pairs([0, 1], [2], [3])
    bench = alike(6, 0.985)  # parts on one bench: any two look so
    assert len(partition(groups_of(bench, ["emu"] * 6, list("abcdef"), [None] * 6))) == 6


def test_pixels_decide_where_both_have_a_file(tmp_path):
    paths = [save(scene(i), tmp_path / f"{i}.jpg") for i in range(2)]
    rows = features([[1, 0, 0], [1, 0.01, 0], [1, 0.02, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]])
    numbers = groups_of(rows, ["emu"] * 6, list("abcdef"), [*paths, None, None, None, None])
    assert partition(numbers) == pairs([0, 1, 2], [3], [4], [5]), "both belong to the one without a file"
    far = [0, 1, 3, 4, 5]
    numbers = groups_of(rows[far], ["emu"] * 5, list("abdef"), [*paths, None, None, None])
    assert partition(numbers) == pairs(*([i] for i in range(5)))


def test_what_is_known_to_be_a_group_stays_one(tmp_path):
    rows = np.eye(5, dtype=np.float32)
    numbers = groups_of(rows, ["emu"] * 5, list("abcde"), [None] * 5, before=[7, -1, 7, -1, 3])
    assert partition(numbers) == pairs([0, 2], [1], [3], [4])


def test_copies_in_two_classes_are_a_group(tmp_path):
    numbers = groups_of(np.eye(3, dtype=np.float32), ["emu", "ibis", "owl"], ["x", "x", "y"], [None] * 3)
    assert numbers[0] == numbers[1] != numbers[2]


def test_the_order_of_the_images_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "_TILE", 5)  # pairs within a tile and across
    paths = [save(scene(i // 2), tmp_path / f"{i}.jpg", quality=60 + i) for i in range(16)]
    rows, labels = alike(16, 0.9), ["emu", "ibis"] * 8
    shas = [sha_of(path) for path in paths]
    numbers = groups_of(rows, labels, shas, paths)
    assert partition(numbers) == pairs(*([i, i + 1] for i in range(0, 16, 2))), "across classes too"
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(16)
        again = groups_of(rows[order], *([some[i] for i in order] for some in (labels, shas, paths)))
        assert partition(again) == partition(numbers[order])


def test_of_too_many_the_most_alike_are_looked_at(tmp_path, monkeypatch):
    paths = [save(scene(i // 2), tmp_path / f"{i}.jpg", quality=60 + i) for i in range(4)]
    rows = np.zeros((4, 4), np.float32)
    rows[:2, :2], rows[2:, 2:] = alike(2, 0.9), alike(2, 0.95)
    for name, limit in (("MOST_FILES", 2), ("MOST_BYTES", sum(path.stat().st_size for path in paths[2:]))):
        with monkeypatch.context() as patch:
            patch.setattr(grouping, name, limit)
            assert grouped(paths, rows) == pairs([0], [1], [2, 3])
    assert grouped(paths, rows) == pairs([0, 1], [2, 3])


def test_a_file_that_has_gone_is_in_no_group(tmp_path):
    paths = [save(scene(0), tmp_path / f"{i}.jpg", quality=60 + i) for i in range(3)]
    shas = [sha_of(path) for path in paths]
    paths[1].unlink()
    assert partition(groups_of(alike(3, 0.9), ["emu"] * 3, shas, paths)) == pairs([0, 2], [1])


def test_no_images_are_no_groups():
    assert groups_of(np.empty((0, 4), np.float32), [], [], []).shape == (0,)


def test_a_group_is_called_by_the_place_of_its_first_image():
    numbers = groups_of(np.eye(5, dtype=np.float32), ["emu"] * 5, list("bacda"), [None] * 5)
    assert numbers.tolist() == [0, 1, 2, 3, 1], "so that a table without groups says what says nothing"


def test_of_many_pairs_is_said_what_is_said_of_each():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (6, SIDE, SIDE)).astype(np.float64)
    some = [base[i // 3] + rng.normal(0, 25, (SIDE, SIDE)) * (i % 3) for i in range(18)]
    some += [np.full((SIDE, SIDE), 9.0), 9 + 1e-5 * some[0], some[0][:, ::-1]]
    cosines = rng.uniform(0.85, 1, (21, 21)).astype(np.float32)
    rows = np.array([plain_row(one) for one in some])
    said = [[is_near_copy(float(cosines[i, j]), a, b) for j, b in enumerate(some)] for i, a in enumerate(some)]
    np.testing.assert_array_equal(near_each_other(cosines, rows, rows), said)
    assert 20 < np.sum(said) < 200


def test_things_that_hang_together_are_joined():
    numbers = joined(8, [np.array([[6, 1], [3, 6], [2, 5]]), equal_pairs("abcdabce")])
    assert partition(numbers) == pairs([0, 4], [1, 5, 2, 6, 3], [7])
    assert joined(3, [equal_pairs("abc")]).tolist() == [0, 1, 2]
    chain = np.random.default_rng(0).permutation(1000)
    assert not joined(1000, [np.stack([chain[1:], chain[:-1]], 1)]).any()


# --------------------------------------------------------------------------- what learn makes of them


def bursts(root: Path, scenes: int, labels: str = "ab") -> Path:
    """Of every scene three photos that differ a little."""
    for c, label in enumerate(labels):
        for i in range(scenes):
            picture = scene(1000 * c + i)
            for j, changed in enumerate((picture, ImageChops.offset(picture, 2, 1), picture.crop((3, 2, 238, 179)))):
                save(changed, root / label / f"{i:02d}-{j}.jpg", quality=95 - 15 * j)
    return root


def sides(context: Context) -> dict[str, int]:
    table = context.shots
    return {bytes(sha).hex(): int(side) for sha, side in zip(table.sha256, table.held_out, strict=True)}


def test_learn_keeps_every_scene_on_one_side(cli, tmp_path, tiny):
    folder = bursts(tmp_path / "photos", 10)
    report = json.loads(cli("learn", folder, "--name", "c", "--model", tiny, "--epochs", 1, "--json").out)
    assert [(row["train"], row["held_out"]) for row in report["per_class"]] == [(24, 6), (24, 6)]
    side_of = sides(Context.load(Store().find(Ref("c")).path))
    for first in folder.glob("*/*-0.jpg"):
        of_scene = {side_of[sha_of(path)] for path in first.parent.glob(f"{first.stem[:2]}-*.jpg")}
        assert len(of_scene) == 1
    assert len(side_of) == 60


def test_compare_keeps_every_scene_on_one_side(tmp_path, tiny):
    from promptctl.benchmark.pool import Reach, divide_photos, encode_pool
    from promptctl.clip.backbone import Backbone

    folder = ImageFolder.scan(bursts(tmp_path / "photos", 5))
    divided = divide_photos(folder, folder.images)
    scenes = [{(i.label, i.path.name[:2]) for i in side} for side in (divided.train, divided.test)]
    assert scenes[0] & scenes[1], "or content alone would do"
    reach, name_of = Reach((1,), 2), {"a": "a", "b": "b"}
    pool, damaged = encode_pool(divided, folder, name_of, reach, Backbone(tiny, "cpu"), "a {}")
    scenes = [{(i.label, i.path.name[:2]) for i in side} for side in (pool.train, pool.test)]
    assert not scenes[0] & scenes[1] and not damaged
    assert (len(pool.train), len(pool.test)) == (24, 6) and {i.label for i in pool.test} == {"a", "b"}
    assert set(pool.vector_of) == {i.path for i in (*reach.of(pool.train), *pool.test)}


def test_compare_divides_as_before_where_nothing_belongs_together(tmp_path, tiny):
    from promptctl.benchmark.pool import Reach, divide_photos, encode_pool
    from promptctl.clip.backbone import Backbone

    folder = ImageFolder.scan(paint(tmp_path / "photos", images=8))
    bad = folder.images[3].path
    bad.write_bytes(bad.read_bytes()[:-400])
    divided, names = divide_photos(folder, folder.images), {label: label for label in folder.labels}
    pool, damaged = encode_pool(divided, folder, names, Reach((1,), 1), Backbone(tiny, "cpu"), "a {}")
    assert [item.path for item in damaged] == [bad]
    assert (pool.train, pool.test) == tuple(
        tuple(image for image in side if image.path != bad) for side in (divided.train, divided.test)
    )


def test_a_class_of_one_scene_is_not_measured_on_and_that_is_said(tmp_path, tiny, caplog):
    from promptctl.benchmark.pool import Reach, divide_photos, encode_pool
    from promptctl.clip.backbone import Backbone

    folder = ImageFolder.scan(bursts(tmp_path / "photos", 5))
    for path in (tmp_path / "photos" / "a").iterdir():
        if not path.name.startswith("00"):
            path.unlink()
    folder = ImageFolder.scan(tmp_path / "photos")
    divided = divide_photos(folder, folder.images)
    assert {image.label for image in divided.test} == {"a", "b"}
    pool, _ = encode_pool(divided, folder, {"a": "a", "b": "b"}, Reach((1,), 1), Backbone(tiny, "cpu"), "a {}")
    assert {image.label for image in pool.test} == {"b"} and len(pool.train) == 3 + 12
    assert "no photo of 'a' is measured on: its photos belong together" in caplog.messages


@pytest.fixture
def encoder(tiny):
    from promptctl.clip.backbone import Backbone

    return Backbone(tiny, "cpu").encoder


def test_the_split_knows_the_groups_of_what_the_context_remembers(tmp_path, encoder):
    folder = ImageFolder.scan(bursts(tmp_path / "photos", 5))
    split = sample_shots(folder, folder.images, shots=None, seed=1, encoder=encoder)
    assert (len(split.train), len(split.held_out)) == (24, 6)
    of_train, of_held_out = split.group_of(split.train), split.group_of(split.held_out)
    assert not set(of_train.tolist()) & set(of_held_out.tolist())
    assert sorted(map(len, partition(np.concatenate([of_train, of_held_out])))) == [3] * 10
    assert partition(split.table().groups) == partition(np.concatenate([of_train, of_held_out]))
    few = sample_shots(folder, folder.images, shots=6, seed=1, encoder=encoder)
    scenes = [f"{path.parent.name}{path.name[:2]}" for path in few.train.paths]
    assert partition(few.group_of(few.train)) == partition(np.unique(scenes, return_inverse=True)[1])


def test_shots_are_drawn_as_ever_and_near_copies_of_them_measured_on(tmp_path, encoder, caplog):
    folder = ImageFolder.scan(bursts(tmp_path / "photos", 3))
    split = sample_shots(folder, folder.images, shots=2, seed=1, encoder=encoder)
    ranked = sorted(folder.images, key=lambda i: hashlib.sha256(f"1:{sha_of(i.path)}".encode()).hexdigest())
    expected = [[i.path for i in ranked if i.label == label][:2] for label in "ab"]
    assert split.train.paths == (*expected[0], *expected[1])
    assert (len(split.held_out), split.measured_on) == (14, "images not sampled")
    assert any("looks nearly the same as" in message for message in caplog.messages)


def test_a_damaged_photo_makes_way_for_another_in_what_is_held_out(tmp_path, encoder):
    root = tmp_path / "photos"
    for i in range(10):
        for label in "ab":
            save(scene(i + 50 * (label == "b")), root / label / f"{i}.jpg")
    folder = ImageFolder.scan(root)
    first = sample_shots(folder, folder.images, shots=None, seed=1, encoder=encoder).held_out.paths[0]
    first.write_bytes(first.read_bytes()[:2000])
    again = sample_shots(folder, folder.images, shots=None, seed=1, encoder=encoder)
    assert [item.path for item in again.skipped] == [first]
    assert (len(again.train), len(again.held_out)) == (16, 3), "of nine photos one is held out"
    assert first not in (*again.train.paths, *again.held_out.paths)


def test_where_all_classes_are_small_nothing_is_held_out(tmp_path, encoder):
    root = tmp_path / "photos"
    for i in range(4):
        for label in "ab":
            save(scene(i + 50 * (label == "b")), root / label / f"{i}.jpg")
    folder = ImageFolder.scan(root)
    split = sample_shots(folder, folder.images, shots=None, seed=1, encoder=encoder)
    assert (len(split.train), len(split.held_out), split.held_out.vectors.shape) == (8, 0, (0, 32))
    assert len(split.table()) == 8
    assert "shot_group" not in split.table().tensors()
