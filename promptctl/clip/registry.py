"""Which backbones there are: their names, what is on this machine, and fetching one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from promptctl.clip import architectures, own_weights
from promptctl.clip.network import offline_reason
from promptctl.clip.text_files import (
    TOKENIZER_FILES,
    TOWER_FILE,
    VOCABULARIES_BEFORE,
    VOCABULARY,
    TextFiles,
    check_readable,
    check_usable,
    files_in,
    files_of_table,
    is_beside_weights,
)
from promptctl.context.limits import is_model_name
from promptctl.errors import UnknownBackbone, WeightsUnavailable

MINI = "mini"
MINI_FOLDER = Path(__file__).parents[1] / "mini"
_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_CHECKPOINTS = (".safetensors", ".bin", ".pth")
_LOCAL, _HUB = "local-dir:", "hf-hub:"
_OF_CLIP = TextFiles()
_REPO = re.compile(r"(?!.*(--|\.\.))\w([\w.-]{0,94}\w)?/\w([\w.-]{0,94}\w)?(?<!\.git)", re.ASCII)


@dataclass(frozen=True)
class Recommendation:
    """A backbone worth knowing; parameters as open_clip builds it, download at four bytes a parameter."""

    name: str
    joint_width: int
    parameters: int
    good_for: str

    @property
    def download_bytes(self) -> int:
        return MINI_BYTES if self.name == MINI else 4 * self.parameters


MINI_BYTES = 43_626_956

RECOMMENDED = (
    Recommendation(MINI, 512, 34_360_321, "learning the tool; offline"),
    Recommendation("ViT-B-32/laion2b_s34b_b79k", 512, 151_277_313, "the fastest full model on a laptop"),
    Recommendation("ViT-B-32/openai", 512, 151_277_313, "the paper's ViT-B/32"),
    Recommendation("ViT-B-16/openai", 512, 149_620_737, "the paper's; a good first choice"),
    Recommendation("ViT-B-16/laion2b_s34b_b88k", 512, 149_620_737, "better zero-shot than openai"),
    Recommendation("ViT-B-16-SigLIP2/webli", 768, 375_187_970, "class names in many languages"),
    Recommendation("ViT-L-14/openai", 768, 427_616_513, "fine-grained classes, on a GPU"),
)


def parse(name: str) -> str:
    """The canonical spelling of a backbone name; UnknownBackbone for what can be none.

    `,` and `/` mean the same between model and tag; a local folder, or a file of weights, is kept by its absolute path,
    wherever it is named.
    """
    name = name.strip()
    if not is_model_name(name):
        shown = ascii(name[:40])[1:-1] + ("…" if len(name) > 40 else "")
        raise UnknownBackbone(shown, reason="no model has such a name")
    if name.startswith(_LOCAL):
        return _LOCAL + str(_absolute(name))
    if own_weights.split(name):
        return own_weights.canonical(name)
    name = name.replace(",", "/", 1) if "/" not in name else name
    if name.startswith(_HUB) and not _REPO.fullmatch(name.removeprefix(_HUB)):
        raise UnknownBackbone(name, reason="what follows hf-hub: is OWNER/NAME")
    return name


@dataclass(frozen=True)
class ResolvedModel:
    """A backbone whose files are all on this machine, in the words of open_clip.create_model."""

    name: str
    model: str
    pretrained: str | None = None
    quick_gelu: bool = False
    preprocess: tuple[tuple[str, Any], ...] = ()
    text: TextFiles = _OF_CLIP

    @property
    def place(self) -> Path:
        """The file of its weights, or the folder they and their configuration lie in."""
        return Path(self.pretrained or self.model.removeprefix(_LOCAL))


def deciding_files(place: Path) -> tuple[Path, ...]:
    """What decides which backbone is at a place: the file of weights, or all that open_clip may read of a folder."""
    if not place.is_dir():
        return (place,)
    read = {_CONFIG, VOCABULARY, *TOKENIZER_FILES}
    return tuple(sorted(path for path in place.iterdir() if path.name in read or path.suffix in _CHECKPOINTS))


def is_repository(text: str) -> bool:
    """Whether a hub may have a repository of this name, OWNER/NAME."""
    return _REPO.fullmatch(text) is not None


def repository_of(name: str) -> str | None:
    """The repository of a hub that the weights of a backbone are in, as far as its name tells; None for no such."""
    if name.startswith(_HUB):
        return name.removeprefix(_HUB)
    model, _, tag = name.partition("/")
    cfg = architectures.table().get_pretrained_cfg(model, tag) if tag and not is_local(name) else {}
    repo = str(cfg.get("hf_hub", "")).rpartition("/")[0]
    return repo if is_repository(repo) else None


def is_local(name: str) -> bool:
    """Whether a backbone is a folder, or a file of weights, of one machine."""
    return name.startswith(_LOCAL) or is_own(name)


def is_own(name: str) -> bool:
    """Whether a backbone is an architecture with weights of one's own."""
    return own_weights.split(name) is not None


