from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptctl.clip.backbone import Backbone
from promptctl.encoding import pipeline
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import decode
from promptctl.encoding.pipeline import encode_files, encode_views, stream
from promptctl.encoding.torch import TorchEncoder
from promptctl.encoding.views import view
from promptctl.errors import NoImages
from promptctl.paths import cache_home


@pytest.fixture(scope="module")
def backbone(tiny_folder):
    return Backbone(f"local-dir:{tiny_folder}")


def count_encoded(backbone, monkeypatch) -> list[int]:
    counts = []
    original = TorchEncoder.encode
    monkeypatch.setattr(TorchEncoder, "encode", lambda self, x: (counts.append(len(x)), original(self, x))[1])
    return counts


def test_features_are_the_models_own(backbone, photos):
    paths = sorted(photos.rglob("*.png"))
    features, skipped = encode_files(paths, backbone.encoder, FeatureCache())
    pictures = torch.stack([backbone.transform(Image.open(path).convert("RGB")) for path in paths])
    with torch.no_grad():
        expected = backbone.model.encode_image(pictures, normalize=True)
    assert features.paths == tuple(paths)
    assert skipped == ()
    np.testing.assert_allclose(features.vectors, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(features.vectors, axis=1), 1, atol=1e-6)


def test_what_was_encoded_once_is_not_encoded_again(backbone, photos, monkeypatch):
    paths = sorted(photos.rglob("*.png"))
    first, _ = encode_files(paths, backbone.encoder, FeatureCache())
    counts = count_encoded(backbone, monkeypatch)
    (photos / "renamed").mkdir()
    moved = [path.rename(photos / "renamed" / f"{i}.png") for i, path in enumerate(paths)]
    second, _ = encode_files(moved, backbone.encoder, FeatureCache())
    assert counts == []
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_other_weights_do_not_share_features(backbone, photos, monkeypatch, tmp_path):
    from conftest import TINY, build_clip

    paths = sorted(photos.rglob("*.png"))
    encode_files(paths, backbone.encoder, FeatureCache())
    other = Backbone(f"local-dir:{build_clip(tmp_path, TINY, seed=9)}")
    counts = count_encoded(other, monkeypatch)
    encode_files(paths, other.encoder, FeatureCache())
    assert sum(counts) == len(paths)


def test_an_unreadable_cache_is_an_empty_cache(backbone, photos):
    paths = sorted(photos.rglob("*.png"))
    first, _ = encode_files(paths, backbone.encoder, FeatureCache())
    for damage in (b"not a database at all" * 100, b""):
        FeatureCache().path.write_bytes(damage)
        again, _ = encode_files(paths, backbone.encoder, FeatureCache())
        np.testing.assert_allclose(first.vectors, again.vectors, atol=1e-6)


def test_a_vector_of_the_wrong_length_is_not_believed(backbone, photos):
    paths = sorted(photos.rglob("*.png"))[:2]
    first, _ = encode_files(paths, backbone.encoder, FeatureCache())
    with sqlite3.connect(FeatureCache().path) as db:
        db.execute("UPDATE features SET vector = x'0000'")
    again, _ = encode_files(paths, backbone.encoder, FeatureCache())
    np.testing.assert_allclose(first.vectors, again.vectors, atol=1e-6)


