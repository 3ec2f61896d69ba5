"""Tiny text towers of every kind that open_clip knows, and tokenizers of every kind, made of a few sentences.

Nothing is downloaded: vocabularies come out of SENTENCES, weights out of a seed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import PREPROCESS

SENTENCES = (
    "a photo of a dog.",
    "a photo of a polar bear, a type of animal.",
    "a satellite photo of a green field in a city",
    "the sacred ibis of a river",
    "ein Foto von einem Eisvogel am Fluss",
    "une photo d'un ibis à face blanche",
    "una foto de un pingüino",
    "一张翡翠的照片",
    "翡翠 和 水鸟",
    "صورة طائر أبو منجل",
    "фото зимородка",
    "カワセミの写真",
    "हिन्दी में एक पक्षी",
    "kite (bird of prey) C++ bmw m3 coupe 2012",
)  # fmt: skip
_PAD, _START, _END, _UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"


@dataclass(frozen=True)
class Kind:
    """A kind of text tower, as a model's description has it."""

    tokenizer: str | None  # a key of TOKENIZERS; None for CLIP's own
    text: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    hugging_face: Mapping[str, Any] | None = None  # settings of transformers, for its own towers
    runs_whole: bool = True
    unused: int = 0  # rows of the table that the tokenizer has no token for


