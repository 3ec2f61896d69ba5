from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest

from promptctl.classification.head import Head
from promptctl.context.card import KEY, BackboneId, Card, ClassEntry, Method, Score, Shots, read_card
from promptctl.context.context import Context, ShotTable
from promptctl.errors import BadContextFile, CorruptContext, NewerFormat


def make(classes: int = 3, *, tokens: int = 2, width: int = 4, joint: int = 5, shots: int = 6, **changes) -> Context:
    rng = np.random.default_rng(0)
    card = Card(
        backbone=BackboneId("mini", "f" * 64, width, joint),
        classes=tuple(ClassEntry(i, f"class_{i}", f"class {i}") for i in range(classes)),
        method=Method("coop", tokens, None, changes.pop("class_specific", False), "end", 100, 0.002, 1, 100),
        shots=Shots(2, shots, 0),
        zero_shot_template="a photo of a {}.",
        logit_scale=28.5,
        written_by="promptctl test",
        score=Score("images not sampled", 10, 0.9, 0.5),
    )
    shape = (classes, tokens, width) if card.method.class_specific else (tokens, width)
    table = ShotTable(
        features=unit(rng.normal(size=(shots, joint))).astype(np.float16),
        class_ids=(np.arange(shots) % classes).astype(np.int32),
        sha256=rng.integers(0, 256, (shots, 32)).astype(np.uint8),
        held_out=np.zeros(shots, np.uint8),
    )
    vectors, *features = (rng.normal(size=s).astype(np.float32) for s in (shape, (classes, joint), (classes, joint)))
    return dataclasses.replace(Context(card, vectors, *map(unit, features), table), **changes)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("class_specific", [False, True])
def test_a_context_comes_back_as_it_went(class_specific, tmp_path):
    context = make(class_specific=class_specific)
    path = tmp_path / "1.safetensors"
    path.write_bytes(context.to_bytes())
    back = Context.load(path)
    assert dataclasses.replace(back.card, sha256="") == context.card
    for name in ("vectors", "text_features", "zero_shot_features"):
        np.testing.assert_array_equal(getattr(back, name), getattr(context, name))
    np.testing.assert_array_equal(back.shots.sha256, context.shots.sha256)
    assert read_card(path) == back.card, "the header alone tells the same card"


def test_the_same_context_gives_the_same_bytes():
    assert make().to_bytes() == make().to_bytes()


def test_tokens_of_a_class_are_kept_and_left_out_where_there_are_none(tmp_path):
    context = make()
    assert '"tokens"' not in context.card.to_json(), "files without them are what they were before there were any"
    first, *others = context.card.classes
    classes = (dataclasses.replace(first, tokens=(320, 2361)), *others)
    spoken = dataclasses.replace(context, card=dataclasses.replace(context.card, classes=classes))
    assert spoken.card.to_json().count('"tokens":[320,2361]') == spoken.card.to_json().count('"tokens"') == 1
    (tmp_path / "1.safetensors").write_bytes(spoken.to_bytes())
    assert read_card(tmp_path / "1.safetensors").classes == classes


def test_every_single_bit_flip_is_detected():
    data = make(2, tokens=1, width=2, joint=2, shots=2).to_bytes()
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(BadContextFile):
                Context.from_bytes(bytes(damaged), "x.safetensors")


def test_every_truncation_and_any_appended_byte_is_detected():
    data = make(2, tokens=1, width=2, joint=2, shots=2).to_bytes()
    for length in range(len(data)):
        with pytest.raises(CorruptContext):
            Context.from_bytes(data[:length], "x.safetensors")
    with pytest.raises(CorruptContext):
        Context.from_bytes(data + b"\0", "x.safetensors")


def test_the_checksum_is_of_the_file_with_zeros_in_its_place():
    import hashlib

    data = make().to_bytes()
    digest = Context.from_bytes(data, "x").card.sha256
    assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_a_class_name_that_looks_like_the_checksum_is_only_a_name():
    context = make()
    zeros = "0" * 64
    odd = tuple(ClassEntry(i, label, label) for i, label in enumerate([zeros, f'"sha256":"{zeros}"', "\\" + zeros]))
    context = dataclasses.replace(context, card=dataclasses.replace(context.card, classes=odd))
    assert Context.from_bytes(context.to_bytes(), "x").card.classes == odd


def test_a_newer_format_says_update():
    data = make().to_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    card = json.loads(header["__metadata__"][KEY])
    header["__metadata__"][KEY] = json.dumps(card | {"format": 2, "something": "new"})
    text = json.dumps(header).encode()
    with pytest.raises(NewerFormat) as refused:
        Context.from_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :], "birds/1.safetensors")
    assert str(refused.value) == "birds/1.safetensors has format 2, this promptctl reads up to 1"
    assert refused.value.hint == "update promptctl"


def test_a_giant_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "1.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(CorruptContext, match="its header is longer than the file or than a header may be"):
        read_card(path)


def test_values_that_are_not_numbers_and_wrong_shapes_are_refused():
    nan = make(vectors=np.full((2, 4), np.nan, np.float32)).to_bytes()
    with pytest.raises(CorruptContext, match="vectors holds a value that is not a number"):
        Context.from_bytes(nan, "x")
    wide = make(vectors=np.zeros((2, 5), np.float32)).to_bytes()
    with pytest.raises(CorruptContext, match=r"vectors is float32 \(2, 5\), float32 \(2, 4\) was expected"):
        Context.from_bytes(wide, "x")


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: data[:-1]])
def test_the_header_alone_tells_a_file_that_is_longer_or_shorter(tmp_path, change):
    path = tmp_path / "1.safetensors"
    path.write_bytes(change(make().to_bytes()))
    with pytest.raises(CorruptContext, match="it is cut off, or something was added to it"):
        read_card(path)


def test_a_head_has_labels_and_names_and_does_not_mix_them_up():
    head = Head.of(make(), "birds@1", share=1.0)
    assert (head.labels, head.names) == (("class_0", "class_1", "class_2"), ("class 0", "class 1", "class 2"))
