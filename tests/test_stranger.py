"""Context files from anywhere: damaged, made up, hostile, of another time."""

from __future__ import annotations

import json
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load
from test_context import make

from promptctl.context.card import KEY, LONGEST_HEADER, card_of, header_length, read_card, seal
from promptctl.context.context import Context
from promptctl.errors import BadContextFile, CorruptContext, DatasetError, NewerFormat, TooManyClasses

GOLDEN = Path(__file__).parent / "golden"


def headed(header: object, rest: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + rest


def taken_apart(data: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def strange_value(rng: random.Random) -> object:
    return rng.choice(
        [None, True, -1, 0, 2**31, 2**63, 2**200, 1e308, -0.5, "", "x" * 70000, "\x1b[2J", [], {}, [[]], {"a": {}}, [1]]
    )


def twisted(value: object, rng: random.Random) -> object:
    """The value with one thing in it, at any depth, made something else."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        if rng.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: twisted(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], twisted(value[place], rng), *value[place + 1 :]]
    return strange_value(rng)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file that was a context: bytes flipped, cut, added; lengths, header, card, shapes and values made up."""
    kind = rng.randrange(9)
    header, rest = taken_apart(data)
    if kind == 0:
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return bytes(damaged)
    if kind == 1:
        return data[: rng.randrange(len(data))]
    if kind == 2:
        return data + rng.randbytes(rng.randint(1, 100))
    if kind == 3:
        length = rng.choice([0, 1, 2**20, 2**20 + 1, 2**31, 2**40, 2**63, 2**64 - 1, rng.randrange(len(data))])
        return struct.pack("<Q", length) + data[8:]
    if kind == 4:
        return headed(twisted(header, rng), rest)
    if kind == 5:  # a whole seal over a card that is twisted
        card = twisted(json.loads(header["__metadata__"][KEY]), rng)
        return headed({**header, "__metadata__": {KEY: json.dumps(card, sort_keys=True, separators=(",", ":"))}}, rest)
    if kind == 6:
        depth = rng.choice([100, 2000, 100_000])
        return headed(
            rng.choice([b"[" * depth, b'{"a":' * depth, b'{"__metadata__":{"promptctl":"' + b"[" * depth]), rest
        )
    if kind == 7:
        return sealed_again(header, bytes(rng.choice([np.nan, np.inf, 1e38]) for _ in ()) or rest, rng)
    return rng.randbytes(rng.randint(0, 300))


def sealed_again(header: dict, rest: bytes, rng: random.Random) -> bytes:
    """A file with a right checksum whose tensors are of wrong shapes or hold no numbers."""
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry = dict(header[name])
    if rng.random() < 0.5:
        entry["shape"] = twisted(entry["shape"], rng)
    else:
        entry["dtype"] = rng.choice(["F64", "F32", "F16", "I64", "U8", "BOOL", "X9"])
    values = bytearray(rest)
    for _ in range(rng.randrange(3)):
        place = 4 * rng.randrange(len(values) // 4)
        values[place : place + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, -np.inf]))
    card = json.loads(header["__metadata__"][KEY]) | {"sha256": "0" * 64}
    text = json.dumps(card, sort_keys=True, separators=(",", ":"))
    try:
        return seal(headed({**header, name: entry, "__metadata__": {KEY: text}}, bytes(values)))
    except ValueError:
        return headed({**header, name: entry}, bytes(values))


def read_every_way(data: bytes, path: Path) -> None:
    """A context or BadContextFile with one line, within a second's work, from the header alone and from the whole."""
    path.write_bytes(data)
    for read in (read_card, Context.load):
        started = time.process_time()
        try:
            read(path)
        except BadContextFile as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 500
        assert time.process_time() - started < 1


def mutate_many(folder: Path, count: int) -> None:
    whole = [make(2, tokens=1, width=2, joint=2, shots=2).to_bytes(), make(3, class_specific=True).to_bytes()]
    for seed in range(count):
        rng = random.Random(seed)
        try:
            read_every_way(mutated(rng.choice(whole), rng), folder / "x.safetensors")
        except Exception as error:
            raise AssertionError(f"mutation {seed}") from error


def test_two_thousand_damaged_files_are_refused_in_a_line_each(tmp_path):
    mutate_many(tmp_path, 2000)


def test_a_header_has_a_limit_and_learning_keeps_to_it(tmp_path):
    assert LONGEST_HEADER == 1 << 20
    with pytest.raises(BadContextFile):
        header_length(struct.pack("<Q", LONGEST_HEADER + 1), 1 << 30, "x")
    from promptctl.commands.photos import class_entries

    labels = [f"class number {i:06d}" for i in range(20000)]
    with pytest.raises(TooManyClasses) as refused:
        class_entries(labels, None)
    fit = int(str(refused.value).split("about ")[1].split()[0])
    entries = class_entries(labels[: fit - 10], None)
    import dataclasses

    few = make(2)
    card = dataclasses.replace(few.card, classes=entries)
    rows = np.full((len(entries), 5), 5**-0.5, np.float32)
    data = dataclasses.replace(few, card=card, text_features=rows, zero_shot_features=rows).to_bytes()
    assert len(Context.from_bytes(data, "x").card.classes) == fit - 10


def test_nothing_in_a_card_drives_the_terminal(cli, tmp_path):
    import dataclasses

    entries = tuple(
        dataclasses.replace(e, label=f"{e.label}\x1b[2J", name="\x1b]0;mine\x07\r\n") for e in make().card.classes
    )
    context = make()
    path = tmp_path / "evil.safetensors"
    path.write_bytes(dataclasses.replace(context, card=dataclasses.replace(context.card, classes=entries)).to_bytes())
    for command in (
        ("show", path),
        ("import", path, "--name", "evil"),
        ("diff", path, path),
        ("log", "evil"),
        ("list",),
    ):
        done = cli(*command)
        assert done.code == 0, done.err
        assert not {"\x1b", "\x07", "\r"} & set(done.out + done.err)


def test_a_damaged_file_is_told_by_12_and_one_line(cli, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(make().to_bytes()[:-1])
    for command in (
        ("show", path),
        ("inspect", path),
        ("import", path),
        ("diff", path, path),
        ("export", path, tmp_path / "y"),
    ):
        done = cli(*command)
        assert (done.code, done.out) == (12, ""), command
        assert done.err.startswith(f"error: {path} is not an intact context: ")
        assert len(done.err.splitlines()) <= 2
    done = cli("check", path)
    assert done.code == 12
    assert f"warning: {path} is not an intact context: " in done.err


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("format*.safetensors")), ids=lambda path: path.stem)
def test_files_of_every_format_are_read_as_they_were_written(path, cli):
    expected = json.loads(path.with_suffix(".json").read_text())
    context = Context.load(path)
    assert json.loads(context.card.to_json()).items() >= expected["card"].items()
    for name, (dtype, shape, digest) in expected["tensors"].items():
        import hashlib

        tensor = load(path.read_bytes())[name]
        assert (str(tensor.dtype), list(tensor.shape)) == (dtype, shape)
        assert hashlib.sha256(tensor.tobytes()).hexdigest() == digest
    assert cli("show", path).code == 0
    assert cli("import", path, "--name", path.stem).code == 0
    (checked,) = json.loads(cli("check", path.stem, "--json").out)["contexts"]
    assert checked["fault"] is None