def without_folder(name: str) -> str:
    """The name of a backbone without where its folder, or its file of weights, lies on this machine."""
    if not is_local(name):
        return name
    kind, _, place = name.partition(":")
    return f"{kind}:{Path(place).name}"


def locate(name: str, *, fetch: bool = True) -> ResolvedModel:
    """The files of a backbone, downloaded when they are not here and `fetch` allows.

    fetch    whether a person named it; what a file names is never fetched
    raises   UnknownBackbone with near misses; UnsupportedBackbone and BackboneNeeds before anything is downloaded;
             WeightsUnavailable when they are not here and cannot be had

    Nothing is asked of the network when the files are on this machine.
    """
    name = parse(name)
    if name == MINI:
        return ResolvedModel(name, _LOCAL + str(MINI_FOLDER))
    if name.startswith(_LOCAL):
        return _in_folder(name, _checked_folder(name))
    if is_own(name):
        return _own(name, fetch)
    if name.startswith(_HUB):
        return _in_folder(name, _hub_folder(name, fetch))
    return _tagged(name, fetch)


def described(name: str) -> dict[str, Any] | None:
    """open_clip's description of the model of a canonical name, as far as it is on this machine."""
    if name == MINI:
        return _described_in(MINI_FOLDER)
    if name.startswith(_LOCAL):
        return _described_in(Path(name.removeprefix(_LOCAL)))
    if name.startswith(_HUB):
        config = _cached_file(name.removeprefix(_HUB), _CONFIG)
        return _described_in(config.parent) if config else None
    own = own_weights.split(name)
    return architectures.description(own[0] if own else name.partition("/")[0])


def on_this_machine() -> tuple[str, ...]:
    """Names of the downloaded backbones that open_clip could load now."""
    repos = _cached_repos()
    if not repos:
        return ()
    table = architectures.table()
    known: dict[str, str] = {}
    for model, tag in table.list_pretrained():
        repo = table.get_pretrained_cfg(model, tag).get("hf_hub", "").rpartition("/")[0]
        if not model.endswith("-quickgelu"):
            known.setdefault(repo, f"{model}/{tag}")
    return tuple(sorted(known.get(repo, f"hf-hub:{repo}") for repo in repos))


def every_pair() -> tuple[str, ...]:
    """Every architecture with weights that open_clip lists."""
    return tuple(f"{model}/{tag}" for model, tag in architectures.table().list_pretrained())


def ensure_available(name: str, *, fetch: bool = True) -> None:
    """What `locate` would raise, at once: for a name that does not exist, or weights that cannot be fetched now."""
    try:
        locate(name, fetch=False)
    except WeightsUnavailable as error:
        if not fetch:
            raise
        if reason := offline_reason():
            raise WeightsUnavailable(parse(name), reason, error.what) from None