def test_backup_tools_are_told_it_is_a_cache():
    FeatureCache()
    assert (cache_home() / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_damaged_files_are_named_and_the_rest_keeps_its_order(backbone, photos):
    paths = sorted(photos.rglob("*.png"))
    paths[3].write_bytes(b"<html>")
    paths[9].write_bytes(b"")
    features, skipped = encode_files(paths, backbone.encoder, FeatureCache())
    assert [(item.path, item.reason) for item in skipped] == [(paths[3], "not an image"), (paths[9], "empty file")]
    assert features.paths == tuple(path for i, path in enumerate(paths) if i not in (3, 9))


def test_no_images_give_no_features(backbone):
    features, skipped = encode_files([], backbone.encoder, FeatureCache())
    assert features.vectors.shape == (0, 32)
    assert skipped == ()


def test_progress_reaches_the_total(backbone, photos):
    seen = []
    paths = sorted(photos.rglob("*.png"))
    encode_files(paths, backbone.encoder, FeatureCache(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 18), (3, 18), (7, 18), (15, 18), (18, 18)]


class MeanColour:
    """An encoder of little work: the mean of a picture, as a unit row; it can be told to take its time."""

    fingerprint, width, size = "mean-colour", 3, 8

    def __init__(self, seconds: float = 0.0, preparing: float = 0.0) -> None:
        self.seconds, self.preparing = seconds, preparing
        self.batches: list[int] = []
        self.waiting = self.most_waiting = 0  # pictures that were prepared and not yet encoded
        self._lock = threading.Lock()

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        time.sleep(self.preparing)
        self._count(1)
        return np.asarray(picture.resize((8, 8)), np.float32).transpose(2, 0, 1)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        time.sleep(self.seconds)
        self._count(-len(pixels))
        means = pixels.mean((2, 3)) + 1
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _count(self, change: int) -> None:
        with self._lock:
            self.waiting += change
            self.most_waiting = max(self.most_waiting, self.waiting)


def many(folder: Path, count: int) -> list[Path]:
    """Little pictures, no two of them the same."""
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (8, 8), (i % 256, i // 256, 7)).save(folder / f"{i:04}.png")
    return sorted(folder.iterdir())


def test_no_more_than_some_pictures_are_decoded_ahead(tmp_path):
    paths, taken = many(tmp_path / "many", 400), []
    encoder = MeanColour(0.05)
    handed_out = (taken.append(path) or path for path in paths)
    for done, _ in enumerate(stream(handed_out, encoder, FeatureCache()), 1):
        assert len(taken) - done < 130, "files are not taken long before they are expected"
    assert (done, sum(encoder.batches)) == (400, 400)
    assert 32 < encoder.most_waiting < 130


def test_the_first_answers_wait_for_no_full_batch(tmp_path):
    encoder = MeanColour()
    features = stream(many(tmp_path / "many", 200), encoder, FeatureCache())
    next(features)
    assert encoder.batches == [1]
    assert len(list(features)) == 199
    assert encoder.batches == [1, 2, 4, 8, 16, 32, 32, 32, 32, 32, 9]


def test_what_is_known_waits_for_nothing_behind_it(tmp_path):
    paths = many(tmp_path / "many", 60)
    encode_files(paths[:30], MeanColour(), FeatureCache())
    encoder = MeanColour()
    features = stream(paths, encoder, FeatureCache())
    assert [next(features).path for _ in range(30)] == paths[:30]
    assert encoder.batches == []


def test_a_new_picture_is_not_held_up_by_all_the_known_ones_after_it(tmp_path):
    paths = many(tmp_path / "many", 260)
    encode_files(paths[2:], MeanColour(), FeatureCache())
    taken = []
    features = stream((taken.append(path) or path for path in paths), MeanColour(), FeatureCache())
    assert [next(features).path for _ in range(2)] == paths[:2]
    assert len(taken) < 200


def test_a_copy_is_encoded_once_wherever_it_lies(tmp_path):
    paths = many(tmp_path / "many", 100)
    for i, path in enumerate(paths):
        path.with_name(f"{i:04}-copy.png").write_bytes(path.read_bytes())
    paths += sorted((tmp_path / "many").glob("*-copy.png"))
    for order in (sorted(paths), paths, paths[::-1]):
        encoder = MeanColour()
        found, _ = encode_files(order, encoder, FeatureCache(tmp_path / "cache"))
        assert len(found) == 200
        assert sum(encoder.batches) == (100 if order == sorted(paths) else 0)


def test_whoever_stops_listening_stops_the_work(tmp_path):
    encoder = MeanColour(preparing=0.05)
    features = stream(many(tmp_path / "many", 100), encoder, FeatureCache())
    for _ in range(8):
        next(features)
    features.close()
    time.sleep(0.3)
    prepared = encoder.waiting + sum(encoder.batches)
    time.sleep(0.3)
    assert encoder.waiting + sum(encoder.batches) == prepared
    assert FeatureCache().contents().features == {"mean-colour": sum(encoder.batches)}, "and what was done is kept"


def test_views_are_encoded_once_and_kept(photos, backbone, monkeypatch):
    cache = FeatureCache()
    paths = sorted(photos.glob("*/*.png"))[:3]
    plain, _ = encode_files(paths, backbone.encoder, cache)
    counted: list[tuple[int, int]] = []
    views = encode_views(plain, 11, backbone.encoder, cache, lambda *counts: counted.append(counts))
    assert views.shape == (3, 11, 32)
    assert counted[-1] == (33, 33)
    np.testing.assert_allclose(np.linalg.norm(views, axis=-1), 1, atol=1e-6)
    assert len({row.tobytes() for row in views.reshape(33, -1)}) == 33

    picture = decode(paths[1].read_bytes())
    fifth = backbone.transform(view(picture, plain.sha256[1], 5, 32)).unsqueeze(0)
    np.testing.assert_allclose(views[1, 5], backbone.encoder.encode(fifth.numpy())[0], atol=1e-6)

    counts = count_encoded(backbone, monkeypatch)
    np.testing.assert_array_equal(encode_views(plain, 11, backbone.encoder, cache), views)
    np.testing.assert_array_equal(encode_views(plain, 4, backbone.encoder, cache), views[:, :4])
    assert counts == [], "neither these nor fewer are encoded again"


def test_what_is_decoded_or_cropped_otherwise_is_encoded_anew(photos, monkeypatch):
    paths = sorted(photos.rglob("*.png"))[:3]
    known, _ = encode_files(paths, MeanColour(), FeatureCache())
    encode_views(known, 2, MeanColour(), FeatureCache())

    def encoded() -> tuple[int, int]:
        plain, views = MeanColour(), MeanColour()
        encode_files(paths, plain, FeatureCache())
        encode_views(known, 2, views, FeatureCache())
        return sum(plain.batches), sum(views.batches)

    assert encoded() == (0, 0)
    monkeypatch.setattr(pipeline, "VIEWS", "other crops")
    assert encoded() == (0, 6)
    monkeypatch.setattr("promptctl.encoding.decode.DECODER", "another decoder")
    assert encoded() == (3, 6)


def test_an_image_that_goes_away_between_looks_is_named(photos, backbone):
    cache = FeatureCache()
    paths = sorted(photos.glob("*/*.png"))[:3]
    plain, _ = encode_files(paths, backbone.encoder, cache)
    paths[2].unlink()
    with pytest.raises(NoImages, match=r"2.png was there a moment ago and is no more: no such file or directory"):
        encode_views(plain, 2, backbone.encoder, cache)


def test_only_the_views_that_are_not_known_are_encoded(backbone, photos, monkeypatch):
    features, _ = encode_files(sorted(photos.rglob("*.png"))[:2], backbone.encoder, FeatureCache())
    few = encode_views(features, 4, backbone.encoder, FeatureCache())
    counts = count_encoded(backbone, monkeypatch)
    more = encode_views(features, 5, backbone.encoder, FeatureCache())
    assert sum(counts) == 2
    np.testing.assert_array_equal(more[:, :4], few)


def test_a_photo_that_changed_between_is_not_taken_for_the_same(backbone, photos):
    paths = sorted(photos.rglob("*.png"))
    features, _ = encode_files(paths[:1], backbone.encoder, FeatureCache())
    paths[-1].replace(paths[0])
    with pytest.raises(NoImages) as refused:
        encode_views(features, 2, backbone.encoder, FeatureCache())
    assert str(refused.value) == f"{paths[0]} has changed since a moment ago"


def test_threads_load_a_backbone_once(tiny_folder, photos, monkeypatch):
    import open_clip

    class Unlocked:
        """functools.cached_property as Python has it since 3.12."""

        def __init__(self, make):
            self.make = make

        def __set_name__(self, _, name):
            self.name = name

        def __get__(self, owner, _=None):
            if self.name not in owner.__dict__:
                owner.__dict__[self.name] = self.make(owner)
            return owner.__dict__[self.name]

    for name in ("id", "model", "tower", "encoder"):
        unlocked = Unlocked(Backbone.__dict__[name].func)
        unlocked.__set_name__(Backbone, name)
        monkeypatch.setattr(Backbone, name, unlocked)
    loads, original = [], open_clip.create_model
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: (loads.append(a), original(*a, **k))[1])
    encode_files(sorted(photos.rglob("*.png")), Backbone(f"local-dir:{tiny_folder}").encoder, FeatureCache())
    assert len(loads) == 1
