"""Zero-shot: hand-written templates, one or many, and the text features they give a list of class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.errors import BadTemplate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.clip.text_tower import TextTower

DEFAULT = "a photo of a {}."
# what the paper writes for each of its eleven data sets
OF_DATA_SET = {
    "imagenet": DEFAULT,
    "caltech101": DEFAULT,
    "oxford_pets": "a photo of a {}, a type of pet.",
    "stanford_cars": DEFAULT,
    "oxford_flowers": "a photo of a {}, a type of flower.",
    "food101": "a photo of {}, a type of food.",
    "fgvc_aircraft": "a photo of a {}, a type of aircraft.",
    "sun397": DEFAULT,
    "dtd": "{} texture.",
    "eurosat": "a centered satellite photo of {}.",
    "ucf101": "a photo of a person doing {}.",
}
ENSEMBLES = ("imagenet-7", "imagenet-80")  # CLIP's own for ImageNet, selected and all
_OF_IMAGENET = ("imagenet", DEFAULT, *ENSEMBLES)


def check(template: str) -> None:
    """BadTemplate unless it is one of the names, or a sentence with one {}; BadSetting for what is no text."""
    checks.text("template", template, DEFAULT)
    around = template.split("{}")
    is_sentence = len(around) == 2 and not any(brace in part for part in around for brace in "{}")
    if template not in OF_DATA_SET and template not in ENSEMBLES and not is_sentence:
        raise BadTemplate(template, (*OF_DATA_SET, *ENSEMBLES))


def sentences(template: str) -> tuple[str, ...]:
    """The sentences with {} that a template stands for."""
    check(template)
    if template in ENSEMBLES:
        from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

        of_ensemble = SIMPLE_IMAGENET_TEMPLATES if template == "imagenet-7" else OPENAI_IMAGENET_TEMPLATES
        return tuple(write("{}") for write in of_ensemble)
    return (OF_DATA_SET.get(template, template),)


def is_own(template: str) -> bool:
    """Whether a template is a data set's own, rather than ImageNet's or the default."""
    return template not in _OF_IMAGENET


def ensemble_of_7(template: str) -> tuple[str, ...]:
    """The paper's ensemble: CLIP's seven, and for any set but ImageNet its own sentence too (CoOp's ZeroshotCLIP2)."""
    return sentences("imagenet-7") + (sentences(template) if is_own(template) else ())


def text_features(tower: TextTower, names: Sequence[str], template: str = DEFAULT) -> NDArray[np.float32]:
    """(C, E) unit rows: what the template says of every name; TemplateTooLong."""
    return mean_features(tower, names, sentences(template))


def mean_features(tower: TextTower, names: Sequence[str], written: Sequence[str]) -> NDArray[np.float32]:
    """(C, E) unit rows: what sentences with {} say of every name, the mean of their unit features.

    raises   TemplateTooLong
    """
    import torch
    from torch.nn.functional import normalize

    with torch.no_grad():
        # one sentence at a time: 80 of them for 1000 names would be a lot at once
        units = (normalize(tower.encode_sentences([s.replace("{}", name) for name in names]), dim=-1) for s in written)
        total = torch.stack(list(units)).mean(0)
        unit: NDArray[np.float32] = normalize(total, dim=-1).float().cpu().numpy()
    return unit
