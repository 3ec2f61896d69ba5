"""Weights of one's own: an architecture of open_clip and a file, `ViT-B-32:/path/weights.safetensors`."""

from __future__ import annotations

import os
import re
import shlex
from difflib import get_close_matches
from pathlib import Path

from promptctl.clip import architectures
from promptctl.errors import BackboneError, UnknownBackbone

_NAME = re.compile(r"(?!local-dir:|hf-hub:)([\w.-]+):(.*)", re.ASCII | re.DOTALL)
_ZIP, _PICKLE = b"PK\3\4", b"\x80"
OTHERWISE = "in Python: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
_EXAMPLE = "--model ViT-B-32:/path/weights.safetensors"


def split(name: str) -> tuple[str, str] | None:
    """The architecture and the file of a name; None for a name of another kind."""
    found = _NAME.fullmatch(name)
    return (found[1], found[2]) if found else None


def canonical(name: str) -> str:
    """The same name with the absolute path of its file; UnknownBackbone where it says none."""
    model, typed = split(name) or ("", "")
    if not typed:
        raise UnknownBackbone(name, reason="it does not say which file", hint=_EXAMPLE)
    if "://" in typed:
        raise UnknownBackbone(name, reason="weights are read from a file of this machine", hint=_EXAMPLE)
    return f"{model}:{absolute(typed)}"


def absolute(typed: str) -> Path:
    """A file or folder of this machine, from wherever it is asked for later."""
    path = Path(os.path.expanduser(typed))  # noqa: PTH111  which lets be what it cannot expand
    return path.resolve() if ".." in path.parts else path.absolute()


def checked(name: str) -> tuple[str, Path]:
    """The architecture and the file of a canonical name, looked at without loading it.

    raises   UnknownBackbone where there is no such architecture, or no such file; BackboneError for no weights
    """
    model, typed = split(name) or ("", "")
    _check_architecture(name, model, typed)
    path = Path(typed)
    if os.path.isdir(path):  # noqa: PTH112  which raises nothing, however odd the path
        hint = f"--model local-dir:{typed}   (a folder with an open_clip_config.json)"
        raise UnknownBackbone(name, reason=f"{path} is a folder", hint=hint)
    if not os.path.isfile(path):  # noqa: PTH113
        raise _missing(name, model, path)
    if fault := _fault_of(path):
        raise BackboneError(f"'{name}' cannot be loaded: {fault[0]}", fault[1])
    return model, path


def _check_architecture(name: str, model: str, typed: str) -> None:
    known = architectures.names()
    if model in known:
        return
    spelled = {one.lower(): one for one in known}
    near = [f"{spelled[key]}:{typed}" for key in get_close_matches(model.lower(), [*spelled], n=3, cutoff=0.6)]
    raise UnknownBackbone(name, near=near, reason=f"open_clip has no architecture called '{model}'")


def _missing(name: str, model: str, path: Path) -> UnknownBackbone:
    """For a file that was never there, or has been moved since; or that was meant as a tag of open_clip's list."""
    reason = f"there is no file {path}"
    if architectures.table().get_pretrained_cfg(model, path.name):
        return UnknownBackbone(name, near=[f"{model}/{path.name}"], reason=reason)
    elsewhere = shlex.quote(f"{model}:/path/{path.name}")
    return UnknownBackbone(name, reason=reason, hint=f"--model {elsewhere}, of learn or classify, says where it is")


def _fault_of(path: Path) -> tuple[str, str] | None:
    """Why a file holds no weights that can be read, as the end of a sentence, and what helps; None where it may."""
    from promptctl.context.torchfile import foreign_names  # which imports numpy

    try:
        with path.open("rb") as file:
            start = file.read(9)
            if start[:4] == _ZIP:
                foreign = foreign_names(file)
                return (_only_weights(foreign), OTHERWISE) if foreign else None
    except OSError as error:
        return error.strerror or str(error), _EXAMPLE
    except ValueError as error:
        return str(error), OTHERWISE
    except Exception:  # whatever a damaged file makes zipfile and pickle raise
        return f"{path.name} is damaged", _EXAMPLE
    if start[8:] == b"{":
        return None
    if start[:1] == _PICKLE:
        return f"{path.name} is of a form that PyTorch left in 2020", OTHERWISE
    return f"{path.name} is neither a safetensors file nor one of torch.save", _EXAMPLE


def _only_weights(foreign: tuple[str, ...]) -> str:
    shown = ", ".join(name[:60] for name in foreign[:3])
    return f"beside weights it holds {shown}{', …' if len(foreign) > 3 else ''}, and nothing in a file is run"


def is_safetensors(path: Path) -> bool:
    """Told by its first bytes, whatever it is called."""
    with path.open("rb") as file:
        return file.read(4) != _ZIP