def test_a_newer_format_is_refused_and_nothing_is_written(cli, tmp_path, home):
    header, rest = taken_apart(make().to_bytes())
    card = json.loads(header["__metadata__"][KEY]) | {"format": 4, "of the future": [1]}
    path = tmp_path / "new.safetensors"
    path.write_bytes(headed({**header, "__metadata__": {KEY: json.dumps(card)}}, rest))
    with pytest.raises(NewerFormat):
        card_of(path.read_bytes()[8 : 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]], path)
    done = cli("import", path)
    assert (done.code, done.err.splitlines()) == (
        12,
        [f"error: {path} has format 4, this promptctl reads up to 3", "hint:  update promptctl"],
    )
    assert not list(home.rglob("*.safetensors"))


def crafted(**fields: object) -> bytes:
    """A context with a right seal whose card says something no program of ours would."""
    header, rest = taken_apart(make().to_bytes())
    card = json.loads(header["__metadata__"][KEY]) | fields | {"sha256": "0" * 64}
    text = (
        json.dumps(card, sort_keys=True, separators=(",", ":")).replace('"BIG"', "1e400").replace('"LONG"', "9" * 4000)
    )
    return seal(headed({**header, "__metadata__": {KEY: text}}, rest))


def changed(context: Context, path: str, value: object) -> bytes:
    """The same context with one field of its card something else, under a right seal."""
    header, rest = taken_apart(context.to_bytes())
    card = json.loads(header["__metadata__"][KEY]) | {"sha256": "0" * 64}
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    place = card
    for step in way:
        place = place[step]
    place[last] = value
    text = json.dumps(card, sort_keys=True, separators=(",", ":"))
    return seal(headed({**header, "__metadata__": {KEY: text}}, rest))