def first_line(error: BaseException) -> str:
    """What a library's error says, as the end of a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _tagged(name: str, fetch: bool) -> ResolvedModel:
    model, _, tag = name.partition("/")
    cfg = architectures.table().get_pretrained_cfg(model, tag) if tag else {}
    if not cfg:
        raise _unknown(name, architectures.table().list_pretrained())
    name = f"{model}/{tag.lower().replace('-', '_')}"  # as open_clip has it, which takes others for the same
    check_usable(name, architectures.description(model) or {})
    path = _tag_weights_here(cfg)
    if path is None:
        _require_network(name, fetch)
    text = _text_of(name, model, fetch)  # small, and without it the rest is of no use
    path = path or _tag_weights(name, cfg)
    # OpenAI's weights were trained with QuickGELU; open_clip only warns when the model has plain GELU
    return ResolvedModel(name, model, str(path), bool(cfg.get("quick_gelu")), architectures.preprocessing(cfg), text)


def _own(name: str, fetch: bool) -> ResolvedModel:
    model, path = own_weights.checked(name)
    text = _text_of(name, model, fetch)
    return ResolvedModel(name, model, str(path), preprocess=architectures.usual_preprocessing(model), text=text)


def _in_folder(name: str, folder: Path) -> ResolvedModel:
    about = _described_in(folder)
    text = files_in(folder, name, about) if about else _OF_CLIP
    return ResolvedModel(name, _LOCAL + str(folder), text=text)


def _described_in(folder: Path) -> dict[str, Any] | None:
    """The description of a model that lies in a folder; None for what the loader will complain of."""
    try:
        found = json.loads((folder / _CONFIG).read_text("utf-8"))
        about = found.get("model_cfg", found)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return about if isinstance(about, dict) else None


def _text_of(name: str, model: str, fetch: bool) -> TextFiles:
    """What an architecture of open_clip needs for its text side; refused first where it cannot be used."""
    about = architectures.description(model) or {}
    check_usable(name, about)

    def folder_of(repo: str, is_tower: bool) -> Path:
        here = _text_here(repo, is_tower)
        if here is None:
            _require_network(name, fetch, "tokenizer")
            here = _fetched_text(name, repo, is_tower)
        if not is_tower:
            check_readable(name, here)
        return here

    return files_of_table(about, folder_of)


def _text_here(repo: str, is_tower: bool) -> Path | None:
    """The folder of a tokenizer, or of the description of a tower, in the cache of the hub."""
    if is_tower:
        config = _cached_file(repo, TOWER_FILE)
        return config.parent if config else None
    words = _cached_file(repo, VOCABULARY, *VOCABULARIES_BEFORE)
    settings = words and any((words.parent / file).is_file() for file in TOKENIZER_FILES[:2])
    return words.parent if words and settings else None


def _fetched_text(name: str, repo: str, is_tower: bool) -> Path:
    """The same from the hub."""
    if is_tower:
        return _from_hub(name, repo, TOWER_FILE).parent
    for file in TOKENIZER_FILES:
        _from_hub_if_there(name, repo, file)
    if words := _from_hub_if_there(name, repo, VOCABULARY):
        return words.parent
    older = [found for file in VOCABULARIES_BEFORE if (found := _from_hub_if_there(name, repo, file))]
    if not older:
        raise WeightsUnavailable(name, f"'{repo}' holds none", "tokenizer")
    return older[0].parent


def _tag_weights_here(cfg: dict[str, Any]) -> Path | None:
    repo, _, file = cfg.get("hf_hub", "").rpartition("/")
    if repo:
        return _cached_file(repo, *([file] if file else _WEIGHTS))
    by_url = _clip_cache() / Path(cfg.get("url", "")).name
    return by_url if by_url.is_file() else None


def _tag_weights(name: str, cfg: dict[str, Any]) -> Path:
    """The weights of a tag, from wherever open_clip fetches them."""
    from open_clip.pretrained import download_pretrained

    try:
        return Path(download_pretrained(cfg))
    except Exception as error:
        raise WeightsUnavailable(name, f"could not be downloaded ({first_line(error)})") from error


def _clip_cache() -> Path:
    """Where open_clip keeps what it fetches from elsewhere than the hub."""
    return Path(os.path.expanduser("~/.cache/clip"))  # noqa: PTH111  which lets be what it cannot expand


def _hub_folder(name: str, fetch: bool) -> Path:
    """The folder of a repository with all that is needed of it; what cannot be used is refused before its weights."""
    repo = name.removeprefix(_HUB)
    config, weights = _cached_file(repo, _CONFIG), _cached_file(repo, *_WEIGHTS)
    if config and weights and config.parent == weights.parent and _has_text(config.parent):
        return config.parent
    _require_network(name, fetch)
    folder = _from_hub(name, repo, _CONFIG).parent
    if about := _described_in(folder):
        if is_beside_weights(about):
            for file in (*TOKENIZER_FILES, VOCABULARY):
                _from_hub_if_there(name, repo, file)
        files_in(folder, name, about)
    if not any(_from_hub_if_there(name, repo, file) for file in _WEIGHTS):
        raise UnknownBackbone(name, reason="there are no weights of open_clip in it")
    return folder


def _has_text(folder: Path) -> bool:
    about = _described_in(folder)
    return about is None or not is_beside_weights(about) or (folder / VOCABULARY).is_file()


def _from_hub_if_there(name: str, repo: str, file: str) -> Path | None:
    with contextlib.suppress(UnknownBackbone):
        return _from_hub(name, repo, file)
    return None


def _from_hub(name: str, repo: str, file: str) -> Path:
    """A file of a repository; UnknownBackbone where there is no such, WeightsUnavailable where it cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(repo, file))
    except LocalEntryNotFoundError as error:  # it says so of any trouble on the way
        raise WeightsUnavailable(name, f"could not be downloaded ({first_line(error.__cause__ or error)})") from error
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        raise UnknownBackbone(name, reason=first_line(error)) from error
    except Exception as error:
        raise WeightsUnavailable(name, f"could not be downloaded ({first_line(error)})") from error


