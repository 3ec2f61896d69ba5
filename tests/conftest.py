"""Every test has a home of its own, a tiny real CLIP and painted pictures."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

from promptctl.cli.agent import SWITCH, VARIABLES
from promptctl.render.reader import a_program_reads

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is there, as the command line does
if not os.environ.get("PROMPTCTL_TEST_GPU"):  # to run the suite on one; most of it compares with the CPU
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220)}
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ray: starts Ray on this machine, once for its file")
    hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no fault
    hypothesis.settings.load_profile("patient")


@dataclass(frozen=True)
class Outcome:
    """What a command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("PROMPTCTL_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for variable in ("PROMPTCTL_MODEL", "PROMPTCTL_DEVICE", "PROMPTCTL_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in (SWITCH, *VARIABLES):  # of an agent that runs the tests
        monkeypatch.delenv(variable, raising=False)
    return home


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of 1.7 M parameters in open_clip's local-dir form."""
    return build_clip(tmp_path_factory.mktemp("tiny"), TINY, seed=0)


@pytest.fixture
def tiny(tiny_folder: Path) -> str:
    return f"local-dir:{tiny_folder}"


@pytest.fixture(scope="session")
def clip(tiny_folder: Path) -> tuple[Any, Any, Any]:
    """The tiny CLIP as open_clip loads it: the model, its tokenizer, and our text tower over it."""
    import open_clip

    from promptctl.clip.text_tower import TextTower

    model = open_clip.create_model(f"local-dir:{tiny_folder}").eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_folder}")
    return model, tokenizer, TextTower(model, tokenizer)


@pytest.fixture(scope="session")
def colours_bytes(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A context of the three colours, learned once for all tests that need any."""
    import promptctl

    folder = tmp_path_factory.mktemp("colours")
    store, settings = promptctl.Store(folder / "store"), promptctl.LearnSettings(epochs=30, lr=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        photos, model = paint(folder / "photos", images=6), f"local-dir:{tiny_folder}"
        promptctl.learn(photos, "colours", shots=3, settings=settings, model=model, store=store)
    return store["colours"].to_bytes()


@pytest.fixture(scope="session")
def kept_tiny(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tiny CLIP leaves behind where it was used, so that a program answers by it without PyTorch."""
    from promptctl.clip import keeping
    from promptctl.clip.backbone import Backbone

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(tmp_path_factory.mktemp("kept")))
        kept = keeping.keep(Backbone(f"local-dir:{tiny_folder}", "cpu"))
    assert kept is not None
    return kept.path


@pytest.fixture
def answering(kept_tiny: Path, home: Path) -> None:
    """A home in which the tiny CLIP was used before."""
    (home / "cache" / "backbones").mkdir(parents=True, exist_ok=True)
    shutil.copy(kept_tiny, home / "cache" / "backbones")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six noisy pictures of each of three colours, one folder a class."""
    return paint(tmp_path / "photos", images=6)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """The real command line with its real error boundary, in this process."""
    from promptctl import typed
    from promptctl.cli.main import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Outcome:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setattr("sys.argv", ["promptctl", *map(str, arguments)])
            main()
        printed = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), printed.out, printed.err)

    yield run
    typed.remember(())
    a_program_reads(False)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def build_clip(folder: Path, config: dict[str, object], *, seed: int) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def paint(folder: Path, *, images: int, seed: int = 0, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    chance = np.random.default_rng(seed)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            noisy = np.clip(np.array(colour) + chance.normal(0, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / name / f"{i}.png")
    return folder


def copy_into_splits(photos: Path, target: Path) -> Path:
    """The same pictures as train/ (first four of a class) and test/ (the rest)."""
    for path in sorted(photos.glob("*/*.png")):
        split = "train" if int(path.stem) < 4 else "test"
        (target / split / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / split / path.parent.name / path.name)
    return target


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond a few bytes, as where there is no room."""
    resource = pytest.importorskip("resource")  # Windows has none
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