IMPOSSIBLE = {
    "backbone.joint_width": [0, -1, 10**18],
    "backbone.text_width": [0, -1, 10**18],
    "backbone.fingerprint": ["", "x" * 64, "F" * 64],
    "backbone.name": ["", "a\0b", "a\nb", "x" * 100_000],
    "classes": [[], [{"id": 0, "label": "a", "name": "a", "aliases": []}]],
    "classes.1.id": [0, -1, 1 << 31, 10**18],
    "classes.1.label": ["", "class_0", "a\0b"],
    "classes.1.name": ["", "a\0b"],
    "classes.1.aliases": [["a\0"]],
    "method.context_tokens": [0, -1, 500, 10**18],
    "method.learner": ["", "cocoop", "clap"],
    "method.recipe": ["", "slow", "clap"],
    "method.position": ["", "nowhere"],
    "method.init": ["a\0"],
    "method.epochs": [-1, 10**18],
    "method.steps": [-1, 10**18],
    "method.views": [-1, 10**18],
    "method.seed": [-(10**30), 10**30, int("9" * 400)],
    "method.lr": [-1.0, 1e38],
    "method.anchor": [-1.0, 1e38],
    "shots.asked": [0, -1, 10**18],
    "shots.train": [-1, 5, 10**18],
    "shots.held_out": [-1, 1, 10**18],
    "score.images": [0, -1, 10**18],
    "score.accuracy": [-0.1, 1.1, 1e308],
    "score.zero_shot_accuracy": [-0.1, 1.1, 1e308],
    "logit_scale": [0.0, -1.0, 1e4, 1e308],
    "zero_shot_template": ["a\0{}"],
    "parent": ["", "newest"],
    "curve": [
        [{"step": step, "loss": 1.0, "accuracy": 0.5} for step in range(65)],
        [{"step": step, "loss": 1.0, "accuracy": 0.5} for step in (1, 1)],
        [{"step": -1, "loss": 1.0, "accuracy": 0.5}],
        [{"step": 0, "loss": -0.1, "accuracy": 0.5}],
        [{"step": 0, "loss": 1e300, "accuracy": 0.5}],
        [{"step": 0, "loss": 1.0, "accuracy": 1.1}],
    ],
}


@pytest.mark.parametrize("field", IMPOSSIBLE)
def test_a_sealed_context_that_cannot_be_is_refused_in_a_sentence(field, tmp_path):
    path = tmp_path / "x.safetensors"
    for value in IMPOSSIBLE[field]:
        path.write_bytes(changed(make(), field, value))
        with pytest.raises(CorruptContext) as refused:
            Context.load(path)
        assert len(str(refused.value)) < 400
        assert "\n" not in str(refused.value)
        assert "expected, not" not in str(refused.value), "it was the type that was refused"


def test_the_header_alone_is_enough_to_refuse_an_impossible_card(tmp_path):
    path = tmp_path / "x.safetensors"
    for field, values in IMPOSSIBLE.items():
        for value in values:
            path.write_bytes(changed(make(), field, value))
            if (field, value) not in (("shots.train", 5), ("shots.held_out", 1)):  # told by the tensors
                with pytest.raises(CorruptContext):
                    read_card(path)


def with_shots(**arrays: np.ndarray) -> Context:
    import dataclasses

    context = make()
    return dataclasses.replace(context, shots=dataclasses.replace(context.shots, **arrays))


