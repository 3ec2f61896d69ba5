"""The figures of a mini's card that need photos.

    python promptctl/mini/recipe/figures.py FOLDER [FOLDER ...] [--names NAMES.csv] [--model mini] [--part test]

Each FOLDER has train/ and test/ with class folders. Few-shot figures are tests/benchmarks/accuracy.py's.

zero-shot   top-1 and top-5 with "a photo of a {}." and with the 80 templates; mean confidence and ECE of the first;
            the share of the word that wins most pictures, beside the share of the largest class
all         the same over the pictures of all folders, each answered among the classes of its own
looks       of the photos, half turned grey, blurred or darkened: how often the right half is told by words
painted     of painted pictures that no word's direction came from: how often the word is told among all of its kind
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from looks import COLOURS, hued, look
from patterns import PATTERNS, picture
from promptctl.classification.classifier import Classifier, Predictions, calibration_error
from promptctl.classification.metrics import scores
from promptctl.clip import templates
from promptctl.clip.backbone import Backbone
from promptctl.commands.photos import class_entries
from promptctl.data.folder import ImageFolder
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import decode
from promptctl.encoding.files import read_file
from promptctl.encoding.pipeline import encode_files

LOOKS = {
    "black and white": ("a black and white photo.", "a color photo."),
    "blurry": ("a blurry photo.", "a sharp photo."),
    "dark": ("a dark photo.", "a bright photo."),
    "pixelated": ("a pixelated photo.", "a clear photo."),
}
PAINTED = 10  # pictures of a word, with numbers that looks.py leaves for measuring


@dataclass(frozen=True)
class Photos:
    """Labelled photos as the backbone sees them: unit rows (N, E), class numbers (N), C names."""

    paths: tuple[Path, ...]
    rows: np.ndarray
    targets: np.ndarray
    names: tuple[str, ...]


def photos(folder: Path, part: str, names: Path | None, backbone: Backbone) -> Photos:
    found = ImageFolder.scan(folder)
    named = [line.split(",")[0] for line in names.read_text().splitlines()] if names else []
    entries = class_entries(found.labels, names if set(named) & set(found.labels) else None)
    number = {entry.label: k for k, entry in enumerate(entries)}
    label = {image.path: image.label for image in found.only(part)}
    known, skipped = encode_files(list(label), backbone, FeatureCache())
    for file in skipped:
        print(f"skipped {file.path}: {file.reason}", flush=True)
    targets = np.array([number[label[path]] for path in known.paths])
    return Photos(known.paths, known.vectors, targets, tuple(entry.name for entry in entries))


def said_of(some: Photos, backbone: Backbone, template: str) -> Predictions:
    texts = templates.text_features(backbone.tower, some.names, template)
    return Classifier(texts, backbone.logit_scale).predict(some.rows)


def zero_shot_line(some: Photos, said: Predictions, ensemble: Predictions) -> str:
    both = [scores(predictions, some.targets) for predictions in (said, ensemble)]
    lines = [f"{100 * figures['top1']:.1f} / {100 * figures['top5']:.1f}" for figures in both]
    error, sure = both[0]["ece"], said.probabilities.max(1).mean()
    won, largest = (np.bincount(which).max() / len(some.targets) for which in (said.best, some.targets))
    line = f"{lines[0]}, ensemble {lines[1]}, confidence {sure:.2f}, ECE {error:.3f}"
    return f"{line}, most won {won:.2f} (largest class {largest:.2f})"


def together(parts: list[Predictions]) -> Predictions:
    """One below the other; a folder with fewer classes has none of the others."""
    most = max(part.probabilities.shape[1] for part in parts)
    rows = [np.pad(p.probabilities, ((0, 0), (0, most - p.probabilities.shape[1]))) for p in parts]
    return Predictions(np.concatenate(rows))


@torch.inference_mode()
def looks_line(name: str, paths: list[Path], backbone: Backbone) -> str:
    """Every second photo is changed; the two sentences say which."""
    pictures, changed = [], []
    for k, path in enumerate(paths):
        image = decode(read_file(path))
        square = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
        pictures.append(_shown(look(name, square, k) if k % 2 else square, backbone))
        changed.append(bool(k % 2))
    texts = F.normalize(backbone.tower.encode_sentences(LOOKS[name]), dim=-1).cpu().numpy()
    said = (backbone.encoder.encode(np.stack(pictures)) @ texts.T).argmax(1) == 0
    return f"{100 * np.mean(said == np.array(changed)):.1f} % of {len(paths)} photos (chance 50)"


def told_as_painted(words: list[str], paint: Callable[[str, int], np.ndarray], each: int, backbone: Backbone) -> float:
    """Share of painted pictures, so many of each word, whose word is told among all of the words."""
    painted = ([_shown(paint(word, k), backbone) for k in range(each)] for word in words)
    seen = [backbone.encoder.encode(np.stack(pictures)) for pictures in painted]
    said = np.concatenate(seen) @ templates.text_features(backbone.tower, words, templates.DEFAULT).T
    return float(np.mean(said.argmax(1) == np.repeat(np.arange(len(words)), each)))


def _shown(picture: np.ndarray, backbone: Backbone) -> np.ndarray:
    return backbone.encoder.preprocess(Image.fromarray(picture))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--part", default="test")
    options = parser.parse_args()
    backbone = Backbone(options.model)
    sets = [photos(folder, options.part, options.names, backbone) for folder in options.folders]
    single = [said_of(some, backbone, templates.DEFAULT) for some in sets]
    for folder, some, said in zip(options.folders, sets, single, strict=True):
        ensemble = said_of(some, backbone, "imagenet-80")
        print(f"{folder.name} ({len(some.paths)}): {zero_shot_line(some, said, ensemble)}", flush=True)
    mean = np.mean([np.mean(said.best == some.targets) for some, said in zip(sets, single, strict=True)])
    error = calibration_error(together(single), np.concatenate([some.targets for some in sets]))
    print(f"mean top-1 of the sets {100 * mean:.1f}; ECE of all pictures {error:.3f}", flush=True)
    spread = [np.linspace(0, len(some.paths) - 1, min(60, len(some.paths))).astype(int) for some in sets]
    paths = [some.paths[k] for some, chosen in zip(sets, spread, strict=True) for k in chosen]
    for name in LOOKS:
        print(f"{name}: {looks_line(name, paths, backbone)}", flush=True)
    for kind, words, paint in (("patterns", list(PATTERNS), picture), ("colours", list(COLOURS), hued)):
        told = 100 * told_as_painted(words, paint, PAINTED, backbone)
        print(
            f"{kind}: {told:.1f} % of {PAINTED * len(words)} painted pictures (chance {100 / len(words):.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