_SIGLIP = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "norm_kwargs": {"eps": 1e-6}}
_CANONICAL = {"tokenizer_kwargs": {"clean": "canonicalize"}}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_T5 = {"model_type": "mt5", "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
_NLLB = {
    "model_type": "m2m_100", "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "scale_embedding": True,
}  # fmt: skip
_SIGMOID = {"custom_text": True, "init_logit_bias": -10}

KINDS = {
    "SigLIP": Kind("siglip", {**_SIGLIP, **_CANONICAL}, _SIGMOID),
    "SigLIP 2": Kind("gemma", {**_SIGLIP, **_CANONICAL, "act_kwargs": {"approximate": "tanh"}}, _SIGMOID),
    "SigLIP, no projection": Kind("siglip", {**_SIGLIP, **_CANONICAL, "proj_type": "none"}, _SIGMOID),
    "CLIPA": Kind(
        "bert", {"no_causal_mask": True, "pool_type": "last", "tokenizer_kwargs": {"strip_sep_token": True}}, unused=5
    ),
    "MetaCLIP 2": Kind("xlm", {"pool_type": "eos", "eos_id": 2}, runs_whole=False),
    "MetaCLIP 2, mT5": Kind("t5", {"pool_type": "eos", "eos_id": 1, **_CANONICAL}, runs_whole=False),
    "CoCa": Kind(
        None,
        {"embed_cls": True, "output_tokens": True},
        {"custom_text": True, "multimodal_cfg": {"context_length": 24, "width": 32, "heads": 2, "layers": 1}},
    ),
    "OpenVision": Kind("bert", {"no_causal_mask": True, "pool_type": "last", "tokenizer_mode": "clips"}),
    "RoBERTa": Kind(
        "bytes",
        {"hf_pooler_type": "mean_pooler"},
        hugging_face={"model_type": "roberta", **_SMALL, "max_position_embeddings": 40},
    ),
    "XLM-RoBERTa": Kind(
        "xlm",
        {"hf_pooler_type": "mean_pooler"},
        hugging_face={"model_type": "xlm-roberta", **_SMALL, "max_position_embeddings": 40},
        unused=3,
    ),
    "BERT": Kind(
        "bert",
        {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
        hugging_face={"model_type": "bert", **_SMALL, "max_position_embeddings": 40},
    ),
    "NLLB": Kind("nllb", {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}, hugging_face=_NLLB),
    "mT5": Kind("t5", {"hf_pooler_type": "mean_pooler"}, hugging_face=_T5),
}


def build(folder: Path, kind: Kind, *, seed: int = 0, length: int = 24) -> Path:
    """A tiny model of a kind in open_clip's local-dir form, with its tokenizer and, for Hugging Face, a config.json."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    size = 49408
    if kind.tokenizer:
        made = TOKENIZERS[kind.tokenizer]()
        made.save_pretrained(folder)
        size = len(made) + kind.unused
    text = {"context_length": length, "vocab_size": size, "width": 32, "heads": 2, "layers": 2, **kind.text}
    if kind.tokenizer:
        text["hf_tokenizer_name"] = "beside/it"
    if kind.hugging_face:
        text["hf_model_name"] = str(folder)
        ids = {"pad_token_id": made.pad_token_id, "vocab_size": size}
        (folder / "config.json").write_text(json.dumps({**kind.hugging_face, **ids}))
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    if "multimodal_cfg" in kind.model:
        vision |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text, **kind.model}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(
        {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


# --------------------------------------------------------------------------- tokenizers


def unigram(special: tuple[str, ...], around: str, *, pad: str = _PAD) -> Any:
    """SentencePiece's kind as T5, XLM-RoBERTa and NLLB have it: a blank in front of every word, and of the text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    names = dict.fromkeys((*special, _UNKNOWN))
    pieces = dict.fromkeys(
        piece for sentence in SENTENCES for word in re.findall(r"\w+", sentence) for piece in _pieces(word)
    )
    letters = dict.fromkeys(("▁", *sorted(set("".join(SENTENCES)) - {" "})))
    scores = dict.fromkeys(letters, -12.0) | dict.fromkeys(pieces, -8.0)
    # not trained: what the trainer of this kind finds is not the same every time
    made = Tokenizer(models.Unigram([*((name, 0.0) for name in names), *scores.items()], [*names].index(_UNKNOWN)))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return _wrapped(made, around, pad=pad, unknown=_UNKNOWN)


def _pieces(word: str) -> tuple[str, ...]:
    """A short word is one piece, a long one two."""
    half = len(word) // 2
    return (f"▁{word}",) if len(word) < 7 else (f"▁{word[:half]}", word[half:])


def gemma() -> Any:
    """Byte pairs over a text whose blanks are written as ▁, with none in front of the first word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token=_UNKNOWN, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    of_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=650, special_tokens=[_PAD, _END, _UNKNOWN, *of_bytes], show_progress=False)
    made.train_from_iterator(SENTENCES * 4, trainer)
    return _wrapped(made, f"$A {_END}", pad=_PAD, unknown=_UNKNOWN)


def bert() -> Any:
    """WordPiece as of bert-base-uncased."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    normalizer, parts = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = dict.fromkeys(
        word for sentence in SENTENCES for word, _ in parts.pre_tokenize_str(normalizer.normalize_str(sentence))
    )
    letters = sorted(set("".join(words)))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys((*special, *letters, *(f"##{letter}" for letter in letters), *words))
    made = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, parts
    return _wrapped(
        made, "[CLS] $A [SEP]", pad="[PAD]", unknown="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", bos_token="[CLS]", eos_token="[SEP]",
    )  # fmt: skip


def of_bytes() -> Any:
    """Byte pairs as RoBERTa has them: a word inside of a text is another token than one that begins it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[_START, _PAD, _END, _UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES * 4, trainer)
    return _wrapped(made, f"{_START} $A {_END}", pad=_PAD, unknown=_UNKNOWN, cls_token=_START, sep_token=_END)


def _wrapped(made: Any, around: str, *, pad: str, unknown: str, **names: str) -> Any:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    own = [piece for piece in around.split() if piece != "$A"]
    made.post_processor = TemplateProcessing(single=around, special_tokens=[(p, made.token_to_id(p)) for p in own])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, unk_token=unknown, padding_side="right", **{"eos_token": own[-1], **names}
    )


TOKENIZERS = {
    "siglip": lambda: unigram((_UNKNOWN, _END), f"$A {_END}", pad=_END),
    "t5": lambda: unigram((_PAD, _END), f"$A {_END}"),
    "xlm": lambda: unigram((_START, _PAD, _END), f"{_START} $A {_END}"),
    "nllb": lambda: unigram((_PAD, _END, "eng_Latn"), f"eng_Latn $A {_END}"),
    "gemma": gemma,
    "bert": bert,
    "bytes": of_bytes,
}
