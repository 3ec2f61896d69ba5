"""What transformers reads beside the weights of a model: a tokenizer, and the description of a text tower.

open_clip's loader would ask the hub for both by the names that a model's description gives. Here they are files: of the
repositories that open_clip's own table names, once a person has asked for such a model; or of the very folder that a
description lies in, which anybody may have written. Nothing in them is a program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptctl.clip.towers import SETTINGS, needs_transformers, unsupported_reason
from promptctl.errors import BackboneNeeds, UnsupportedBackbone

EXTRA = "hf"
TOWER_FILE = "config.json"
# small ones first, so that the last says that all are there
TOKENIZER_FILES = (TOWER_FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
VOCABULARY = "tokenizer.json"
_SENTENCE_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
VOCABULARIES_BEFORE = ("merges.txt", "vocab.json", "vocab.txt", *_SENTENCE_PIECES)
_TO_READ_THEM = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}  # beside transformers
_TOWERS = ("bert", "m2m_100", "mt5", "roberta", "xlm-roberta")  # which open_clip can put a projection behind
_TOKENIZERS = (
    *("Bert", "CLIP", "Gemma", "MT5", "Nllb", "PreTrained", "Roberta", "Siglip", "Siglip2", "T5", "XLMRoberta"),
    "TokenizersBackend",
)
# what transformers says in words of a tower; another word may name code to be fetched
_SHAPING = {"model_type", "hidden_act", "activation_function", "feed_forward_proj", "dense_act_fn"} | {
    "position_embedding_type"
}
# and what does not matter here: a tower is built in float32, in which it is run
_TOLD = {"tokenizer_class", "transformers_version", "_name_or_path", "torch_dtype", "dtype", "architectures"} | {
    *("problem_type", "id2label", "label2id"),
}
_LARGEST, _LARGEST_VOCABULARY = 1 << 24, 1 << 28  # bytes


@dataclass(frozen=True)
class TextFiles:
    """Folders of what a text side is made of, where it is not CLIP's own."""

    tokenizer: Path | None = None
    tower: Path | None = None


