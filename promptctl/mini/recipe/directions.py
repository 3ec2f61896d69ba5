"""The direction of every ImageNet class in the joint space, found without an image.

The classifier says how likely each class is for a pooled feature. We look for unit directions T and a scale s such
that s * projection(feature) @ T.T says the same, over features drawn to look like those of photos: the mean over
ImageNet that BatchNorm remembers, plus the direction of one or two classes, plus noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from sources import Projection

SHARPNESS = 1.6  # how far a feature moves along its class, chosen so that the classifier is as sure as of photos (0.73)


@dataclass(frozen=True)
class Head:
    """The classifier's last layer (1000, 1280) and (1000,), and the mean pooled feature over ImageNet (1280)."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor


def head(model: torch.nn.Module, *, seed: int) -> Head:
    """The mean comes from the last BatchNorm: what ReLU6 leaves of a normal with its offset and its gain."""
    norm = model.bn2
    draw = torch.Generator().manual_seed(seed)
    gain, offset = norm.weight.detach(), norm.bias.detach()
    mean = (offset + gain.abs() * torch.randn(8000, len(gain), generator=draw)).clamp(0, 6).mean(0)
    return Head(model.classifier.weight.detach(), model.classifier.bias.detach(), mean)


def draw_features(
    head: Head, n: int, draw: torch.Generator, *, among: torch.Tensor | None = None, beside: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """n pooled features (n, 1280) as photos would give them, and the class of each (n).

    among    the classes shown, or all
    beside   the classes that may be seen beside them, or those shown
    """
    centred = head.weight - head.weight.mean(0)
    among = torch.arange(len(centred)) if among is None else among
    beside = among if beside is None else beside
    first, second = (some[torch.randint(0, len(some), (n,), generator=draw)] for some in (among, beside))
    other = 0.5 * torch.rand(n, 1, generator=draw)
    far = SHARPNESS * (0.5 + 1.2 * torch.rand(n, 1, generator=draw))
    noise = 0.3 * head.mean.sqrt() * torch.randn(n, centred.shape[1], generator=draw)
    x = head.mean + far * ((1 - other) * centred[first] + other * centred[second]) + noise
    return x.clamp(min=0), first


def mean_picture(head: Head, project: Projection, *, seed: int) -> torch.Tensor:
    """The mean of drawn pictures in the joint space, made a unit row (512)."""
    return F.normalize(project(draw_features(head, 20_000, torch.Generator().manual_seed(seed))[0]).mean(0), dim=0)


def without_mean(rows: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Rows (..., 512) with nothing along the mean picture."""
    return rows - (rows @ mean)[..., None] * mean


def raised(rows: torch.Tensor, mean: torch.Tensor, share: float) -> torch.Tensor:
    """Unit rows (..., 512) with nothing along the mean picture but this share."""
    return F.normalize(F.normalize(without_mean(rows, mean), dim=-1) + share * mean, dim=-1)


def class_directions(head: Head, project: Projection, *, steps: int, seed: int) -> tuple[torch.Tensor, float]:
    """Unit directions (1000, 512) and the scale that best repeat the classifier; Kullback-Leibler, Adam, cosine."""
    draw = torch.Generator().manual_seed(seed)
    centred = head.weight - head.weight.mean(0)
    directions = F.normalize(centred @ torch.linalg.pinv(project.weight), dim=-1).requires_grad_()
    log_scale = torch.tensor(3.3).requires_grad_()
    adam = torch.optim.Adam([{"params": [directions], "lr": 1e-3}, {"params": [log_scale], "lr": 1e-2}])
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        x, _ = draw_features(head, 768, draw)
        teacher = F.log_softmax(x @ head.weight.T + head.bias, 1)
        student = F.log_softmax(log_scale.exp() * project(x) @ F.normalize(directions, dim=-1).T, 1)
        loss = F.kl_div(student, teacher, log_target=True, reduction="batchmean")
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
        if step % 100 == 0 or step == steps - 1:
            sure = teacher.exp().max(1).values.mean()
            print(f"directions {step}: divergence {loss.item():.3f}, teacher's confidence {sure:.2f}", flush=True)
    return F.normalize(directions.detach(), dim=-1), log_scale.exp().item()
