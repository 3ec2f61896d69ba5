from __future__ import annotations

import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest

from promptctl.classification.classifier import Classifier
from promptctl.classification.head import Head
from promptctl.context.card import (
    KEY,
    BackboneId,
    Card,
    Change,
    ClassEntry,
    GuardRecord,
    HeadPart,
    Method,
    Relabelled,
    Score,
    Shots,
    read_card,
    seal,
)
from promptctl.context.context import Context, LinearHead, ShotTable
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
    header["__metadata__"][KEY] = json.dumps(card | {"format": 4, "something": "new"})
    text = json.dumps(header).encode()
    with pytest.raises(NewerFormat) as refused:
        Context.from_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :], "birds/1.safetensors")
    assert str(refused.value) == "birds/1.safetensors has format 4, this promptctl reads up to 3"
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


# --------------------------------------------------------------------------- a head, and what shots say besides


def with_head(context: Context) -> Context:
    weight = np.random.default_rng(1).normal(size=context.text_features.shape).astype(np.float32)
    bias = np.arange(len(weight), dtype=np.float32)
    card = dataclasses.replace(context.card, head=(HeadPart("clap", 0.5), HeadPart("ridge", 0.5)))
    return dataclasses.replace(context, card=card, head=LinearHead(weight, bias))


def test_a_file_that_answers_with_a_head_is_of_format_2(tmp_path):
    context = with_head(make())
    path = tmp_path / "1.safetensors"
    path.write_bytes(context.to_bytes())
    back = Context.load(path)
    assert (read_card(path).format, Context.from_bytes(make().to_bytes(), path).card.format) == (2, 1)
    assert back.head is not None and back == context
    np.testing.assert_array_equal(back.head.weight, context.head.weight)
    np.testing.assert_array_equal(back.head.bias, context.head.bias)

    x = unit(np.random.default_rng(2).normal(size=(50, 5))).astype(np.float32)
    logits = 28.5 * x @ context.head.weight.T + context.head.bias
    np.testing.assert_array_equal(Classifier.of(back).predict(x).best, logits.argmax(1))
    np.testing.assert_allclose(
        Classifier.of(back).predict(x).probabilities, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-5
    )
    half = 0.5 * logits + 0.5 * 28.5 * x @ context.zero_shot_features.T
    np.testing.assert_array_equal(Classifier.of(back, share=0.5).predict(x).best, half.argmax(1))
    alone = (x @ context.text_features.T).argmax(1)
    np.testing.assert_array_equal(Classifier.of(back, head=False).predict(x).best, alone)
    assert (alone != logits.argmax(1)).any() and (half.argmax(1) != logits.argmax(1)).any()