@pytest.mark.parametrize(
    ("context", "fault"),
    [
        (make(vectors=np.full((2, 4), 1e38, np.float32)), "vectors holds a value beyond 1e+15"),
        (make(text_features=np.zeros((3, 5), np.float32)), "text_features holds a row that is far from a unit row"),
        (make(text_features=np.full((3, 5), 1e30, np.float32)), "text_features holds a row"),
        (make(zero_shot_features=np.zeros((3, 5), np.float32)), "zero_shot_features holds a row"),
        (with_shots(features=np.zeros((6, 5), np.float16)), "shot_features holds a row"),
        (with_shots(features=np.full((6, 5), 6e4, np.float16)), "shot_features holds a row"),
        (with_shots(class_ids=np.full(6, 7, np.int32)), "a shot has a class that does not exist"),
        (with_shots(held_out=np.full(6, 2, np.uint8)), "shot_held_out holds a value other than 0 and 1"),
        (with_shots(held_out=np.full(6, 1, np.uint8)), "there are 0 + 6 shots, 6 + 0 are counted"),
    ],
    ids=range(9),
)
def test_numbers_that_nothing_could_have_learned_are_refused(context, fault):
    with pytest.raises(CorruptContext) as refused:
        Context.from_bytes(context.to_bytes(), "x")
    assert fault in str(refused.value)


def test_names_of_people_in_any_alphabet_are_kept():
    import dataclasses

    words = ["Émeu", "鳥", "птица", "عصفور", "a\tb", "line\nbreak", "\u202eodd", "🦜", "=1+1", " ", "x" * 255]
    entries = tuple(dataclasses.replace(make().card.classes[0], id=i, label=w, name=w) for i, w in enumerate(words))
    context = make(len(words))
    context = dataclasses.replace(context, card=dataclasses.replace(context.card, classes=entries))
    assert Context.from_bytes(context.to_bytes(), "x").card.labels == tuple(words)


def test_every_learner_position_and_recipe_that_is_stored_is_read():
    from promptctl.cli.options import Position
    from promptctl.clip.packing import POSITIONS
    from promptctl.context import limits
    from promptctl.learners import written_recipes
    from promptctl.learners.coop import RECIPES

    assert {position.value for position in Position} == set(limits.POSITIONS) == set(POSITIONS)
    assert tuple(RECIPES) == written_recipes("coop")
    assert {*RECIPES, "clap"} == set(written_recipes("clap"))


def test_no_class_is_learned_that_no_file_can_hold():
    from promptctl.context.card import ClassEntry, check_fits

    fine = [ClassEntry(0, "a", "a"), ClassEntry(1, "b", "b")]
    check_fits(fine)
    for odd in ([], fine[:1], [fine[0], ClassEntry(1, "b\0", "b")], [fine[0], ClassEntry(1, "b", "\udce9")]):
        with pytest.raises(DatasetError) as refused:
            check_fits(odd)
        assert str(refused.value).startswith("these classes cannot be kept: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "BIG"},
        {"format": "LONG"},
        {"format": 0},
        {"format": -5},
        {"format": True},
        {"logit_scale": "BIG"},
        {"logit_scale": float("nan")},
        {"logit_scale": "LONG"},
        {"score": {"on": "x", "images": 1, "accuracy": float("nan"), "zero_shot_accuracy": 0.5}},
        {"zero_shot_template": "\ud800x"},
        {"written_by": "\udc9b31mred"},
    ],
    ids=ascii,
)
def test_a_card_that_says_the_impossible_is_refused_and_spoils_nothing_else(cli, home, fields):
    from promptctl.store.store import Store

    Store(home).save("good", make().to_bytes(), new=True)
    Store(home).save("evil", crafted(**fields), new=True)
    listed = cli("list", "-q")
    assert (listed.code, listed.out) == (0, "evil\ngood\n")
    assert json.loads(cli("list", "--json").out)["contexts"][0]["fault"]
    done = cli("show", "evil")
    assert (done.code, done.out) == (12, "")
    assert len(done.err) < 600
    assert cli("check", "--all").code == 12
    assert cli("log", "evil").code == 0


def test_a_giant_file_is_refused_by_its_beginning(cli, tmp_path):
    path = tmp_path / "giant.safetensors"
    path.write_bytes(make().to_bytes())
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert cli("import", path).code == 12
    assert cli("inspect", path).code == 12


# --------------------------------------------------------------------------- whose name it is


