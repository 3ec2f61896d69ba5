"""Which text towers can be used, told by open_clip's description of a model, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# as open_clip knows them; "none" gives a row for each token, and its max_pooler fails
_POOLS = ("argmax", "eos", "first", "last")
_HF_POOLERS = ("mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler")
_CLEANING = ("whitespace", "lower", "canonicalize")
# of a tokenizer, as open_clip's HFTokenizer has them; transformers would take others too, and run code for one
SETTINGS = {"clean": str, "strip_sep_token": bool, "language": str}


def unsupported_reason(config: Mapping[str, Any]) -> str | None:
    """Why no context can be learned on the text tower of a model, as the end of a sentence; None where one can.

    config   open_clip's description of the whole model: `embed_dim`, `vision_cfg`, `text_cfg` …
    """
    text = config.get("text_cfg")
    if not isinstance(text, Mapping):
        return "it has no text tower"
    reasons = (_of_tower(text), _of_tokenizer(text), _of_decoder(config.get("multimodal_cfg")))
    return next((reason for reason in reasons if reason), None)


def needs_transformers(config: Mapping[str, Any]) -> bool:
    """Whether the text tower or the tokenizer of a model is made by the library transformers, of the extra hf."""
    text = config.get("text_cfg")
    return isinstance(text, Mapping) and bool(text.get("hf_model_name") or text.get("hf_tokenizer_name"))


def _of_tower(text: Mapping[str, Any]) -> str | None:
    if text.get("hf_model_name"):
        pooler = text.get("hf_pooler_type", "mean_pooler")
        known = pooler is None or pooler in _HF_POOLERS
    else:
        pooler = text.get("pool_type", "argmax")
        known = pooler in _POOLS
    return None if known else f"how its text tower pools is not known here ({pooler!s:.40})"


def _of_tokenizer(text: Mapping[str, Any]) -> str | None:
    settings = text.get("tokenizer_kwargs") or {}
    if not isinstance(settings, Mapping):
        return "the settings of its tokenizer are none"
    for setting, value in settings.items():
        if not isinstance(value, SETTINGS.get(setting, ())):
            return f"its tokenizer has a setting that is not known here ({setting!s:.40})"
    if (mode := text.get("tokenizer_mode")) not in (None, "", "clips"):
        return f"how its tokenizer lays out a text is not known here ({mode!s:.40})"
    if (clean := settings.get("clean", "whitespace")) not in _CLEANING:
        return f"how its tokenizer cleans a text is not known here ({clean!s:.40})"
    if text.get("hf_model_name") and not text.get("hf_tokenizer_name"):
        return "its text tower is of Hugging Face and its tokenizer is not"
    return None


def _of_decoder(decoder: object) -> str | None:
    """CoCa's, which open_clip builds although only captions need it."""
    asks = isinstance(decoder, Mapping) and (decoder.get("hf_model_name") or decoder.get("hf_tokenizer_name"))
    return "its decoder is another model's" if asks else None
