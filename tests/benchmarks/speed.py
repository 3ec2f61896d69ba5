"""Speed and memory, each beside its own baseline in the same run.

    python tests/benchmarks/speed.py text [--classes 10,100,1000] [--threads 1]
    python tests/benchmarks/speed.py encode [--model mini|ViT-B-32] [--threads 2]
    python tests/benchmarks/speed.py learn [--threads 2]
    python tests/benchmarks/speed.py again FOLDER
    python tests/benchmarks/speed.py memory [--model mini|ViT-B-32] [--class-specific]

text     one step of a shared context (forward and gradient), ViT-B/32's text tower with random weights, against 77
         tokens per class. 1000 classes of 77 tokens do not fit in 24 GB, so the baseline runs them 100 at a time.
encode   the image tower in pictures per second, against PyTorch as it is.
learn    16 shots of 100 classes on ViT-B/32's shape, encoding included, against a loop that does what the original does
         in every step (read 32 images, encode them, 77 tokens per class): some steps timed, and multiplied.
again    `promptctl learn` at the shell, first and with everything cached.
memory   peak of learning the 1000 ImageNet names, M = 16, 16 shots, some steps of it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference

from promptctl.clip.backbone import Backbone
from promptctl.clip.text_tower import TextTower
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.learners import coop

SHAPE = "ViT-B-32"


def best(call: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def some_names(count: int) -> list[str]:
    every = list(open_clip.IMAGENET_CLASSNAMES)
    return every[:: len(every) // count][:count]


def text(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model(SHAPE).eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(SHAPE)
    tower = TextTower(model, tokenizer)
    context = (torch.randn(16, tower.width) * 0.02).requires_grad_()
    for classes in map(int, options.classes.split(",")):
        names = some_names(classes)
        prompts = tower.prompts(names, 16)
        expected = torch.randn(classes, tower.joint_width)

        def ours(prompts=prompts, expected=expected) -> torch.Tensor:
            context.grad = None
            (tower.encode(context, prompts) * expected).sum().backward()
            return context.grad.clone()

        def theirs(names=names, expected=expected) -> torch.Tensor:
            context.grad = None
            for first in range(0, len(names), 100):
                some = slice(first, first + 100)
                found = reference.encode(model, tokenizer, context, names[some], "end")
                (found * expected[some]).sum().backward()
            return context.grad.clone()

        fast, slow = best(ours, 3), best(theirs, 2 if classes < 1000 else 1)
        gradient = context.grad.clone()
        gap = (ours() - gradient).abs().max() / gradient.abs().max()
        print(
            f"C={classes:<5d} 77 tokens {slow:8.3f} s   promptctl {fast:7.3f} s   {slow / fast:5.1f}x   "
            f"rows {prompts.rows} of {77 * classes}   largest difference of the gradient {gap:.0e}",
            flush=True,
        )


def image_backbone(model: str, folder: Path) -> Backbone:
    if model == "mini":
        return Backbone("mini")
    from conftest import build_clip

    config = open_clip.get_model_config(model)
    return Backbone(f"local-dir:{build_clip(folder, config, seed=0)}")


def towers(backbone: Backbone) -> dict[str, Callable[[torch.Tensor], object]]:
    visual = backbone.model.visual
    plain = visual.to(memory_format=torch.contiguous_format)
    found = {"PyTorch": lambda x: plain(x)}

    def channels_last(x: torch.Tensor) -> torch.Tensor:
        return visual.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))

    found["channels last"] = channels_last
    x = torch.randn(2, 3, backbone.encoder.size, backbone.encoder.size).contiguous(memory_format=torch.channels_last)
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(visual, x, check_trace=False)))
    found["frozen graph"] = lambda x: frozen(x.contiguous(memory_format=torch.channels_last))
    try:
        import onnxruntime
    except ImportError:
        print("onnxruntime is not installed and left out")
    else:
        path = Path(tempfile.mkdtemp()) / "tower.onnx"
        torch.backends.mha.set_fastpath_enabled(False)  # one fused operation that ONNX does not know
        torch.onnx.export(plain, (x,), path, input_names=["x"], dynamic_axes={"x": {0: "n"}}, dynamo=False)
        torch.backends.mha.set_fastpath_enabled(True)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        found["onnxruntime"] = lambda x: session.run(None, {"x": x.numpy()})
    found["promptctl"] = lambda x: backbone.encoder.encode(x.numpy())
    return found


def encode_images(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        backbone = image_backbone(options.model, Path(folder))
        x = torch.randn(options.batch, 3, backbone.encoder.size, backbone.encoder.size)
        baseline = 0.0
        for name, tower in towers(backbone).items():
            for _ in range(2 + 96 // len(x)):  # past the point where promptctl compiles
                tower(x)
            speed = len(x) / best(lambda tower=tower: tower(x), 5)
            baseline = baseline or speed
            print(f"{options.model} {name:14s} {speed:7.1f} pictures/s   {speed / baseline:4.2f}x", flush=True)


def learn(options: argparse.Namespace) -> None:
    classes, shots = 100, 16
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMPTCTL_HOME"] = f"{folder}/home"
        rng = np.random.default_rng(0)
        paths = [Path(folder) / f"{i}.jpg" for i in range(classes * shots)]
        for path in paths:
            small = Image.fromarray(rng.integers(0, 255, (24, 32, 3)).astype(np.uint8))
            small.resize((640, 480)).save(path)
        (Path(folder) / "clip").mkdir()
        backbone = image_backbone(SHAPE, Path(folder) / "clip")
        backbone.encoder.fingerprint  # loaded and read to the end  # noqa: B018
        names, targets = some_names(classes), np.arange(classes * shots) % classes
        started = time.perf_counter()
        features, _ = encode_files(paths, backbone.encoder, FeatureCache())
        encoded = time.perf_counter() - started
        settings = coop.Settings(epochs=coop.fast_epochs(shots))
        started = time.perf_counter()
        learned = coop.learn(
            features.vectors, targets, names, backbone.tower, logit_scale=backbone.logit_scale, settings=settings
        )
        ours = time.perf_counter() - started + encoded
        print(f"promptctl: {encoded:.0f} s encoding, {ours - encoded:.0f} s for {learned.steps} steps", flush=True)
        seconds = original_step(backbone, paths, targets, names, options.steps)
        per_epoch = len(paths) // 32
        total = seconds * per_epoch * coop.paper_epochs(shots)
        print(
            f"plain loop: {seconds:.1f} s a step, {seconds * per_epoch:.0f} s an epoch, "
            f"{total / 3600:.1f} h for {coop.paper_epochs(shots)} epochs\n{total / ours:.0f}x"
        )


def original_step(backbone: Backbone, paths: list[Path], targets: np.ndarray, names: list[str], steps: int) -> float:
    """Seconds a step of the loop that does what the original does."""
    from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop

    model, tokenizer = backbone.model, open_clip.get_tokenizer(SHAPE)
    crop = Compose([RandomResizedCrop(224, interpolation=3), RandomHorizontalFlip(), backbone.transform])
    context = (torch.randn(16, 512) * 0.02).requires_grad_()
    optimiser = torch.optim.SGD([context], lr=0.002, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        drawn = np.random.default_rng(0).permutation(len(paths))[:32]
        pictures = torch.stack([crop(Image.open(paths[i]).convert("RGB")) for i in drawn])
        with torch.no_grad():
            seen = model.encode_image(pictures, normalize=True)
        texts = F.normalize(reference.encode(model, tokenizer, context, names, "end"), dim=-1)
        loss = F.cross_entropy(backbone.logit_scale * seen @ texts.T, torch.from_numpy(targets[drawn]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return best(step, steps)


def again(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "promptctl", "learn", str(options.folder), "--shots", "4", "--name"]

        def run(name: str) -> float:
            environment = {**os.environ, "PROMPTCTL_HOME": home}
            return best(lambda: subprocess.run([*command, name], env=environment, check=True, capture_output=True), 1)

        first, second = run("first"), run("second")
        print(f"first {first:.1f} s   cached {second:.1f} s   {first / second:.1f}x")


def memory(options: argparse.Namespace) -> None:
    classes, shots = 1000, 16
    with tempfile.TemporaryDirectory() as folder:
        backbone = image_backbone(options.model, Path(folder))
        x = np.random.default_rng(0).normal(size=(classes * shots, backbone.tower.joint_width)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        names = list(open_clip.IMAGENET_CLASSNAMES)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        started = time.perf_counter()
        settings = coop.Settings(epochs=options.steps, class_specific=options.class_specific)
        targets = np.arange(len(x)) % classes
        coop.learn(x, targets, names, backbone.tower, logit_scale=backbone.logit_scale, settings=settings)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        seconds = (time.perf_counter() - started) / options.steps
        kind = "class-specific" if options.class_specific else "shared"
        print(f"{options.model} {kind}: peak {peak:.2f} GB ({before:.2f} GB before learning), {seconds:.1f} s a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    for name, run in {"text": text, "encode": encode_images, "learn": learn, "again": again, "memory": memory}.items():
        one = what.add_parser(name)
        one.set_defaults(run=run)
        one.add_argument("--threads", type=int, default=2)
        one.add_argument("--model", default="mini")
        one.add_argument("--steps", type=int, default=2)
        one.add_argument("--batch", type=int, default=16)
        one.add_argument("--classes", default="10,100,1000")
        one.add_argument("--class-specific", action="store_true")
        if name == "again":
            one.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
