"""What the learners share: rates by epoch, batches of images, and the views of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from promptctl.context.card import CurvePoint

WARM_UP_LR = 1e-5
CURVE_POINTS = 20  # of a learning curve, before the one of what is kept
_DIGITS = 4  # of its numbers
_SHORTEST = 1e-3  # of the longest direction
_WORTH_SHARING = 2e9  # floating-point operations of a step


@contextlib.contextmanager
def threads_for(operations: float) -> Iterator[None]:
    """One thread for steps too small to share: a second gains little, and waits long where the machine is busy."""
    before = torch.get_num_threads()
    if operations < _WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def warm_cosine_rate(epoch: int, epochs: int, lr: float) -> float:
    """1e-5 in the first epoch, then lr/2 (1 + cos(pi (epoch - 1) / epochs)) …

    … with the cosine counted from 0 again after the warm-up epoch, as Dassl's WARMUP_RECOUNT does.
    """
    return WARM_UP_LR if epoch == 0 else cosine_rate(epoch - 1, epochs, lr)


def cosine_rate(epoch: int, epochs: int, lr: float) -> float:
    """From lr at epoch 0 down half a cosine, which would reach 0 at `epochs`."""
    return lr / 2 * (1 + math.cos(math.pi * epoch / epochs))


def falling_rate(epoch: int, epochs: int, lr: float) -> float:
    """From lr at epoch 0 down a line, which would reach 0 at `epochs`."""
    return lr * (1 - epoch / epochs)


class Optimiser(Protocol):
    """What moves a parameter against the gradient of a loss."""

    def step(self, rate: float, loss: torch.Tensor) -> None:
        """Move it once; loss is a scalar."""


class Sgd:
    """Stochastic gradient descent with momentum, PyTorch's to the bit.

    PyTorch's own imports its compiler when one is made, which takes longer than learning birds from four shots each.
    """

    def __init__(self, parameter: torch.Tensor, *, momentum: float, weight_decay: float = 0.0) -> None:
        self._parameter, self._momentum, self._decay = parameter, momentum, weight_decay
        self._moved: torch.Tensor | None = None

    def step(self, rate: float, loss: torch.Tensor) -> None:
        (gradient,) = torch.autograd.grad(loss, self._parameter)
        with torch.no_grad():
            if self._decay:
                gradient = gradient.add(self._parameter, alpha=self._decay)
            if self._moved is None:
                self._moved = gradient.clone()
            else:
                self._moved.mul_(self._momentum).add_(gradient)
            self._parameter.add_(self._moved, alpha=-rate)


class Adam:
    """Kingma and Ba's Adam, PyTorch's to the bit; see Sgd."""

    def __init__(self, parameter: torch.Tensor, *, betas: tuple[float, float], epsilon: float = 1e-8) -> None:
        self._parameter, self._betas, self._epsilon = parameter, betas, epsilon
        self._mean, self._square = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self._steps = 0

    def step(self, rate: float, loss: torch.Tensor) -> None:
        (gradient,) = torch.autograd.grad(loss, self._parameter)
        self._steps += 1
        first, second = self._betas
        with torch.no_grad():
            self._mean.lerp_(gradient, 1 - first)
            self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            scale = (1 - second**self._steps) ** 0.5
            self._parameter.addcdiv_(
                self._mean, (self._square.sqrt() / scale).add_(self._epsilon), value=-rate / (1 - first**self._steps)
            )


class Orthogonal:
    """Momentum of which every direction among the vectors moves alike (Jordan et al., "Muon", 2024).

    Of the momentum G = U S V' of M vectors the parameter moves along U V', times the root of W: where M <= W, a number
    moves by the rate in the root mean square. That counts directions whose gradient is small as much as others, and so
    needs fewer steps than Adam. U V' = (G G')^-1/2 G is computed from the eigenvalues of an (M, M) matrix, where Muon
    iterates.
    """

    def __init__(self, parameter: torch.Tensor, *, momentum: float) -> None:
        """parameter  (M, W)"""
        self._parameter, self._momentum = parameter, momentum
        self._mean = torch.zeros_like(parameter)

    def step(self, rate: float, loss: torch.Tensor) -> None:
        (gradient,) = torch.autograd.grad(loss, self._parameter)
        with torch.no_grad():
            self._mean.lerp_(gradient, 1 - self._momentum)
            length = self._parameter.shape[-1] ** 0.5
            self._parameter.add_(orthogonal(self._mean), alpha=-rate * length)


def orthogonal(rows: torch.Tensor) -> torch.Tensor:
    """(M, W) rows of length one at right angles: U V' of the rows U S V'.

    Directions below a thousandth of the longest, which are rounding as much as anything, stay as much shorter.
    """
    exact = rows.cpu().double()  # not every device has eigenvalues, or numbers of this length
    gram = exact @ exact.T  # (M, M)
    if not torch.isfinite(gram).all():
        return rows * torch.nan  # of a loss that is no number
    values, vectors = torch.linalg.eigh(gram)
    least = (values[-1] * _SHORTEST**2).clamp(min=torch.finfo(torch.float64).tiny)
    root: torch.Tensor = (vectors * values.clamp(min=least).rsqrt()) @ vectors.T
    return (root @ exact).to(rows)


class Curve:
    """How learning went, at a few epochs of many; a GPU is not waited for before `points`."""

    def __init__(self, epochs: int) -> None:
        if epochs <= CURVE_POINTS:
            self._chosen = set(range(epochs))
        else:  # the closer to the start the closer together, where most happens
            self._chosen = {round(root**2) for root in np.linspace(0, (epochs - 1) ** 0.5, CURVE_POINTS)}
        self._seen: dict[int, list[tuple[int, torch.Tensor, torch.Tensor]]] = {}

    def add(self, epoch: int, step: int, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """What was found of a batch: its scalar loss and (B, C) logits, for (B,) targets, after `step` steps.

        epoch   from 0; of what is kept in the end, one more than there are
        """
        if epoch in self._chosen:
            self._seen.setdefault(epoch, []).append((step, loss.detach(), _share_right(logits, targets)))

    def end(self, step: int, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """The same of what is kept; nothing where nothing was learned."""
        if self._seen:
            self._seen[max(self._seen) + 1] = [(step, loss, _share_right(logits, targets))]

    def points(self) -> tuple[CurvePoint, ...]:
        """The mean over the batches of each epoch, without those that are no number."""
        found = (
            (batches[0][0], _mean([loss for _, loss, _ in batches]), _mean([right for _, _, right in batches]))
            for batches in self._seen.values()
        )
        return tuple(
            CurvePoint(step, max(0.0, float(f"{loss:.{_DIGITS}g}")), round(accuracy, _DIGITS))
            for step, loss, accuracy in found
            if math.isfinite(loss)
        )


def _mean(numbers: list[torch.Tensor]) -> float:
    return float(torch.stack(numbers).mean())


def _share_right(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (logits.detach().argmax(1) == targets).float().mean()


class Views:
    """What every image looks like in an epoch: its views in an order of its own, over and over."""

    def __init__(self, features: NDArray[np.float32], device: torch.device, rng: torch.Generator) -> None:
        """features   (N, E), or (N, V, E) with V views of every image"""
        views = features if features.ndim == 3 else features[:, None]
        self._all = torch.from_numpy(views).to(device)  # (N, V, E)
        self._order = torch.rand(self._all.shape[:2], generator=rng).argsort(1).to(device)  # (N, V)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def every(self) -> torch.Tensor:
        """(N V, E), the views of one image side by side"""
        return self._all.flatten(0, 1)

    def of_epoch(self, epoch: int) -> torch.Tensor:
        """(N, E)"""
        count = self._order.shape[1]
        if count == 1:
            return self._all[:, 0]
        chosen = self._order[:, epoch % count, None, None].expand(-1, 1, self._all.shape[-1])
        return self._all.gather(1, chosen).squeeze(1)


class Batches:
    """Random batches, the last partial one dropped; all images together where they are too few or `size` is None."""

    def __init__(self, n_images: int, size: int | None, device: torch.device, rng: torch.Generator) -> None:
        self.n_images = n_images
        self.device = device
        self.size = min(size or n_images, n_images)
        self.rng = rng

    def __len__(self) -> int:
        return self.n_images // self.size

    def epoch(self) -> list[torch.Tensor] | list[slice]:
        """Indices of images, (size,) for every batch, or one slice of all."""
        if self.size == self.n_images:
            return [slice(None)]
        # one copy per epoch, or a GPU would wait in every step
        order = torch.randperm(self.n_images, generator=self.rng).to(self.device)
        return [*order[: len(self) * self.size].split(self.size)]
