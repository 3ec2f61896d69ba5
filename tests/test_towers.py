"""Text towers other than CLIP's own: which there are, and that each is followed exactly."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import languages
import open_clip
import pytest
import torch
from languages import KINDS, SENTENCES
from open_clip.tokenizer import HFTokenizer
from torch.testing import assert_close

from promptctl.clip import keeping
from promptctl.clip.backbone import Backbone
from promptctl.clip.packing import POSITIONS
from promptctl.clip.text_tower import TextTower
from promptctl.clip.tokenizers import tokenizer_of
from promptctl.clip.towers import needs_transformers, unsupported_reason
from promptctl.context.card import ClassEntry
from promptctl.data.names import unread
from promptctl.errors import NameTooLong, UnsupportedBackbone


def test_every_model_of_open_clip_has_a_text_tower_that_can_be_used():
    configs = {path.stem: json.loads(path.read_text()) for path in open_clip_configs()}
    assert len(configs) > 100
    assert {name: unsupported_reason(config) for name, config in configs.items() if unsupported_reason(config)} == {}
    assert {
        name for name in ("ViT-B-32", "RN50", "coca_ViT-B-32", "PE-Core-B-16") if needs_transformers(configs[name])
    } == set()
    for name in ("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-H-14-CLIPA", "ViT-H-14-worldwide", "roberta-ViT-B-32"):
        assert needs_transformers(configs[name])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "it has no text tower"),
        ({"pool_type": "none"}, "how its text tower pools is not known here (none)"),
        ({"hf_model_name": "a/b", "hf_pooler_type": "max"}, "how its text tower pools is not known here (max)"),
        ({"tokenizer_mode": "odd"}, "how its tokenizer lays out a text is not known here (odd)"),
        ({"tokenizer_kwargs": {"clean": "x"}}, "how its tokenizer cleans a text is not known here (x)"),
        ({"tokenizer_kwargs": {"trust_remote_code": True}},
         "its tokenizer has a setting that is not known here (trust_remote_code)"),
        ({"tokenizer_kwargs": {"clean": 5}}, "its tokenizer has a setting that is not known here (clean)"),
        ({"tokenizer_kwargs": 5}, "the settings of its tokenizer are none"),
        ({"hf_model_name": "a/b"}, "its text tower is of Hugging Face and its tokenizer is not"),
        ({}, None),
    ],
)  # fmt: skip
def test_a_description_says_why_a_text_tower_cannot_be_used(text, reason):
    assert unsupported_reason({"embed_dim": 8} | ({} if text is None else {"text_cfg": text})) == reason


def open_clip_configs() -> list[Path]:
    return sorted((Path(open_clip.__file__).parent / "model_configs").glob("*.json"))


def test_a_tower_whose_embeddings_cannot_be_reached_is_refused(clip):
    _, tokenizer, _ = clip
    with pytest.raises(UnsupportedBackbone) as refused:
        TextTower(torch.nn.Linear(2, 2), tokenizer, name="odd")
    assert str(refused.value) == "'odd' cannot learn a context: its text tower is not CLIP's own"


# --------------------------------------------------------------------------- words as a person reads them


@pytest.mark.parametrize(
    ("kind", "words", "read"),
    [
        ("SigLIP", "Polar Eisvogel", ["polar", "▁", "·e", "·i", "·s", "·v", "·ogel"]),
        ("XLM-RoBERTa", "Eisvogel", ["Eisv", "·ogel"]),
        ("SigLIP 2", "Polar Bear!", ["polar", "bear"]),
        ("SigLIP 2", "翡翠", ["▁", "翡翠"]),  # no blank is written between words, so nothing goes on
        ("CLIPA", "polar Eisvogel", ["polar", "eisvogel"]),
        ("RoBERTa", "Eisvogel à", ["Ei", "·sv", "·og", "·el", "à"]),
    ],
)
def test_tokens_are_words_as_a_person_reads_them(kind, words, read, tmp_path):
    tower = tower_of(tmp_path, kind)
    found = [tower.word(token) for token in tower.name_tokens(words)[0][: tower.name_tokens(words)[1]]]
    assert found == read
    assert not any(map(tower.is_loose, tower.tokens("polar")))


def test_a_name_is_the_same_tokens_in_both_forms_of_unicode(tmp_path):
    for kind in ("SigLIP 2", "CLIPA", "RoBERTa", "XLM-RoBERTa"):
        (tmp_path / kind).mkdir()
        tower = tower_of(tmp_path / kind, kind)
        composed, apart = (unicodedata.normalize(form, "ibis à face") for form in ("NFC", "NFD"))
        assert composed != apart
        assert tower.name_tokens(composed) == tower.name_tokens(apart), kind


def test_punctuation_that_a_tokenizer_takes_away_leaves_no_full_stop(tmp_path):
    tower = tower_of(tmp_path, "SigLIP")
    tokens, of_name = tower.name_tokens("dog")
    assert len(tokens) == of_name, "the full stop is no token"
    entries = [ClassEntry(id, name, name, ()) for id, name in enumerate(("C++", "++", "翡翠", "dog"))]
    assert unread(entries, tower) == ["++"], "nothing is left of it"


@pytest.mark.parametrize(
    ("file", "model_type", "ids", "further"),
    [
        ("spiece.model", "mt5", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, 0),
        ("sentencepiece.bpe.model", "xlm-roberta", {"unk_id": 0, "bos_id": 1, "eos_id": 2}, 1),
    ],
)
def test_a_sentencepiece_file_alone_gives_its_own_tokens(file, model_type, ids, further, tmp_path):
    """As mT5's repository has it, and XLM-RoBERTa's once did, whose numbers begin one later."""
    pieces = pytest.importorskip("sentencepiece")
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES * 3), "utf-8")
    pieces.SentencePieceTrainer.train(
        input=str(tmp_path / "sentences.txt"), model_prefix=str(tmp_path / "made"), vocab_size=220,
        character_coverage=1.0, hard_vocab_limit=False, minloglevel=2, **ids,
    )  # fmt: skip
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (tmp_path / "made.model").rename(folder / file)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "vocab_size": 300}))
    own = pieces.SentencePieceProcessor(model_file=str(folder / file))
    settings = {"context_length": 32, "local_files_only": True, "trust_remote_code": False}
    found = tokenizer_of(HFTokenizer(str(folder), **settings), 300, name="it")
    for sentence in ("a photo of a dog", "polar bear", "Eisvogel", "翡翠 和", "ibis à face"):
        assert found.tokens(sentence) == [token + further for token in own.encode(sentence)], sentence
    assert (found.start, found.end) == (((0,), (2,)) if further else ((), (1,)))


def test_words_of_any_script_and_case_are_words_of_the_vocabulary(tmp_path):
    vocabulary = tower_of(tmp_path, "RoBERTa").vocabulary
    words = {vocabulary.words[i] for i in vocabulary.whole_words.nonzero()[0]}
    assert {"photo", "Ei", "翡翠"} <= words
    assert not any("·" in word or word.startswith("<") for word in words)
    assert vocabulary.tokens_of("a photo") is None, "these are not CLIP's merges"


def tower_of(folder: Path, kind: str) -> TextTower:
    return Backbone(f"local-dir:{languages.build(folder / 'model', KINDS[kind], length=32)}", "cpu").tower


# --------------------------------------------------------------------------- which tokenizer it is


@pytest.mark.parametrize("kind", ["SigLIP", "SigLIP 2", "CLIPA", "RoBERTa"])
def test_another_tokenizer_beside_the_same_weights_is_another_backbone(kind, tmp_path):
    """Its text features are others, so contexts and what is kept of one must never be taken for the other's."""
    folder = languages.build(tmp_path / "model", KINDS[kind], length=32)
    fingerprint = Backbone(f"local-dir:{folder}", "cpu").id.fingerprint
    path = folder / "tokenizer.json"
    plain, made = path.read_text("utf-8"), json.loads(path.read_text("utf-8"))

    def fingerprint_with(change: Callable[[dict[str, Any]], object]) -> str:
        other = json.loads(plain)
        change(other)
        path.write_text(json.dumps(other, indent=1), "utf-8")
        return Backbone(f"local-dir:{folder}", "cpu").id.fingerprint

    assert fingerprint_with(lambda other: None) == fingerprint, "the same tokenizer, written otherwise"
    changes = [lambda other: other.update(normalizer={"type": "Replace", "pattern": {"String": "c"}, "content": "x"})]
    vocabulary = made["model"]["vocab"]
    if isinstance(vocabulary, list):
        changes.append(lambda other: other["model"]["vocab"].insert(-1, other["model"]["vocab"].pop()))
        changes.append(lambda other: other["model"]["vocab"][-1].__setitem__(1, -1.5))
    else:
        last, other_one = sorted(vocabulary, key=vocabulary.get)[-2:]
        swapped = {last: vocabulary[other_one], other_one: vocabulary[last]}
        changes.append(lambda other: other["model"]["vocab"].update(swapped))
    if merges := made["model"].get("merges"):
        assert len(merges) > 10
        changes.append(lambda other: other["model"]["merges"].insert(-1, other["model"]["merges"].pop()))
    found = [fingerprint_with(change) for change in changes]
    assert len({fingerprint, *found}) == 1 + len(changes)


