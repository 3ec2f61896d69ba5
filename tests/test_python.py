"""promptctl from Python, as somebody uses it who knows scikit-learn and open_clip."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import json
import pickle
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import copy_into_splits
from PIL import Image
from test_context import make

import promptctl
from promptctl.context.context import Context
from promptctl.errors import ContextNotFound, InvalidName, NotAContext, NotAFile, NotInStore, WrongArgument
from promptctl.store.store import Store


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.fixture
def colours(colours_bytes):
    Store().save("colours", colours_bytes, new=True)
    return promptctl.load("colours")


@pytest.fixture
def files_of(photos):
    return [str(photos / colour / f"{i}.png") for colour in ("red", "green", "blue") for i in (0, 5)]


def answers_of_cli(cli, paths, *options):
    outcome = cli("classify", *paths, "--prompt", "colours", "--format", "jsonl", *options)
    return {row["path"]: row for row in map(json.loads, outcome.out.splitlines())}


# --------------------------------------------------------------------------- the module


def test_the_public_names_are_there_for_tab_completion_and_star_import():
    probe = "import promptctl; print(sorted(dir(promptctl)) == sorted(set(dir(promptctl))), *dir(promptctl))"
    fresh, *names = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    ).stdout.split()
    assert fresh == "True"
    assert set(promptctl.__all__) <= set(names)
    namespace: dict[str, object] = {}
    exec("from promptctl import *", namespace)
    for name in promptctl.__all__:
        assert namespace[name] is getattr(promptctl, name)
    with pytest.raises(AttributeError, match="module 'promptctl' has no attribute 'nothing'"):
        _ = promptctl.nothing


def test_types_are_shipped():
    assert (files("promptctl") / "py.typed").is_file()


PROBE = """
import sys, promptctl
birds = promptctl.load("colours")
birds.predict_proba(birds.text_features), birds.classes, repr(birds), birds.context == birds.context
print([name for name in ("torch", "open_clip", "sklearn", "openvino") if name in sys.modules])
"""


def test_a_context_is_loaded_and_asked_about_features_without_torch(colours):
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --------------------------------------------------------------------------- load


def test_a_context_is_loaded_by_name_version_and_path(colours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(colours.path, "c.safetensors")
    shutil.copy(colours.path, "plain")
    for ref in ("colours", "colours@1", "COLOURS", "c.safetensors", "./plain", Path("c.safetensors"), Path("plain")):
        assert promptctl.load(ref).context == colours.context, ref
    assert promptctl.load("colours").name == "colours@1"
    assert promptctl.load(Path("plain")).name == "./plain", "a path is a path, whatever it is called"


@pytest.mark.parametrize(
    ("ref", "error", "sentence"),
    [
        ("nothing", ContextNotFound, "no context named 'nothing'"),
        ("../x y", LookupError, "there is no context file ../x y"),
        ("x y", InvalidName, "'x y' is not a context name"),
        ("./folder", NotAContext, "./folder is a folder, and a context was expected"),
        (Path("folder"), NotAContext, "./folder is a folder, and a context was expected"),
        (Path("gone"), NotInStore, "there is no context file gone"),
        ("photo.safetensors", promptctl.PromptctlError, "photo.safetensors is not an intact context"),
        (b"colours", ValueError, "context is b'colours', a path was expected"),
        (None, ValueError, "context is None, a path was expected"),
        (3, ValueError, "context is 3, a path was expected"),
        ("", InvalidName, "it is empty"),
        ("a\0b", InvalidName, "is not a context name"),
        ("/a\0b", NotInStore, "there is no context file"),
    ],
)
def test_what_is_no_context_is_refused_in_words(tmp_path, monkeypatch, ref, error, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo.safetensors").write_bytes(b"\x89PNG")
    with pytest.raises(error, match=sentence.replace("(", r"\(")) as refusal:
        promptctl.load(ref)
    assert isinstance(refusal.value, promptctl.PromptctlError)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"blend": 2}, "blend is 2, a number from 0 to 1 was expected"),
        ({"blend": "auto"}, "blend is 'auto', a number from 0 to 1 was expected"),
        ({"blend": float("nan")}, "blend is nan, a number from 0 to 1 was expected"),
        ({"blend": True}, "blend is True, a number from 0 to 1 was expected"),
        ({"device": "gpu"}, "device is 'gpu', one of auto, cpu, cuda, mps was expected"),
    ],
)
def test_settings_of_load_are_checked_before_anything_is_read(settings, sentence):
    with pytest.raises(promptctl.PromptctlError) as refusal:
        promptctl.load("nothing", **settings)
    assert str(refusal.value) == sentence


def test_what_a_loaded_context_says_of_itself(colours):
    assert colours.classes == colours.names == ("blue", "green", "red")
    assert colours.classes_.tolist() == ["blue", "green", "red"]
    assert colours.text_features.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(colours.text_features, axis=1), 1, atol=1e-6)
    assert repr(colours).startswith("<ImageClassifier colours@1: 3 classes on local-dir:")
    assert repr(promptctl.load("colours", blend=0.25)).endswith(", blend 0.25>")


def test_a_blend_is_that_of_the_command_line(cli, colours, files_of):
    half = promptctl.load("colours", blend=np.float32(0.5))
    rows = answers_of_cli(cli, files_of, "--blend", 0.5)
    for path in files_of:
        assert half.classify(path).probability == pytest.approx(rows[path]["probability"], abs=1e-6)
    assert not np.allclose(half.text_features, colours.text_features)
    assert promptctl.load("colours", blend=0).text_features is not None
    np.testing.assert_array_equal(promptctl.load("colours", blend=0).text_features, colours.context.zero_shot_features)
    assert 0 <= promptctl.load("colours", blend=None).blend <= 1


# --------------------------------------------------------------------------- classify


def test_one_image_many_and_a_stream_have_the_answers_of_the_command_line(cli, colours, files_of):
    rows = answers_of_cli(cli, files_of)

    def check(answer, path):
        assert (str(answer.path), answer.label, answer.name) == (path, rows[path]["label"], rows[path]["name"])
        assert answer.probability == pytest.approx(rows[path]["probability"], abs=1e-6)
        best = [(entry.label, probability) for entry, probability in answer.top(3)]
        assert best == [(g["label"], pytest.approx(g["probability"], abs=1e-6)) for g in rows[path]["top"]]

    check(colours.classify(files_of[0]), files_of[0])
    check(colours.classify(Path(files_of[1])), files_of[1])
    many = [list(files_of), tuple(map(Path, files_of)), np.array(files_of), iter(files_of), (p for p in files_of)]
    for images in many:
        answers = colours.classify(images)
        assert isinstance(answers, list) == isinstance(images, (list, tuple, np.ndarray))
        for answer, path in zip(answers, files_of, strict=True):
            check(answer, path)


def test_pictures_in_memory_are_seen_as_their_files_are(colours, files_of, tmp_path):
    expected = colours.encode(files_of)
    pictures = [Image.open(path) for path in files_of]
    arrays = [np.asarray(picture) for picture in pictures]
    for images in (pictures, arrays, np.stack(arrays), [files_of[0], pictures[1], arrays[2], *files_of[3:]]):
        np.testing.assert_allclose(colours.encode(images), expected, atol=1e-5)
        assert [a.label for a in colours.classify(images)] == [a.label for a in colours.classify(files_of)]
    assert colours.classify(arrays[0]).path is None
    assert colours.classify(pictures[0]).path == Path(files_of[0])
    assert [answer.label for answer in colours.classify(iter(arrays))] == [
        answer.label for answer in colours.classify(files_of)
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_in_memory_is_turned_upright_as_a_file_is(colours, tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    np.testing.assert_allclose(colours.encode(Image.open(path)), colours.encode(path), atol=1e-5)
    if orientation != 1:
        assert not np.allclose(colours.encode(pixels), colours.encode(path), atol=1e-3)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F", "HSV"])
def test_a_picture_of_any_mode_is_made_rgb(colours, photos, tmp_path, mode):
    whole = Image.open(photos / "red" / "0.png")
    picture = Image.new("I;16", (48, 40), 30000) if mode == "I;16" else whole.convert(mode)
    assert colours.encode(picture).shape == (1, 32)
    if mode in ("RGBA", "LA"):
        picture.putalpha(0)
        white = Image.new("RGB", picture.size, "white")
        np.testing.assert_allclose(colours.encode(picture), colours.encode(white), atol=1e-5)


def test_pictures_of_a_stream_are_answered_before_the_next_is_taken(colours, files_of):
    taken = []

    def camera():
        for path in files_of:
            taken.append(path)
            yield np.asarray(Image.open(path))

    answers = colours.classify(camera())
    assert taken == []
    for number, _ in enumerate(answers, 1):
        assert len(taken) == number


def test_an_image_that_cannot_be_read_is_skipped_in_its_place(colours, files_of, tmp_path):
    (tmp_path / "broken.jpg").write_text("no photo")
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(files_of[0]).read_bytes()[:200])
    mixed = [
        files_of[0],
        tmp_path / "broken.jpg",
        Image.open(cut),
        tmp_path / "gone.jpg",
        np.asarray(Image.open(files_of[1])),
    ]
    for images in (
        mixed,
        iter([files_of[0], tmp_path / "broken.jpg", Image.open(cut), tmp_path / "gone.jpg", files_of[1]]),
    ):
        first, broken, damaged, gone, last = colours.classify(images)
        assert (first.label, last.label) == ("red", "red")
        assert [type(item) for item in (broken, damaged, gone)] == [promptctl.Skipped] * 3
        assert (broken.path, broken.reason) == (tmp_path / "broken.jpg", "not an image")
        assert damaged.path == cut and damaged.reason.startswith("damaged (")
        assert (gone.path, gone.reason) == (tmp_path / "gone.jpg", "no such file or directory")
    with pytest.raises(promptctl.PromptctlError) as refusal:
        colours.classify(tmp_path / "broken.jpg")
    assert str(refusal.value) == f"{tmp_path / 'broken.jpg'} cannot be read as an image: not an image"
    with pytest.raises(promptctl.PromptctlError, match="cannot be read as an image: no such file"):
        colours.encode([files_of[0], tmp_path / "gone.jpg"])


WRONG_IMAGES = {
    "None": None,
    "b'photo.jpg'": b"photo.jpg",
    "''": "",
    "7": 7,
    "np.int64(7)": np.int64(7),
    "the folder .": ".",
    "an array (8, 8) of uint8": np.zeros((8, 8), np.uint8),
    "an array (3, 8, 8) of uint8": np.zeros((3, 8, 8), np.uint8),
    "an array (8, 8, 3) of float32": np.zeros((8, 8, 3), np.float32),
    "an array (0, 8, 3) of uint8": np.zeros((0, 8, 3), np.uint8),
    "an array () of float64": np.array(1.0),
    "<_io.BytesIO object at": io.BytesIO(b"x"),
}


def test_what_is_no_image_is_refused_in_words_alone_or_among_others(colours):
    for found, image in WRONG_IMAGES.items():
        for given in (image, [image], iter([image])):
            with pytest.raises(WrongArgument) as refusal:
                list(colours.classify(given))
            sentence = str(refusal.value)
            assert sentence.startswith(f"an image is {found}")
            assert sentence.endswith(", a path, a PIL image or an array (H, W, 3) of uint8 in RGB was expected")


def test_a_closed_file_is_refused_and_a_closed_picture_is_skipped(colours, files_of):
    with open(files_of[0], "rb") as file:  # noqa: PTH123  as people write it
        pass
    with pytest.raises(WrongArgument):
        colours.classify(file)
    with Image.open(files_of[0]) as picture:
        pass
    (item,) = colours.classify([picture])
    assert isinstance(item, promptctl.Skipped) and item.path == Path(files_of[0])


def test_of_several_images_none_is_encoded_when_one_is_wrong(colours, files_of, monkeypatch):
    monkeypatch.setattr("promptctl.commands.load.load_encoder_for", lambda *_: pytest.fail("encoded"))
    with pytest.raises(WrongArgument):
        colours.classify([*files_of, None])


def test_no_images_have_no_answers(colours):
    assert colours.classify([]) == []
    assert list(colours.classify(iter([]))) == []
    assert colours.encode([]).shape == (0, 32)


# --------------------------------------------------------------------------- features


def test_probabilities_of_features_are_those_of_classify(colours, files_of):
    features = colours.encode(files_of)
    probabilities = colours.predict_proba(features)
    assert (probabilities.shape, probabilities.dtype) == ((6, 3), np.float64)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    answers = colours.classify(files_of)
    np.testing.assert_allclose(probabilities, [answer.probabilities for answer in answers], atol=1e-6)
    assert colours.predict(features).tolist() == [answer.label for answer in answers]


def test_features_of_open_clip_fit_however_long_they_are(colours, files_of, tiny):
    model, _, preprocess = open_clip.create_model_and_transforms(tiny)
    with torch.no_grad():
        features = model.eval().encode_image(torch.stack([preprocess(Image.open(path)) for path in files_of]))
    assert abs(features.norm(dim=1) - 1).min() > 0.01, "they are no unit rows"
    expected = colours.predict_proba(colours.encode(files_of))
    for form in (features, features.numpy(), 5 * features, features.tolist()):
        np.testing.assert_allclose(colours.predict_proba(form), expected, atol=1e-4)
    np.testing.assert_allclose(colours.predict_proba(features.half()), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.ones((2, 31)), "features is an array (2, 31), an array (N, 32) of image features of local-dir:"),
        (np.ones(32), "features is an array (32,), an array (N, 32) of image features of local-dir:"),
        (np.ones((1, 2, 32)), "features is an array (1, 2, 32), an array (N, 32)"),
        (np.zeros((2, 32)), "row 0 of features is zero or not finite, a feature was expected"),
        (np.full((2, 32), np.inf), "row 0 of features is zero or not finite, a feature was expected"),
        (["red.png"], "features is no array of numbers"),
        (torch.ones(2, 32, requires_grad=True), "features is no array of numbers"),
        (None, "features is"),
    ],
)
def test_what_are_no_features_of_the_backbone_is_refused_in_words(colours, features, sentence):
    for ask in (colours.predict_proba, colours.predict):
        with pytest.raises(WrongArgument) as refusal:
            ask(features)
        assert str(refusal.value).startswith(sentence)


def test_no_features_have_no_probabilities(colours):
    assert colours.predict_proba(np.empty((0, 32))).shape == (0, 3)
    assert colours.predict(np.empty((0, 32))).shape == (0,)


# --------------------------------------------------------------------------- evaluate, copies


def test_evaluate_is_the_commands(cli, photos, tmp_path, colours):
    test = copy_into_splits(photos, tmp_path / "set")
    ours = colours.evaluate(str(test))
    for where in (test, str(test)):  # known by now, so no time is measured
        theirs = promptctl.evaluate("colours", where)
        assert theirs == dataclasses.replace(ours, speed=theirs.speed)
    assert ours.images == 6 and colours.evaluate(test, split="all").images == 18
    for where, split in ((b"set", None), (None, None), (test, "tests")):
        with pytest.raises(promptctl.PromptctlError):
            colours.evaluate(where, split=split)
    blended = promptctl.load("colours", blend=0.0).evaluate(test)
    assert (blended.blend, blended.learned) == (0.0, blended.zero_shot)


def test_a_context_of_another_store_is_evaluated_from_there(colours_bytes, photos, tmp_path):
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.save("theirs", colours_bytes, new=True)
    assert promptctl.load("theirs", store=elsewhere).evaluate(photos).images == 18


def test_a_loaded_context_goes_to_other_processes_even_when_it_was_used(colours, files_of):
    before = colours.classify(files_of[0])
    for other in (pickle.loads(pickle.dumps(colours)), copy.deepcopy(colours)):
        assert other.context == colours.context
        assert other.classify(files_of[0]).probability == before.probability


# --------------------------------------------------------------------------- Context and Store


def test_errors_come_out_of_other_processes_as_they_are():
    for asked in ("nope", "colours@x", 7):
        with pytest.raises(promptctl.PromptctlError) as refusal:
            promptctl.load(asked)
        found = pickle.loads(pickle.dumps(refusal.value))
        assert (type(found), str(found), found.hint) == (refusal.type, str(refusal.value), refusal.value.hint)


@pytest.mark.parametrize("settings", [{"model": 7}, {"model": "a\0"}, {"store": 7}, {"store": "home"}])
def test_a_model_and_a_store_that_are_none_are_refused_at_once(colours, settings):
    with pytest.raises(promptctl.PromptctlError, match=f"^{next(iter(settings))} is "):
        promptctl.load("colours", **settings)


def test_contexts_are_equal_when_their_files_would_be():
    one, two = make(), make()
    assert one == one and one == two and hash(one) == hash(two) and len({one, two}) == 1
    stored = Context.from_bytes(one.to_bytes(), "x")
    assert stored == one and hash(stored) == hash(one), "a seal is no difference"
    changed = one.text_features.copy()
    changed[0, 0] += 1e-3
    assert one != dataclasses.replace(one, text_features=changed)
    assert one != dataclasses.replace(one, card=dataclasses.replace(one.card, written_by="somebody else"))
    assert one != one.without_shots() and one != "birds" and one is not None
    assert one in [two] and [one].index(two) == 0


def test_a_context_says_what_it_is_in_a_line():
    assert repr(make()).startswith("<Context of 3 classes on mini, coop, sha256 ")
    sealed = Context.from_bytes(make().to_bytes(), "x")
    assert repr(sealed) == f"<Context of 3 classes on mini, coop, sha256 {sealed.card.sha256[:12]}>"


def test_a_context_is_loaded_from_a_path_of_any_kind_and_refuses_what_is_none(tmp_path):
    path = tmp_path / "c"
    path.write_bytes(make().to_bytes())
    assert Context.load(str(path)) == Context.load(path) == make()
    for wrong, error in (
        (tmp_path, NotAContext),
        (tmp_path / "no", NotInStore),
        ("/dev/null", NotAFile),
        (b"c", ValueError),
    ):
        with pytest.raises(error):
            Context.load(wrong)


def test_a_store_is_asked_as_a_dict_is(home, tmp_path):
    store = Store(str(tmp_path / "other"))
    assert (len(store), list(store), "birds" in store, bool(store)) == (0, [], False, True)
    store.save("birds", make(3).to_bytes(), new=True)
    store.save("birds", make(4).to_bytes(), new=False)
    store.save("ants", make(5).to_bytes(), new=True)
    assert (len(store), list(store)) == (2, ["ants", "birds"])
    assert store["birds"] == store["birds@2"] == make(4) and store["birds@1"] == make(3)
    for ref in ("birds", "Birds", "birds@1", "ants"):
        assert ref in store
    for ref in ("bird", "birds@3", "birds@x", "a/b", "", 3, None, b"birds"):
        assert ref not in store
    with pytest.raises(LookupError, match="no context named 'bird'"):
        store["bird"]
    with pytest.raises(promptctl.PromptctlError):
        store[0]
    with pytest.raises(promptctl.PromptctlError):
        Store(3)
    assert not home.exists(), "an empty store that was given is not the usual one"


def test_an_empty_store_is_not_taken_for_none(cli, photos, tiny, tmp_path):
    store = Store(tmp_path / "other")
    promptctl.learn(photos, "colours", shots=2, epochs=1, model=tiny, store=store)
    assert "colours" in store and "colours" not in Store()
    assert promptctl.load("colours", store=store).name == "colours@1"


# --------------------------------------------------------------------------- words


@pytest.mark.parametrize("name", [name for name in promptctl.__all__ if name != "__version__"])
def test_every_public_parameter_is_documented(name):
    thing = getattr(promptctl, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        check_parameters(thing)
    elif name in ("ImageClassifier", "Store"):
        for method, function in inspect.getmembers(thing, inspect.isfunction):
            if not method.startswith("_"):
                assert inspect.getdoc(function), method
                if name == "ImageClassifier":
                    check_parameters(function)


def check_parameters(function):
    lines = inspect.getdoc(function).splitlines()
    for parameter in inspect.signature(function).parameters:
        if parameter not in ("self", "changes"):
            word = re.compile(rf"(\w+(,| and) )*{parameter}\b|.*`{parameter}`")
            said = [line for line in lines if word.match(line)]
            assert said, f"{function.__name__}: {parameter}"
