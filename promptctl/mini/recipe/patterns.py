"""Painted pictures of what words such as striped, dotted or cracked mean, so that those words are grounded in images.

A pattern is a function from a random generator to a surface: heights between 0 and 1 on a square of SIZE pixels. Paint
gives a surface two or three colours, and light from one side if it is relief. Nothing here is a photo.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, rotate
from scipy.spatial import cKDTree

SIZE = 224
Surface = np.ndarray  # (SIZE, SIZE) in 0..1
Pattern = Callable[[np.random.Generator], Surface]


# ---- building blocks ----------------------------------------------------------------------------------------------


def _grid(rng: np.random.Generator, angle: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates 0..1 across the square, turned by the angle or by any."""
    turn = rng.uniform(0, np.pi) if angle is None else angle + rng.normal(0, 0.06)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    return x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)


def _noise(rng: np.random.Generator, grain: float) -> Surface:
    """Smooth noise with spots of about grain pixels."""
    field = gaussian_filter(rng.standard_normal((SIZE, SIZE)), grain, mode="wrap")
    return _stretch(field)


def _stretch(x: np.ndarray) -> Surface:
    low, high = np.percentile(x, (1, 99))
    return ((x - low) / max(high - low, 1e-6)).clip(0, 1)


def _warp(rng: np.random.Generator, surface: Surface, pixels: float, grain: float = 24) -> Surface:
    """The surface drawn on rubber and pulled about."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    dy, dx = ((_noise(rng, grain) - 0.5) * 2 * pixels for _ in range(2))
    return map_coordinates(surface, [y + dy, x + dx], order=1, mode="reflect")


def _cells(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random cells: the nearest seed of every pixel, the distance to it and to the second nearest, in side lengths."""
    seeds = rng.uniform(-0.1, 1.1, (n, 2))
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    distance, which = cKDTree(seeds).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    return which[:, 0].reshape(SIZE, SIZE), *(distance[:, k].reshape(SIZE, SIZE) for k in (0, 1))