def _checked_folder(name: str) -> Path:
    folder = _absolute(name)
    if not os.path.exists(folder):  # noqa: PTH110  which raises nothing, however odd the path
        hint = f"--model {shlex.quote(f'{_LOCAL}/path/{folder.name}')}, of learn or classify, says where it is"
        raise UnknownBackbone(name, reason=f"there is no folder {folder}", hint=hint)
    if not os.path.isfile(folder / _CONFIG):  # noqa: PTH113
        raise UnknownBackbone(name, reason=f"there is no {_CONFIG} in {folder}")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise UnknownBackbone(name, reason=f"there are no weights in {folder}")
    return folder


def _absolute(name: str) -> Path:
    """The folder of a local-dir: name, from wherever it is asked for later."""
    typed = name.removeprefix(_LOCAL)
    if not typed:
        raise UnknownBackbone(name, reason="it does not say which folder", hint="--model local-dir:FOLDER")
    return own_weights.absolute(typed)


def _unknown(name: str, pretrained: list[tuple[str, str]]) -> UnknownBackbone:
    if os.path.isdir(name):  # noqa: PTH112
        full_name = f"{_LOCAL}{_absolute(name)}"
        return UnknownBackbone(name, reason="it is a folder", hint=f"--model {shlex.quote(full_name)}")
    if os.path.isfile(name):  # noqa: PTH113
        hint = f"--model {shlex.quote(f'ARCHITECTURE:{own_weights.absolute(name)}')}   (such as ViT-B-32)"
        return UnknownBackbone(name, reason="it is a file", hint=hint)
    model, _, tag = name.partition("/")
    tags = [t for m, t in pretrained if m == model]
    if tags:
        near = get_close_matches(tag, tags, n=3) if tag else tags[:3]
        reason = f"'{model}' has no weights called '{tag}'" if tag else "it does not say which weights"
        return UnknownBackbone(name, near=[f"{model}/{t}" for t in near or tags[:3]], reason=reason)
    if model in architectures.names():
        place = own_weights.absolute(tag) if os.path.isfile(tag) else "/path/weights.safetensors"  # noqa: PTH113
        hint = f"--model {shlex.quote(f'{model}:{place}')}"
        return UnknownBackbone(name, reason=f"open_clip has no weights of '{model}'", hint=hint)
    spelled = {MINI: MINI} | {f"{m}/{t}".lower(): f"{m}/{t}" for m, t in pretrained}
    near = [spelled[key] for key in get_close_matches(name.lower(), [*spelled], n=3, cutoff=0.6)]
    return UnknownBackbone(name, near=near)


def _require_network(name: str, fetch: bool, what: str = "weights") -> None:
    reason = offline_reason() if fetch else "nothing that a file names is fetched"
    if reason:
        raise WeightsUnavailable(name, reason, what)


def _cached_file(repo: str, *files: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, file) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _cached_repos() -> tuple[str, ...]:
    """Hub repositories in the cache that hold open_clip weights."""
    from huggingface_hub.constants import HF_HUB_CACHE

    holders = {
        path.parts[-4]
        for file in (*_WEIGHTS, "*.pt")
        for path in Path(HF_HUB_CACHE).glob(f"models--*/snapshots/*/{file}")
        if path.exists()
    }
    return tuple(sorted(folder.removeprefix("models--").replace("--", "/") for folder in holders))