@pytest.fixture
def no_calls(monkeypatch, tmp_path):
    """A machine on which any use of the network fails the test, though nothing says that there is none."""
    import socket

    from huggingface_hub import constants

    called = []

    def call(*arguments, **_):
        called.append(arguments)
        raise OSError("the network was asked")

    for owner, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, call)
    monkeypatch.setattr(socket, "create_connection", call)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for module in (constants, "huggingface_hub.file_download"):
        target = f"{module}.HF_HUB_CACHE" if isinstance(module, str) else (module, "HF_HUB_CACHE")
        args = (target,) if isinstance(target, str) else target
        monkeypatch.setattr(*args, str(tmp_path / "hub"), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield called
    assert not called


def on_backbone(name: str) -> bytes:
    return changed(make(), "backbone.name", name)


@pytest.mark.parametrize("name", ["hf-hub:someone/thing", "ViT-B-16/openai", "ViT-B-16-SigLIP/webli"])
def test_nothing_that_a_file_names_is_fetched(cli, tmp_path, photos, no_calls, name):
    (photos / "red").rename(photos / "class_0")
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(on_backbone(name))
    for command in (
        ("classify", photos, "--prompt", path),
        ("evaluate", path, photos),
        ("evaluate", path, photos, "--blend", "auto"),
        ("inspect", path),
        ("export", path, tmp_path / "out.pth", "--as", "coop"),
    ):
        done = cli(*command)
        assert (done.code, done.out) == (13, ""), command
        assert done.err.splitlines() == [
            f"error: the weights of '{name}' are not on this machine and nothing that a file names is fetched",
            f"hint:  where there is a network: promptctl models pull {name}",
        ]
    assert cli("import", path, "--name", "theirs").code == 0
    for command in (("check",), ("check", path), ("list",), ("show", "theirs"), ("log", "theirs")):
        done = cli(*command)
        assert done.code == 0, done.err
    assert "not here" in cli("check", "theirs").out


@pytest.mark.parametrize(
    "name", ["", "a b", "hf-hub:", "hf-hub:a", "hf-hub:a/b/c", "hf-hub:../x", "local-dir:", "local-dir:/nowhere", "/"]
)
def test_a_backbone_name_in_a_file_may_be_anything(cli, tmp_path, photos, no_calls, name):
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(on_backbone(name))
    done = cli("classify", photos, "--prompt", path)
    assert done.code in (1, 12, 13)
    assert done.err.startswith("error: ")
    assert cli("check", path).code == (12 if not name else 0)


def test_a_model_that_a_person_types_is_asked_for(cli, tmp_path, photos, monkeypatch):
    import socket

    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **_: asked.append(a) or (_ for _ in ()).throw(OSError))
    monkeypatch.setattr(socket.socket, "connect", lambda *a: None)
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(on_backbone("hf-hub:someone/thing"))
    assert cli("classify", photos, "--prompt", path, "--model", "hf-hub:someone/thing").code == 13
    assert asked