def _discs(centres: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """How deep inside the nearest disc every pixel is: 1 in its middle, 0 at its rim, less outside."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    inside = np.full((SIZE, SIZE), -9.0)
    for (cy, cx), r in zip(centres, radius, strict=True):
        inside = np.maximum(inside, 1 - np.hypot(y - cy, x - cx) / r)
    return inside


def _lattice(rng: np.random.Generator, step: float, *, shift: float = 0.0, jitter: float = 0.0) -> np.ndarray:
    """Points of a turned square lattice; shift moves every second row by that part of a step."""
    rows = np.arange(-0.8, 0.8, step)
    points = np.array([(a, b + shift * step * (k % 2)) for k, a in enumerate(rows) for b in rows])
    points += rng.normal(0, jitter * step, points.shape)
    turn = rng.uniform(0, np.pi)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ spin.T + 0.5


def _saw(x: np.ndarray) -> np.ndarray:
    """A triangle wave 0..1 with period 1."""
    return 2 * np.abs((x % 1) - 0.5)


# ---- patterns -----------------------------------------------------------------------------------------------------


def striped(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng)
    return ((x * rng.uniform(4, 16)) % 1 < rng.uniform(0.3, 0.7)).astype(float)


def lined(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng)
    return ((x * rng.uniform(8, 24)) % 1 < rng.uniform(0.08, 0.2)).astype(float)


def banded(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng, rng.choice([np.pi / 2, np.pi / 2, 0]))
    edges = np.sort(rng.uniform(-0.2, 1.3, rng.integers(5, 14)))
    levels = rng.uniform(0, 1, len(edges) + 1)
    return _warp(rng, levels[np.searchsorted(edges, x)], rng.uniform(0, 14))


def stratified(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng, np.pi / 2)
    edges = np.sort(rng.uniform(-0.2, 1.3, rng.integers(18, 50)))
    levels = rng.uniform(0, 1, len(edges) + 1)
    layers = _warp(rng, levels[np.searchsorted(edges, x)], rng.uniform(6, 24))
    return _stretch(layers + 0.3 * _noise(rng, 1.5))


def zigzagged(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng)
    n = rng.uniform(4, 10)
    return ((y * n + rng.uniform(0.5, 1.2) * _saw(x * n)) % 1 < 0.5).astype(float)


def chequered(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, rng.choice([0, 0, np.pi / 4]))
    n = rng.uniform(3, 14)
    return ((np.floor(x * n) + np.floor(y * n)) % 2).astype(float)


def plaid(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, 0)
    levels = rng.uniform(0, 1, (2, 12))
    n = rng.uniform(3, 7)
    return (levels[0][(x * n * 3).astype(int) % 6] + levels[1][(y * n * 3).astype(int) % 6]) / 2


def gridded(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, rng.choice([0, np.pi / 4]))
    n, thick = rng.uniform(4, 14), rng.uniform(0.08, 0.2)
    return ((x * n % 1 < thick) | (y * n % 1 < thick)).astype(float)


def waffled(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, rng.choice([0, np.pi / 4]))
    n = rng.uniform(4, 10)
    return np.maximum(_saw(x * n), _saw(y * n)) ** rng.uniform(2, 5)


def crosshatched(rng: np.random.Generator) -> Surface:
    surface = np.zeros((SIZE, SIZE))
    turn = rng.uniform(0, np.pi)
    for k in range(rng.integers(2, 4)):
        x, _ = _grid(rng, turn + k * rng.uniform(0.8, 1.5))
        strokes = (x * rng.uniform(18, 40) + 0.4 * _noise(rng, 20)) % 1 < rng.uniform(0.15, 0.35)
        surface = np.maximum(surface, strokes * (_noise(rng, rng.uniform(3, 30)) > rng.uniform(0, 0.5)))
    return gaussian_filter(surface, 0.6)


def dotted(rng: np.random.Generator) -> Surface:
    step = rng.uniform(0.06, 0.2)
    centres = _lattice(rng, step, shift=rng.choice([0, 0.5]))
    return (_discs(centres, np.full(len(centres), step * rng.uniform(0.2, 0.42))) > 0).astype(float)


def spotted(rng: np.random.Generator) -> Surface:
    n = rng.integers(15, 90)
    spots = _discs(rng.uniform(0, 1, (n, 2)), rng.uniform(0.4, 1.3, n) * 0.35 / n**0.5)
    return _warp(rng, (spots > 0).astype(float), rng.uniform(2, 10), 8)


def speckled(rng: np.random.Generator) -> Surface:
    return _stretch((_noise(rng, rng.uniform(0.6, 1.6)) > rng.uniform(0.7, 0.85)) + 0.3 * _noise(rng, 12))


def blotchy(rng: np.random.Generator) -> Surface:
    field = _noise(rng, rng.uniform(7, 22)) + 0.4 * _noise(rng, 4)
    return gaussian_filter((field > np.percentile(field, rng.uniform(45, 75))).astype(float), rng.uniform(0.5, 4))


def marbled(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng)
    veins = _saw(x * rng.uniform(2, 5) + rng.uniform(1, 2.5) * _noise(rng, rng.uniform(12, 30)))
    return veins ** rng.uniform(0.3, 3)


def veined(rng: np.random.Generator) -> Surface:
    _, near, second = _cells(rng, rng.integers(10, 40))
    lines = (second - near) < rng.uniform(0.006, 0.016)
    finer = _cells(rng, rng.integers(100, 300))
    lines = np.maximum(lines, 0.6 * ((finer[2] - finer[1]) < 0.005))
    return gaussian_filter(_warp(rng, lines.astype(float), 8, 10), 0.7)


def cracked(rng: np.random.Generator) -> Surface:
    _, near, second = _cells(rng, rng.integers(8, 90))
    gap = second - near
    wide = rng.uniform(0.004, 0.02) * (0.4 + 1.2 * _noise(rng, 30))
    cracks = _warp(rng, (gap < wide).astype(float), rng.uniform(3, 9), rng.uniform(4, 10))
    return _stretch(1 - cracks + 0.25 * _noise(rng, rng.uniform(1, 4)))


def crystalline(rng: np.random.Generator) -> Surface:
    surface = np.zeros((SIZE, SIZE))
    for n, weight in ((rng.integers(10, 50), 1), (rng.integers(60, 250), 0.7)):
        which, near, second = _cells(rng, n)
        y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
        tilt = rng.normal(0, 1, (n, 3))
        surface += weight * (tilt[which, 0] * x * 2 + tilt[which, 1] * y * 2 + tilt[which, 2])
        surface += 1.5 * weight * ((second - near) < 0.006)
    return _stretch(surface)


def cobwebbed(rng: np.random.Generator) -> Surface:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    cy, cx = rng.uniform(0.2, 0.8, 2)
    r, turn = np.hypot(y - cy, x - cx), np.arctan2(y - cy, x - cx)
    n = rng.integers(9, 26)
    spokes = (turn / (2 * np.pi) * n) % 1
    sag = 1 - rng.uniform(0.1, 0.25) * (1 - (2 * spokes - 1) ** 2)
    rings = np.abs((r / sag * rng.uniform(12, 30)) % 1 - 0.5) * 2 > 0.88
    radii = np.minimum(spokes, 1 - spokes) * r * 2 * np.pi / n < 0.003
    web = _warp(rng, np.maximum(rings * (_noise(rng, 20) > 0.15), radii).astype(float), rng.uniform(1, 8), 30)
    return _stretch(gaussian_filter(web, 0.6) + 0.3 * _noise(rng, 20))


def bubbly(rng: np.random.Generator) -> Surface:
    n = rng.integers(20, 160)
    centres, radius = rng.uniform(0, 1, (n, 2)), rng.uniform(0.4, 1.6, n) * 0.42 / n**0.5
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    surface = 0.4 + 0.2 * _noise(rng, 30)
    for (cy, cx), r in zip(centres, radius, strict=True):
        d = np.hypot(y - cy, x - cx) / r
        rim = np.exp(-(((d - 0.93) / 0.08) ** 2))
        shine = np.exp(-((np.hypot(y - cy + 0.4 * r, x - cx + 0.4 * r) / (0.2 * r)) ** 2))
        surface = np.where(d < 1, 0.3 + 0.25 * d**3, surface) + 0.5 * rim * (d < 1.1) + 0.6 * shine * (d < 1)
    return surface.clip(0, 1)


def bumpy(rng: np.random.Generator) -> Surface:
    n = rng.integers(40, 350)
    bumps = _discs(rng.uniform(0, 1, (n, 2)), rng.uniform(0.6, 1.4, n) * 0.6 / n**0.5)
    return _relief(rng, gaussian_filter(bumps.clip(0, 1), 1) ** 0.6 + 0.15 * _noise(rng, 3), strength=12)


def studded(rng: np.random.Generator) -> Surface:
    step = rng.uniform(0.08, 0.22)
    centres = _lattice(rng, step, shift=rng.choice([0, 0.5]))
    knobs = _discs(centres, np.full(len(centres), step * rng.uniform(0.25, 0.4))).clip(0, 1)
    return _relief(rng, np.sqrt(knobs), strength=9)


def pitted(rng: np.random.Generator) -> Surface:
    n = rng.integers(60, 300)
    holes = _discs(rng.uniform(0, 1, (n, 2)), rng.uniform(0.3, 1.2, n) * 0.4 / n**0.5).clip(0, 1)
    return _relief(rng, -np.sqrt(_warp(rng, holes, 4, 6)) + 0.1 * _noise(rng, 2), strength=9)


def perforated(rng: np.random.Generator) -> Surface:
    step = rng.uniform(0.05, 0.14)
    centres = _lattice(rng, step, shift=0.5)
    holes = _discs(centres, np.full(len(centres), step * rng.uniform(0.25, 0.38)))
    return np.where(holes > 0, 0.05 + 0.2 * (holes > 0.3), 0.6 + 0.3 * _noise(rng, 40))


def honeycombed(rng: np.random.Generator) -> Surface:
    step = rng.uniform(0.07, 0.2)
    centres = _lattice(rng, step, shift=0.5)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    distance, _ = cKDTree(centres).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(SIZE, SIZE) / step
    return _stretch(1 - np.clip(gap / rng.uniform(0.15, 0.4), 0, 1) + 0.2 * _noise(rng, 6))


def braided(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng)
    n, strands = rng.uniform(2, 5), rng.uniform(2, 6)
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * y * n * 1.5)
    column = x * n % 1
    over = [1 - np.abs(column - (0.5 + 0.32 * np.sin(2 * np.pi * (y * n + k / 3)))) / 0.22 for k in range(3)]
    depth = [np.where(o > 0, o + 0.6 * np.cos(2 * np.pi * (y * n + k / 3)), -1) for k, o in enumerate(over)]
    surface = np.maximum.reduce(depth)
    threads = 0.25 * _saw((x * 3 + y) * n * strands) + 0.1 * swing
    return _relief(rng, _stretch(surface) + threads * (surface > -1), strength=6)


def woven(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, rng.choice([0, np.pi / 4]))
    n = rng.uniform(6, 20)
    over = (np.floor(x * n) + np.floor(y * n)) % 2
    warp, weft = np.sin(np.pi * (x * n % 1)), np.sin(np.pi * (y * n % 1))
    return _relief(rng, np.where(over > 0, warp + 0.3 * weft, weft + 0.3 * warp), strength=7)


def knitted(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, 0)
    n = rng.uniform(6, 16)
    column = x * n % 1
    stitch = _saw(y * n * 1.2 + 0.9 * np.abs(column - 0.5))
    return _relief(rng, stitch**0.7 + 0.7 * np.sin(np.pi * (2 * column % 1)) + 0.15 * _noise(rng, 1), strength=6)


def scaly(rng: np.random.Generator) -> Surface:
    step = rng.uniform(0.07, 0.18)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    surface = np.zeros((SIZE, SIZE))
    for k, cy in enumerate(np.arange(1.2, -0.2, -step / 2)):
        for cx in np.arange(-0.2, 1.2, step):
            d = np.hypot(y - cy, x - cx - step / 2 * (k % 2)) / (step * 0.58)
            surface = np.where(d < 1, 0.25 + 0.75 * d**1.5, surface)
    return rotate(surface, rng.choice([0, 90, 180, 270]), order=1)


def swirly(rng: np.random.Generator) -> Surface:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    turned = np.zeros((SIZE, SIZE))
    for _ in range(rng.integers(3, 9)):
        cy, cx = rng.uniform(0, 1, 2)
        d = np.hypot(y - cy, x - cx)
        turned += rng.choice([-1, 1]) * np.arctan2(y - cy, x - cx) / (2 * np.pi) + rng.uniform(3, 8) * d * np.exp(
            -d * 2
        )
    surface = (turned * rng.integers(1, 3)) % 1 < 0.5
    return gaussian_filter(surface.astype(float), 1)


def spiralled(rng: np.random.Generator) -> Surface:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    cy, cx = rng.uniform(0.3, 0.7, 2)
    r, turn = np.hypot(y - cy, x - cx), np.arctan2(y - cy, x - cx) / (2 * np.pi)
    return _stretch(_saw(r * rng.uniform(4, 12) + turn * rng.integers(1, 3)) + 0.2 * _noise(rng, 4))


def wrinkled(rng: np.random.Generator) -> Surface:
    folds = sum(_saw(_noise(rng, g) * rng.uniform(3, 7)) * w for g, w in ((26, 1), (12, 0.5)))
    return _relief(rng, folds, strength=8)


def pleated(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng, 0)
    x = x + 0.02 * (_noise(rng, 40) - 0.5)
    return _relief(rng, (x * rng.uniform(6, 18) % 1) ** rng.uniform(0.5, 2), strength=5)


def grooved(rng: np.random.Generator) -> Surface:
    x, _ = _grid(rng)
    return _relief(rng, np.sqrt(_saw(x * rng.uniform(5, 16)).clip(0.2, 1)) + 0.05 * _noise(rng, 2), strength=9)


def fibrous(rng: np.random.Generator) -> Surface:
    field = rng.standard_normal((SIZE, SIZE))
    drawn = gaussian_filter(field, (rng.uniform(14, 40), rng.uniform(0.5, 1.2)))
    return rotate(
        _warp(rng, _stretch(drawn), rng.uniform(4, 20), 30), rng.uniform(0, 180), reshape=False, mode="reflect"
    )


def smooth(rng: np.random.Generator) -> Surface:
    return 0.4 + 0.3 * _noise(rng, rng.uniform(40, 80))


def grainy(rng: np.random.Generator) -> Surface:
    return _stretch(rng.standard_normal((SIZE, SIZE)) * rng.uniform(0.3, 1) + _noise(rng, 30))


def meshed(rng: np.random.Generator) -> Surface:
    x, y = _grid(rng, np.pi / 4)
    n = rng.uniform(7, 18)
    wave = 0.12 * np.sin(2 * np.pi * x * n), 0.12 * np.sin(2 * np.pi * y * n)
    return (((x * n + wave[1]) % 1 < 0.22) | ((y * n + wave[0]) % 1 < 0.22)).astype(float)


def stained(rng: np.random.Generator) -> Surface:
    n = rng.integers(2, 8)
    spots = _warp(rng, _discs(rng.uniform(0, 1, (n, 2)), rng.uniform(0.1, 0.3, n)), 20, 14)
    ring = np.exp(-((spots / 0.08) ** 2))
    return _stretch(0.5 * (spots > 0) + 0.5 * ring + 0.3 * _noise(rng, 3))


def _relief(rng: np.random.Generator, height: np.ndarray, *, strength: float) -> Surface:
    """The height as seen with light from one side."""
    height = gaussian_filter(height, 0.8)
    dy, dx = np.gradient(height * strength)
    turn = rng.uniform(0, 2 * np.pi)
    light = (dy * np.sin(turn) + dx * np.cos(turn) + 1) / np.sqrt(dy**2 + dx**2 + 1)
    return _stretch(light + 0.3 * _stretch(height))


PATTERNS: dict[str, tuple[Pattern, tuple[str, ...]]] = {  # a word: how to paint it, and words that mean the same
    "striped": (striped, ("stripes", "stripy", "stripe")),
    "lined": (lined, ("lines", "ruled")),
    "banded": (banded, ("bands", "banding")),
    "stratified": (stratified, ("strata", "layered", "layers")),
    "zigzagged": (zigzagged, ("zigzag", "chevron")),
    "chequered": (chequered, ("checkered", "checkerboard", "checks", "chequers")),
    "plaid": (plaid, ("tartan",)),
    "grid": (gridded, ("gridded", "lattice")),
    "waffled": (waffled, ("waffle",)),
    "crosshatched": (crosshatched, ("crosshatch", "hatched", "hatching", "cross-hatched")),
    "polka-dotted": (dotted, ("dotted", "dots", "polka dots")),
    "spotted": (spotted, ("spots", "spotty", "dappled")),
    "speckled": (speckled, ("specks", "flecked", "freckled", "sprinkled")),
    "blotchy": (blotchy, ("blotched", "blotches", "mottled", "patchy")),
    "marbled": (marbled, ("marbling",)),
    "veined": (veined, ("veins", "veiny")),
    "cracked": (cracked, ("cracks", "crackled", "fissured")),
    "crystalline": (crystalline, ("crystals", "crystallized", "faceted")),
    "cobwebbed": (cobwebbed, ("cobweb", "cobwebs", "webbed")),
    "bubbly": (bubbly, ("bubbles", "foamy", "frothy", "bubbling")),
    "bumpy": (bumpy, ("bumps", "lumpy", "knobbly")),
    "studded": (studded, ("studs",)),
    "pitted": (pitted, ("pits", "pockmarked", "potholed")),
    "perforated": (perforated, ("perforations", "punched")),
    "honeycombed": (honeycombed, ("hexagonal", "hexagons")),
    "braided": (braided, ("braids", "braid", "plaited", "interlaced")),
    "woven": (woven, ("weave", "wicker")),
    "knitted": (knitted, ("knit", "knitting")),
    "scaly": (scaly, ("scales", "scaled")),
    "swirly": (swirly, ("swirls", "swirling")),
    "spiralled": (spiralled, ("spiral", "spirals")),
    "wrinkled": (wrinkled, ("wrinkles", "crumpled", "creased")),
    "pleated": (pleated, ("pleats", "folded")),
    "grooved": (grooved, ("grooves", "ribbed", "corrugated")),
    "fibrous": (fibrous, ("fibers", "fibres", "stringy")),
    "smooth": (smooth, ("plain", "even")),
    "grainy": (grainy, ("gritty",)),
    "meshed": (meshed, ("mesh", "netting", "net")),
    "stained": (stained, ("stains",)),
}


def paint(surface: Surface, rng: np.random.Generator) -> np.ndarray:
    """A picture (SIZE, SIZE, 3) of bytes: the surface in two or three colours, often soft ones, under uneven light."""
    stops = rng.uniform(0, 1, (rng.integers(2, 4), 3))
    if rng.random() < 0.5:  # muted, as most things are
        stops = stops.mean(1, keepdims=True) + 0.25 * (stops - stops.mean(1, keepdims=True))
    brightness = stops.mean(1)
    stops = stops[np.argsort(brightness)]
    stops[0] *= rng.uniform(0.2, 0.8)
    stops[-1] = 1 - (1 - stops[-1]) * rng.uniform(0.2, 0.8)
    if rng.random() < 0.5:
        stops = stops[::-1]
    at = np.linspace(0, 1, len(stops))
    picture = np.stack([np.interp(surface, at, stops[:, k]) for k in range(3)], -1)
    light = 1 + rng.uniform(0, 0.5) * (_noise(rng, 60)[..., None] - 0.5)
    grain = rng.uniform(0, 0.06) * rng.standard_normal((SIZE, SIZE, 1))
    soft = gaussian_filter(picture * light + grain, (rng.uniform(0, 1.2),) * 2 + (0,))
    return (soft.clip(0, 1) * 255).astype(np.uint8)


def picture(word: str, seed: int) -> np.ndarray:
    """One picture of the pattern, (SIZE, SIZE, 3) bytes; the same seed gives the same picture."""
    rng = np.random.default_rng([seed, sorted(PATTERNS).index(word)])
    return paint(PATTERNS[word][0](rng), rng)