def test_a_head_in_a_file_of_format_1_is_passed_over(tmp_path):
    """As the promptctl that wrote that format does."""
    data = with_head(make()).to_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    card = json.loads(header["__metadata__"][KEY]) | {"format": 1, "sha256": "0" * 64}
    header["__metadata__"][KEY] = json.dumps(card, sort_keys=True, separators=(",", ":"))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    older = seal(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert Context.from_bytes(older, "x").head is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_a_head_of_no_numbers_is_refused(value):
    context = with_head(make())
    weight = context.head.weight.copy()
    weight[1, 2] = value
    with pytest.raises(CorruptContext):
        Context.from_bytes(dataclasses.replace(context, head=LinearHead(weight, context.head.bias)).to_bytes(), "x")


def test_what_shots_say_besides_is_written_where_there_is_something_to_say():
    context = make()
    plain = context.to_bytes()
    assert b"shot_since" not in plain and b"shot_group" not in plain and b"shot_predicted" not in plain
    n = len(context.shots)
    since = np.array([1, 1, 1, 2, 2, 3], np.int32)
    told = dataclasses.replace(context.shots, since=since, groups=np.zeros(n, np.int32), predicted=np.ones(n, np.int32))
    back = Context.from_bytes(dataclasses.replace(context, shots=told).to_bytes(), "x").shots
    np.testing.assert_array_equal(back.since, since)
    assert (back.groups == 0).all() and (back.predicted == 1).all()
    quiet = Context.from_bytes(plain, "x").shots
    assert (quiet.since == 1).all() and (quiet.predicted == -1).all() and len(set(quiet.groups.tolist())) == n
    some = told.only(since > 1)
    assert some.since.tolist() == [2, 2, 3] and len(some.features) == len(some.sha256) == 3


@pytest.mark.parametrize("column", ["since", "groups", "predicted"])
def test_shots_of_no_version_group_or_answer_are_refused(column):
    shots = make().shots
    bad = dataclasses.replace(shots, **{column: np.full(len(shots), -2, np.int32)})
    with pytest.raises(CorruptContext):
        Context.from_bytes(dataclasses.replace(make(), shots=bad).to_bytes(), "x")


def test_a_card_of_before_is_written_as_it_was():
    card = make().card
    assert not {"change", "head", "folds", "next_id"} & set(json.loads(card.to_json()))
    guard = GuardRecord(40, 5, 1, 0.1, True, "images held out", "")
    change = Change("learn", "+2 classes", (Relabelled("a" * 64, 1, 2),), True, guard)
    told = dataclasses.replace(card, change=change, next_id=9, folds=Score("5 folds of the shots", 6, 0.5, 0.4))
    back = Context.from_bytes(dataclasses.replace(make(), card=told).to_bytes(), "x").card
    assert (back.change, back.next_id, back.folds) == (change, 9, told.folds)


@pytest.mark.parametrize(
    "changed",
    [
        {"head": (HeadPart("magic", 1.0),)},
        {"head": (HeadPart("clap", -1.0),)},
        {"next_id": -1},
        {"folds": Score("x", 5, 1.5, 0.0)},
        {"change": Change("learn", "a\0b")},
        {"change": Change("relabel", relabelled=(Relabelled("zz", 0, 1),))},
        {"change": Change("learn", guard=GuardRecord(-1, 0, 0, 0.5))},
        {"change": Change("learn", guard=GuardRecord(1, 0, 0, 2.0))},
    ],
)
def test_a_card_that_cannot_be_true_is_refused(changed):
    context = with_head(make())
    card = dataclasses.replace(context.card, **changed)
    with pytest.raises(CorruptContext):
        Context.from_bytes(dataclasses.replace(context, card=card).to_bytes(), "x")


@pytest.mark.parametrize("classes", [3, 6000])
def test_what_is_noted_of_relabelled_images_never_makes_a_header_that_nobody_reads(classes):
    # 12 000 photos in one `class merge`: the header they would need is refused by every reader
    noted = tuple(Relabelled(hashlib.sha256(str(i).encode()).hexdigest(), i % 7, 1) for i in range(12_000))
    context = make(classes)
    context = dataclasses.replace(
        context, card=dataclasses.replace(context.card, change=Change("class merge", "a + b → c", noted))
    )
    kept = Context.from_bytes(context.to_bytes(), "x").card.change
    assert kept.words == "a + b → c" and kept.relabelled == noted[: len(kept.relabelled)]
    assert 3000 < len(kept.relabelled) < 12_000
    few = dataclasses.replace(context.card, change=Change("class merge", "", noted[:100]))
    assert dataclasses.replace(context, card=few).card.fitting() == few


def test_a_checksum_of_zeros_in_a_strangers_file_is_no_seal():
    noted = (Relabelled("0" * 64, 0, 1), Relabelled("0" * 64, 1, 2))
    context = make()
    context = dataclasses.replace(context, card=dataclasses.replace(context.card, change=Change("learn", "", noted)))
    back = Context.from_bytes(context.to_bytes(), "x")
    assert back.card.change.relabelled == noted and back == context
    damaged = bytearray(context.to_bytes())
    damaged[damaged.index(b"0" * 64)] ^= 1
    with pytest.raises(CorruptContext):
        Context.from_bytes(bytes(damaged), "x")