@pytest.mark.parametrize(
    "settings",
    [
        {"text_cfg": {"hf_tokenizer_name": "someone/tokenizer"}},
        {"text_cfg": {"hf_model_name": "someone/model"}},
        {"text_cfg": {"hf_model_name": "someone/model", "hf_model_pretrained": True}},
        {"vision_cfg": {"timm_model_name": "hf-hub:someone/tower"}},
        {"vision_cfg": {"timm_model_name": "hf_hub:someone/tower", "timm_model_pretrained": True}},
        {"multimodal_cfg": {"hf_model_name": "someone/model"}},
    ],
    ids=str,
)
def test_no_configuration_sends_its_loader_for_more(cli, tmp_path, photos, tiny_folder, no_calls, settings):
    import shutil

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    for part, values in settings.items():
        config["model_cfg"].setdefault(part, {}).update(values)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(on_backbone(f"local-dir:{folder}"))
    done = cli("classify", photos, "--prompt", path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: 'local-dir:{folder}' cannot learn a context: its ")
    assert cli("check", path).code == 0


def test_weights_that_are_a_program_are_not_run(cli, tmp_path, photos, tiny_folder):
    import pickle
    import shutil

    class Program:
        def __reduce__(self):
            return (Path.mkdir, (tmp_path / "it ran",))

    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(tiny_folder / "open_clip_config.json", folder)
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Program()))
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(on_backbone(f"local-dir:{folder}"))
    done = cli("classify", photos, "--prompt", path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: 'local-dir:{folder}' cannot be loaded: ")
    assert not (tmp_path / "it ran").exists()


# --------------------------------------------------------------------------- every command, every value

NUMBERS = [0, -1, 1, 2, 3, 77, 2**31, 10**18, -(10**18), 0.0, -0.5, 1e-300, 1e15, 1e38, 1e308]
WORDS = ["", "a\0b", "\n", "\x1b[2J", "hf-hub:a/b", "hf-hub:", "local-dir:", "x" * 3000, "Émeu", "a {} b {}", "clap"]


def of_its_type(value: object, rng: random.Random) -> object:
    """Another value of the type a card has there, so that types alone refuse nothing."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return type(value)(rng.choice(NUMBERS)) if rng.random() < 0.9 else rng.choice(NUMBERS)
    if isinstance(value, str) or value is None:
        return rng.choice(WORDS)
    if isinstance(value, list) and value:
        return rng.choice([[], value[:1], value[::-1], value * 2, [*value, value[0]]])
    return None


def one_thing_else(card: object, rng: random.Random) -> object:
    if isinstance(card, dict) and card:
        key = rng.choice(sorted(card))
        return {**card, key: one_thing_else(card[key], rng)}
    if isinstance(card, list) and card and rng.random() < 0.7:
        place = rng.randrange(len(card))
        return [*card[:place], one_thing_else(card[place], rng), *card[place + 1 :]]
    return of_its_type(card, rng)


def resealed(data: bytes, rng: random.Random) -> bytes:
    """One or two things of a card, or numbers of a tensor, made others of their type, under a right seal."""
    header, rest = taken_apart(data)
    card = json.loads(header["__metadata__"][KEY])
    if rng.random() < 0.2:
        values = bytearray(rest)
        for _ in range(rng.randint(1, 3)):
            place = 4 * rng.randrange(len(values) // 4)
            values[place : place + 4] = struct.pack("<f", rng.choice([0.0, 1e9, 1e14, 1e38, -3e38, 1e-40]))
        rest = bytes(values)
    else:
        for _ in range(rng.randint(1, 2)):
            card = one_thing_else(card, rng)
    card = {**card, "sha256": "0" * 64, "format": 1}
    return seal(
        headed({**header, "__metadata__": {KEY: json.dumps(card, sort_keys=True, separators=(",", ":"))}}, rest)
    )


def no_such_number(word: str) -> None:
    raise AssertionError(f"{word} in JSON")


def use_every_way(cli, data: bytes, sound: Path, photos: Path, folder: Path) -> bool:
    """Whether a context is taken; every command ends in a result or in a sentence, and JSON stays JSON."""
    path, out = folder / "theirs.safetensors", folder / "out"
    path.write_bytes(data)
    commands = [("show", path), ("check", path), ("diff", sound, path), ("diff", path, sound)]
    commands += [("inspect", path, "--top", 1), ("classify", photos, "--prompt", path), ("evaluate", path, photos)]
    commands += [("evaluate", path, photos, "--blend", "auto")]
    commands += [("export", path, out, "--force"), ("import", path, "--name", "theirs")]
    commands += [("list",), ("list", "--sort", "accuracy"), ("log", "theirs")]
    codes = {}
    for command in commands:
        for form in ((), ("--json",)):
            done = cli(*command, *form)
            told = done.err.splitlines()
            assert done.code in (0, 1, 10, 12, 13), (command, done)
            assert not done.code or any(line.startswith(("error: ", "warning: ")) for line in told), (command, done)
            assert not {"\0", "\x1b"} & set(done.out + done.err)
            if form and done.out:
                json.loads(done.out, parse_constant=no_such_number)
            codes[command[0]] = done.code
    cli("remove", "theirs", "--yes")
    cli("gc", "--days", 0, "--yes")
    return codes["show"] == 0


def reseal_many(cli, photos: Path, tiny: str, folder: Path, count: int) -> int:
    for name, options in (("coop", ()), ("csc", ("--class-specific",)), ("clap", ("--learner", "clap"))):
        learnt = ("learn", photos, "--name", name, "--shots", 2, "--epochs", 1, "--model", tiny)
        assert cli(*learnt, *(() if name == "clap" else ("--context-tokens", 2)), *options).code == 0
        assert cli("export", name, folder / name).code == 0
    taken = 0
    for seed in range(count):
        rng = random.Random(seed)
        sound = folder / rng.choice(["coop", "csc", "clap"])
        try:
            taken += use_every_way(cli, resealed(sound.read_bytes(), rng), folder / "coop", photos, folder)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
    return taken


def test_no_sealed_value_brings_a_command_down(cli, photos, tiny, answering, tmp_path):
    assert 0 < reseal_many(cli, photos, tiny, tmp_path, 12) < 12
