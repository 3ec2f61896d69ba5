"""Model card: the README of a shared context, written from its card; what people wrote beside it stays.

The part between two marks is ours and is written again. Of the metadata those keys are set that state what the file is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from promptctl.clip.registry import is_local, repository_of
from promptctl.context.card import Card
from promptctl.errors import HubFailed
from promptctl.hub.outgoing import FILE, Outgoing
from promptctl.render.text import printable
from promptctl.report.phrases import counted_images, number_of, percent, size, visual_tokens

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

README = "README.md"
LARGEST = 1 << 20  # bytes of a README that is read
TASK = "zero-shot-image-classification"
TAGS = ("promptctl", "clip", "prompt-learning", "few-shot", "image-classification")
METRICS = {"accuracy": "accuracy", "accuracy of zero-shot": "zero_shot_accuracy"}
_BEGIN = "<!-- promptctl push writes from here … -->"
_END = "<!-- … to here again; what stands above and below it is left as it is -->"
_PART = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END), re.DOTALL)
_METADATA = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_SHOWN = 200  # classes
_OF_PHOTOS = "imagefolder"  # what a hub calls photos in class folders
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~#])")


@dataclass(frozen=True, eq=False)
class Shared:
    """What a model card is about."""

    outgoing: Outgoing
    repository: str  # OWNER/NAME
    license: str | None  # as the hub calls it; None: nothing is said of it

    @property
    def title(self) -> str:
        return self.repository.partition("/")[2]


def written(shared: Shared, before: str = "") -> str:
    """The README, where `before` is there already; HubFailed where its metadata cannot be read."""
    metadata, body = _divided(before)
    return f"---\n{_metadata(shared, metadata)}\n---\n{_body(shared, body)}"


def _divided(text: str) -> tuple[str, str]:
    """The metadata of a README without its marks, and the rest."""
    found = _METADATA.match(text)
    return (found[1].rstrip("\r\n"), text[found.end() :]) if found else ("", text)


# --------------------------------------------------------------------------- what people read


def _body(shared: Shared, body: str) -> str:
    part = f"{_BEGIN}\n\n{_part(shared)}\n{_END}"
    if _PART.search(body):
        return _PART.sub(lambda _: part, body, count=1)
    return f"{body.rstrip()}\n\n{part}\n" if body.strip() else f"\n{part}\n"


def _part(shared: Shared) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("promptctl.hub"),
        undefined=StrictUndefined,
        finalize=_in_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    card = shared.outgoing.card
    return environment.get_template("model_card.md.j2").render(
        **_facts(shared),
        card=card,
        method=card.method,
        visual=visual_tokens(card.method),
        shown=card.classes[:_SHOWN],
        more=len(card.classes[_SHOWN:]),
        of_shots=card.score == card.folds,
        says_new_classes=_says_new_classes(card),
    )


def _says_new_classes(card: Card) -> bool:
    """Whether `class add` takes no shots: where words alone answer, and the same ones for every class."""
    method = card.method
    return not card.head and (method.by_template or (bool(method.context_tokens) and not method.class_specific))


def _facts(shared: Shared) -> dict[str, Any]:
    from promptctl.store.refs import is_name

    outgoing, title = shared.outgoing, shared.title
    name = title if is_name(title) else "my-context"
    return {
        "title": Verbatim(title),
        "name": Verbatim(name),
        "pull": Verbatim(f"promptctl pull {shared.repository}{'' if name == title else f' --name {name}'}"),
        "file": Verbatim(FILE),
        "size": size(len(outgoing.data)),
        "sha256": outgoing.sha256,
        "shots": outgoing.shots,
        "photos": lambda count: number_of(count, "photo"),
        "images": counted_images,
        "percent": percent,
    }


class Verbatim(str):
    """Text of ours, or inside code, which nothing is escaped in."""


def _in_markdown(value: object) -> object:
    """Names of classes may be anything: what would draw, link, hide or run is shown as it is written."""
    if isinstance(value, Verbatim) or not isinstance(value, str):
        return value
    plain = printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", plain).replace("://", ":&#47;/")


# --------------------------------------------------------------------------- what the hub reads


def _metadata(shared: Shared, before: str) -> str:
    """YAML without its marks; what stands there and is not ours is kept, to the letter where nothing changes."""
    data = _read(shared, before)
    old = data.to_yaml()
    _set(data, shared)
    new: str = data.to_yaml()
    return before if before and new == old else new


def _read(shared: Shared, block: str) -> ModelCardData:
    from huggingface_hub import ModelCard

    try:
        return cast("ModelCardData", ModelCard(f"---\n{block or '{}'}\n---\n").data)
    except Exception as error:  # of YAML, or of results in no known shape
        reason = f"the metadata of its {README} cannot be read ({' '.join(str(error).split())[:200]})"
        raise HubFailed(shared.repository, reason, "correct it on its page") from error


def _set(data: ModelCardData, shared: Shared) -> None:
    card = shared.outgoing.card
    for key, value in {"library_name": "promptctl", "pipeline_tag": TASK}.items():
        if data.get(key) is None:
            data[key] = value
    if shared.license:
        data["license"] = shared.license
    if base := _base_model(card):
        data["base_model"] = base
    tags = data.get("tags") or []
    data["tags"] = [*tags, *(tag for tag in TAGS if tag not in tags)]
    _set_results(data, card, shared)


def _set_results(data: ModelCardData, card: Card, shared: Shared) -> None:
    others = [one for one in data.get("eval_results") or [] if not _is_ours(one)]
    results = [*others, *_results(card)]
    data["eval_results"] = results or None
    if results:
        data["model_name"] = data.get("model_name") or shared.title
        metrics = data.get("metrics") or []
        data["metrics"] = metrics if "accuracy" in metrics else [*metrics, "accuracy"]


def _results(card: Card) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    if card.score is None:
        return []
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=_OF_PHOTOS,
            dataset_name=counted_images(card.score.images, card.score.on),
            metric_type="accuracy",
            metric_name=name,
            metric_value=round(getattr(card.score, field), 4),
        )
        for name, field in METRICS.items()
    ]


def _is_ours(result: EvalResult) -> bool:
    return result.dataset_type == _OF_PHOTOS and result.metric_name in METRICS


def _base_model(card: Card) -> str | None:
    """The repository of the backbone; mini is in none."""
    name = card.backbone.name
    return None if is_local(name) else repository_of(name)