def text_cfg(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a description says of the text side; empty for what is none."""
    found = described.get("text_cfg")
    return found if isinstance(found, Mapping) else {}


def check_usable(name: str, described: Mapping[str, Any]) -> None:
    """Whether a model can be used, by its description alone and before anything of it is downloaded.

    raises   UnsupportedBackbone, BackboneNeeds
    """
    if reason := unsupported_reason(described):
        raise UnsupportedBackbone(name, reason)
    if needs_transformers(described) and find_spec("transformers") is None:
        raise BackboneNeeds(name, "transformers", EXTRA)


def check_readable(name: str, folder: Path) -> None:
    """BackboneNeeds where a tokenizer is a SentencePiece file alone, which takes more libraries to read."""
    if (folder / VOCABULARY).is_file() or not any((folder / file).is_file() for file in _SENTENCE_PIECES):
        return
    for library, module in _TO_READ_THEM.items():
        if not _is_installed(module):
            raise BackboneNeeds(name, library, EXTRA)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False


def extra_for(described: Mapping[str, Any]) -> str | None:
    """The extra of promptctl that brings the library a model needs, whether or not it is installed."""
    return EXTRA if needs_transformers(described) else None


def is_beside_weights(described: Mapping[str, Any]) -> bool:
    """Whether the text side of a model is made of more than its weights and its description."""
    text = text_cfg(described)
    return bool(text.get("hf_tokenizer_name") or text.get("hf_model_name"))


def files_of_table(described: Mapping[str, Any], folder_of: Callable[[str, bool], Path]) -> TextFiles:
    """Those of a model that open_clip itself describes.

    folder_of   of a repository that holds a tokenizer, or (True) just the description of a tower
    """
    text = text_cfg(described)
    tokenizer, tower = text.get("hf_tokenizer_name"), text.get("hf_model_name")
    return TextFiles(folder_of(tokenizer, False) if tokenizer else None, folder_of(tower, True) if tower else None)


def files_in(folder: Path, name: str, described: Mapping[str, Any]) -> TextFiles:
    """Those of a model whose description somebody put into a folder, which must hold them too.

    raises   UnsupportedBackbone, BackboneNeeds; for what is elsewhere, too, or would be more than data
    """
    check_usable(name, described)
    _refuse_elsewhere(name, described)
    text = text_cfg(described)
    has_tokenizer, has_tower = bool(text.get("hf_tokenizer_name")), bool(text.get("hf_model_name"))
    if has_tokenizer:
        _check_tokenizer(folder, name)
    if has_tower:
        _check_tower(folder, name)
    return TextFiles(folder if has_tokenizer else None, folder if has_tower else None)


def tokenizer_settings(described: Mapping[str, Any]) -> dict[str, Any]:
    """What HFTokenizer is told beside its folder: nothing is fetched, nothing is run."""
    text = text_cfg(described)
    own = text.get("tokenizer_kwargs") or {}
    return {
        "context_length": text.get("context_length", 77),
        "tokenizer_mode": text.get("tokenizer_mode"),
        "local_files_only": True,
        "trust_remote_code": False,
        **{key: own[key] for key in SETTINGS if key in own},
    }


def _refuse_elsewhere(name: str, described: Mapping[str, Any]) -> None:
    for inside, key, value in _settings(described):
        if key in ("hf_model_name", "hf_tokenizer_name") and value and inside != "text_cfg":
            raise UnsupportedBackbone(name, "its description names a model of Hugging Face where none belongs")
        if key == "timm_model_name" and not {":", "/"}.isdisjoint(str(value)):
            raise UnsupportedBackbone(name, "its image tower is in another repository")


def _settings(described: object, inside: str = "") -> Iterator[tuple[str, str, object]]:
    """Every key and value of a description, at any depth, and what they stand in."""
    if isinstance(described, Mapping):
        for key, value in described.items():
            yield inside, key, value
            yield from _settings(value, f"{inside}.{key}" if inside else str(key))


def _check_tokenizer(folder: Path, name: str) -> None:
    if not _is_file(folder / VOCABULARY):
        raise UnsupportedBackbone(name, f"its tokenizer is not beside it: there is no {VOCABULARY}")
    if (folder / VOCABULARY).stat().st_size > _LARGEST_VOCABULARY:
        raise UnsupportedBackbone(name, f"its {VOCABULARY} is larger than any")
    said = _read(folder / "tokenizer_config.json", name)
    made_by = str(said.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    if "auto_map" in said or (made_by and made_by not in _TOKENIZERS):
        raise UnsupportedBackbone(name, "its tokenizer is not one of those known here")
    if any(isinstance(value, str) and _is_a_path(key, value) for key, value in said.items()):
        raise UnsupportedBackbone(name, "its tokenizer is not beside it")
    if "auto_map" in _read(folder / TOWER_FILE, name):
        raise UnsupportedBackbone(name, f"its {TOWER_FILE} names a program")


def _is_a_path(key: str, value: str) -> bool:
    """Whether a tokenizer would be read from elsewhere; what was written of the machine that made it is not heeded."""
    return key in ("vocab_file", "merges_file", "tokenizer_file", "spm_file") and Path(value).name != value


def _check_tower(folder: Path, name: str) -> None:
    """That nothing is left out of a description by reading just what is plain in it."""
    _, odd = _tower(folder, name)
    if odd:
        raise UnsupportedBackbone(name, f"its {TOWER_FILE} has a setting that is not known here ({odd[0]:.40})")


def write_plain_tower(folder: Path, plain: Path, name: str) -> None:
    """The description of a tower once more, in another folder, with all in it that is a number or known to be harmless.

    raises   UnsupportedBackbone
    """
    settings, _ = _tower(folder, name)
    (plain / TOWER_FILE).write_text(json.dumps(settings), "utf-8")


def _tower(folder: Path, name: str) -> tuple[dict[str, Any], list[str]]:
    """The description of a tower, and what of it is left out."""
    said = _read(folder / TOWER_FILE, name)
    if not said:
        raise UnsupportedBackbone(name, f"its text tower is not beside it: there is no {TOWER_FILE}")
    if (kind := said.get("model_type")) not in _TOWERS:
        raise UnsupportedBackbone(name, f"its text tower is of a kind that is not known here ({kind!s:.40})")
    plain = {
        key: value
        for key, value in said.items()
        if (isinstance(value, int | float | None) or key in _SHAPING) and key not in _TOLD
    }
    return plain, [key for key in said if key not in plain and key not in _TOLD]


def _read(path: Path, name: str) -> dict[str, Any]:
    """A file of settings; empty where there is none."""
    if not _is_file(path):
        return {}
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedBackbone(name, f"its {path.name} cannot be read") from error
    if not isinstance(found, dict):
        raise UnsupportedBackbone(name, f"its {path.name} cannot be read")
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