def test_how_a_text_is_cleaned_is_part_of_a_backbone(tmp_path):
    folder = languages.build(tmp_path / "model", KINDS["SigLIP"], length=32)
    path, before = folder / "open_clip_config.json", Backbone(f"local-dir:{folder}", "cpu").id
    path.write_text(path.read_text().replace("canonicalize", "whitespace"))
    assert Backbone(f"local-dir:{folder}", "cpu").id.fingerprint != before.fingerprint


# --------------------------------------------------------------------------- each kind, against its own forward

NAMES = ["dog", "polar bear", "Eisvogel", "ibis à face", "翡翠", "أبو", "m3 coupe", "a"]


@pytest.fixture(scope="module", params=KINDS)
def towers(request, tmp_path_factory):
    folder = languages.build(tmp_path_factory.mktemp("tower"), KINDS[request.param], seed=3, length=32)
    model = open_clip.create_model(f"local-dir:{folder}").eval().double().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return request.param, model, tokenizer, TextTower(model, tokenizer, name=request.param)


def test_sentences_equal_the_models_own_encode_text(towers):
    kind, model, tokenizer, tower = towers
    sentences = [sentence for sentence in SENTENCES if len(tower.tokens(sentence)) < 26]
    assert len(sentences) > 3
    ids = tokenizer(sentences)
    assert [tower.sentence(sentence) for sentence in sentences] == ids.tolist()
    assert_close(tower.encode_sentences(sentences), own_forward(model, ids), atol=1e-10, rtol=0)
    assert tower._shares != KINDS[kind].runs_whole
    assert len({*map(tuple, ids.tolist())}) == len(sentences), "sentences that the tokenizer can tell apart"


@pytest.mark.parametrize(
    ("position", "class_specific", "tokens"), [*itertools.product(POSITIONS, [False, True], [1, 5])]
)
def test_features_and_gradients_equal_the_models_own_forward(towers, position, class_specific, tokens):
    _, model, tokenizer, tower = towers
    shape = (len(NAMES), tokens, tower.width) if class_specific else (tokens, tower.width)
    context = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.3
    weights = torch.randn(
        len(NAMES), tower.joint_width, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    ours, theirs = context.clone().requires_grad_(), context.clone().requires_grad_()

    found = tower.encode(ours, tower.prompts(NAMES, tokens, position=position, shared=not class_specific))
    expected = with_vectors(model, tokenizer, theirs, NAMES, position)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()

    assert_close(found, expected, atol=1e-10, rtol=0)
    assert_close(ours.grad, theirs.grad, atol=1e-10, rtol=0)
    assert ours.grad.abs().max() > 1e-6


def test_words_as_context_equal_a_sentence(towers):
    _, model, tokenizer, tower = towers
    names = ["dog", "polar bear", "Eisvogel", "翡翠"]
    words = tower.embed("a")
    found = tower.encode(words, tower.prompts(names, len(words)))
    assert_close(found, own_forward(model, tokenizer([f"a {name}." for name in names])), atol=1e-10, rtol=0)


def test_the_longest_name_fits_and_one_more_is_refused(towers):
    *_, tower = towers
    tower.prompts(["a " * room(tower)], 4)
    with pytest.raises(NameTooLong):
        tower.prompts(["a " * (room(tower) + 1)], 4)


def room(tower: TextTower) -> int:
    """Words of one token that fit beside four vectors."""
    around = tower.sentence("")
    return len(around) - 4 - len(tower._around) - len(tower.name_tokens("a")[0]) + 1


def own_forward(model: Any, ids: torch.Tensor) -> torch.Tensor:
    found = getattr(model, "text", model)(ids) if hasattr(model, "text") else model.encode_text(ids)
    return found[0] if isinstance(found, tuple) else found


def with_vectors(
    model: Any, tokenizer: Any, context: torch.Tensor, names: Sequence[str], position: str
) -> torch.Tensor:
    """(C, E) by the model's own forward on its own tokenizer's ids, some of whose embeddings are replaced.

    The words "a a a" hold the places of the vectors; the tokens of the name are what then follows them.
    """
    n_context = context.shape[-2]
    holders = " ".join(["a"] * n_context)
    end = tokenizer([f"{holders} {name}." for name in names])  # (C, T)
    n_start = end[0].tolist().index(plain(tokenizer))
    n_stop = length_of(tokenizer, "a.") - length_of(tokenizer, "a")
    in_front = {"end": n_context, "middle": n_context // 2, "front": 0}[position]
    rows, places = [], []
    for row, name in zip(end.tolist(), names, strict=True):
        first = n_start + n_context
        k = length_of(tokenizer, f"{holders} {name}.") - length_of(tokenizer, holders) - n_stop
        start, vectors, named, rest = row[:n_start], row[n_start:first], row[first : first + k], row[first + k :]
        rows.append([*start, *vectors[:in_front], *named, *vectors[in_front:], *rest])
        after = range(n_start + in_front + k, n_start + n_context + k)
        places.append([*range(n_start, n_start + in_front), *after])
    of_class = context if context.ndim == 3 else context.expand(len(names), *context.shape)
    classes = torch.arange(len(names))[:, None]
    text = model.text if hasattr(model, "text") else model
    embedding = text.token_embedding if hasattr(text, "token_embedding") else text.transformer.get_input_embeddings()
    scale = getattr(embedding, "embed_scale", 1.0)

    def replace(_module: Any, _arguments: Any, embedded: torch.Tensor) -> torch.Tensor:
        return embedded.index_put((classes, torch.tensor(places)), of_class * scale)

    hook = embedding.register_forward_hook(replace)
    try:
        return own_forward(model, torch.tensor(rows))
    finally:
        hook.remove()


def length_of(tokenizer: Any, words: str) -> int:
    """Tokens of a text, without what stands around it."""
    if hasattr(tokenizer, "tokenizer"):
        return len(tokenizer.tokenizer(tokenizer.clean_fn(words), add_special_tokens=False).input_ids)
    return len(tokenizer.encode(words))


def plain(tokenizer: Any) -> int:
    if hasattr(tokenizer, "tokenizer"):
        return int(tokenizer.tokenizer("a", add_special_tokens=False).input_ids[0])
    return int(tokenizer.encode("a")[0])


# --------------------------------------------------------------------------- at the command line

IN_MANY_LANGUAGES = {"blue": "Eisvogel", "green": "翡翠", "red": unicodedata.normalize("NFD", "ibis à face")}


@pytest.mark.parametrize("kind", ["SigLIP 2", "XLM-RoBERTa"])
def test_names_in_several_languages_from_learning_to_answers(cli, photos, tmp_path, kind):
    """Learned, measured, answered, its words read, a class added in Arabic, exported: by names as they were given."""
    model = f"local-dir:{languages.build(tmp_path / 'model', KINDS[kind], length=32)}"
    rows = [f"{folder},{name}" for folder, name in IN_MANY_LANGUAGES.items()]
    (tmp_path / "names.csv").write_text("\n".join(["folder,name", *rows]), "utf-8")
    learned = cli(
        "learn", photos, "--name", "birds", "--shots", 4, "--model", model, "--classes", tmp_path / "names.csv",
        "--context-tokens", 4, "--epochs", 150, "--lr", 0.005, "--json",
    )  # fmt: skip
    assert learned.code == 0, learned.err
    assert "little to the text tower" not in learned.err, "names that the vocabulary has are names"

    shown = json.loads(cli("show", "birds", "--json").out)
    names = {entry["label"]: entry["name"] for entry in shown["card"]["classes"]}
    assert {label: unicodedata.normalize("NFC", name) for label, name in names.items()} == {
        label: unicodedata.normalize("NFC", name) for label, name in IN_MANY_LANGUAGES.items()
    }
    measured = json.loads(cli("evaluate", "birds", photos, "--json").out)
    assert measured["without_head"]["top1"] > 0.8, "by the text features that the vectors give"
    answer = json.loads(cli("classify", photos / "green" / "0.png", "--prompt", "birds", "--json").out)
    assert answer["images"][0]["top"][0]["name"] == "翡翠"

    read = json.loads(cli("inspect", "birds", "--json").out)
    words = {word["word"] for vector in read["vectors"] for word in vector["by_euclidean"]}
    assert words and all(unicodedata.category(letter)[0] in "LM" for word in words for letter in word)
    assert cli("class", "add", "birds", "أبو منجل").code == 0
    assert "أبو منجل" in cli("show", "birds").out
    assert cli("export", "birds", tmp_path / "head.safetensors", "--as", "head").code == 0
    refused = cli("export", "birds", tmp_path / "birds.pt", "--as", "coop")
    assert (refused.code, refused.err.splitlines()) == (
        1,
        [
            f"error: {tmp_path}/birds.pt cannot be written: the text tower of '{model}' is not CLIP's, "
            "the only one that CoOp knows",
            "hint:  --as context or --as head",
        ],
    )


def test_words_of_another_vocabulary_are_kept_for_answers_without_pytorch(tmp_path):
    backbone = Backbone(f"local-dir:{languages.build(tmp_path / 'model', KINDS['CLIPA'], length=32)}", "cpu")
    kept = keeping.keep(backbone)
    assert kept is not None
    own, found = backbone.vocabulary, kept.vocabulary()
    assert found is not None and not found.byte_pairs
    assert (list(found.words), found.special) == (list(own.words), own.special)
    assert (found.whole_words == own.whole_words).all()
    assert (found.rows(3, 9) == own.rows(3, 9)).all()
