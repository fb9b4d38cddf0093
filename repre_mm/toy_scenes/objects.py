"""Object classes: builders that draw random proportions and joint angles and return named parts.

The classes deliberately share part shapes (wheels, handles, boxes, ellipses): what distinguishes a class is the
arrangement of its parts, not a local cue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from repre_mm.toy_scenes.shapes import (
    arc,
    box,
    curve,
    densify,
    ellipse,
    lens,
    polygon,
    rotate,
    stroke,
)


class Part(NamedTuple):
    """A named part: its outline (N, 2). Parts are listed from back to front."""

    name: str
    outline: np.ndarray


def _bird(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    rx, ry = u(0.5, 0.65), u(0.28, 0.4)
    head, r = (-rx * u(0.8, 1.0), -ry * u(0.9, 1.3)), u(0.2, 0.28)
    tilt = u(-20, 20)
    root, end = rx * 0.7, rx + u(0.35, 0.55)
    tail = polygon((root, -0.12), (end, -0.2), (end + u(-0.1, 0.1), 0.14), (root, 0.12))
    beak = polygon((-0.8 * r, -0.55 * r), (-r - u(0.2, 0.32), 0.1 * r), (-0.8 * r, 0.6 * r))
    wing = lens((-0.3, 0), (0.6, 0.05), (0.1, -0.45), (0.1, 0.35))
    legs = [
        Part('leg', rotate(box(x - 0.04, ry * 0.7, x + 0.04, ry + u(0.3, 0.45)), u(-15, 15), (x, ry * 0.7)))
        for x in (-0.12, 0.16)
    ]
    body = [
        Part('tail', rotate(tail, u(-25, 25), (rx * 0.8, 0))),
        Part('body', ellipse(0, 0, rx, ry)),
        Part('wing', rotate(wing * u(0.8, 1.15), u(-70, 20), (-0.15, 0))),
    ]
    body = [Part(name, rotate(outline, tilt)) for name, outline in body]
    front = [Part('beak', beak + head), Part('head', ellipse(*head, r, r))]
    return legs + body + front


def _boat(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    top, depth, bottom = u(0.8, 1.0), u(0.3, 0.45), u(0.4, 0.7)
    x, height = u(-0.15, 0.15), u(1.0, 1.3)
    lean = u(-12, 12)
    rigging = [Part('mast', box(x - 0.045, -height, x + 0.045, 0.05))]
    sides = [(1, u(0.55, 0.8)), (-1, u(0.35, 0.6))][: rng.integers(1, 3)]
    for side, width in sides:
        foot, luff = u(0.08, 0.2), x + side * 0.07
        sail = polygon((luff, -height * u(0.9, 1.0)), (x + side * width, -foot), (luff, -foot))
        rigging.append(Part('sail', sail))
    hull = polygon((-top, 0), (top, 0), (bottom, depth), (-bottom * u(0.8, 1.2), depth))
    return [Part(name, rotate(o, lean, (x, 0))) for name, o in rigging] + [Part('hull', hull)]


def _car(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    roof, belt, sill = -u(0.5, 0.65), -u(0.05, 0.15), u(0.3, 0.4)
    front, back = u(-0.75, -0.5), u(0.55, 0.9)
    slope_front, slope_back = u(0.15, 0.35), u(0.05, 0.3)
    low = belt + 0.05
    cabin = polygon((front, low), (front + slope_front, roof), (back - slope_back, roof), (back, low))
    window = 0.68 * cabin + 0.32 * cabin.mean(axis=0)
    r = u(0.2, 0.28)
    wheels = [Part('wheel', ellipse(x, sill, r, r)) for x in (-u(0.5, 0.65), u(0.5, 0.65))]
    return [
        Part('cabin', cabin),
        Part('window', window),
        Part('body', box(-1, belt, 1, sill, u(0.08, 0.2))),
        *wheels,
    ]


def _chair(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    half, thick, drop = u(0.42, 0.58), u(0.14, 0.24), u(0.6, 0.8)
    width = u(0.09, 0.14)
    legs = []
    for x, inset in ((-half, 0.06), (half, -0.06), (-half * 0.35, 0), (half * 0.45, 0))[: rng.integers(2, 5)]:
        length = drop if inset else drop * 0.8
        leg = box(x + inset - width / 2, 0, x + inset + width / 2, length)
        legs.append(Part('leg', rotate(leg, u(-10, 10), (x + inset, 0))))
    tall, wide = u(0.7, 1.0), u(0.14, 0.3)
    back = rotate(box(half - wide, -tall, half, 0.1, 0.06), u(-5, 22), (half, 0))
    return [*legs, Part('back', back), Part('seat', box(-half - 0.05, 0, half + 0.05, thick, 0.06))]


def _cup(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    w, h, taper, rim = u(0.5, 0.68), u(0.55, 0.75), u(0.65, 1.0), u(0.08, 0.18)
    foot = arc(0, h - 0.06, w * taper, 0.12, 0, 180)
    body = np.concatenate([polygon((-w, -h), (w, -h)), foot])
    x = w * (1 + taper) / 2 - 0.05
    handle = stroke(arc(x, u(-0.15, 0.1), u(0.32, 0.5), u(0.3, 0.45), -95, 95), u(0.13, 0.2))
    return [Part('handle', handle), Part('body', body), Part('rim', ellipse(0, -h, w, rim))]


def _fish(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    rx, ry = u(0.6, 0.75), u(0.3, 0.42)
    body = lens((-rx, 0), (rx, 0), (0, -2 * ry), (0, 2 * ry))
    spread, notch = u(0.25, 0.4), u(0.1, 0.25)
    tail = polygon((rx - 0.12, 0), (rx + 0.42, -spread), (rx + 0.42 - notch, 0), (rx + 0.42, spread))
    top = polygon((-0.25, 0.1), (u(-0.1, 0.1), -u(0.22, 0.35)), (0.4, -u(0.05, 0.2)), (0.35, 0.1))
    low = rotate(polygon((-0.1, 0), (0.25, -0.05), (0.3, 0.28)), u(-30, 30)) + (-0.1, ry * 0.25)
    r = u(0.06, 0.09)
    return [
        Part('fin', top - (0, ry * 0.85)),
        Part('tail', rotate(tail, u(-25, 25), (rx - 0.1, 0))),
        Part('body', body),
        Part('fin', low),
        Part('eye', ellipse(-rx * u(0.6, 0.72), -ry * 0.15, r, r)),
    ]


def _house(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    half, wall, roof, eave, ridge = u(0.6, 0.75), u(0.6, 0.8), u(0.4, 0.65), u(0.08, 0.2), u(0.0, 0.4)
    parts = []
    if rng.random() < 0.5:
        x = rng.choice([-1, 1]) * u(0.3, 0.45)
        parts.append(Part('chimney', box(x - 0.09, -roof - 0.1, x + 0.09, 0)))
    parts.append(Part('wall', box(-half, -0.02, half, wall)))
    parts.append(Part('roof', polygon((-half - eave, 0), (-ridge, -roof), (ridge, -roof), (half + eave, 0))))
    door, side = u(-0.1, 0.1), rng.choice([-1, 1])
    x, w = door + side * half * 0.45, u(0.13, 0.18)
    parts.append(Part('door', box(x - w, wall - u(0.4, 0.52), x + w, wall)))
    x, y, w = door - side * half * 0.45, u(0.22, 0.36), u(0.13, 0.18)
    parts.append(Part('window', box(x - w, y - w, x + w, y + w)))
    return parts


def _lamp(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    base, joint = u(0.3, 0.45), (u(-0.25, 0.25), u(0.0, 0.25))
    tip = (u(-0.3, 0.3), -u(0.35, 0.5))
    path = np.concatenate([np.linspace((0, 0.9), joint, 6), np.linspace(joint, tip, 6)[1:]])
    top, low, height = u(0.15, 0.28), u(0.42, 0.58), u(0.45, 0.6)
    dome = arc(0, 0.95, base, u(0.15, 0.3), 180, 360)
    shade = polygon((-top, -height), (top, -height), (low, 0), (-low, 0)) + tip + np.array([0, 0.12])
    return [
        Part('stem', stroke(path, u(0.09, 0.15))),
        Part('base', np.concatenate([dome, polygon((base, 1.0), (-base, 1.0))])),
        Part('shade', rotate(shade, u(-35, 35), tip)),
    ]


def _teapot(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    rx, ry = u(0.52, 0.65), u(0.42, 0.55)
    reach, rise = u(0.45, 0.6), u(0.3, 0.55)
    spout = curve((-rx * 0.7, 0.2), (-rx - 0.15, 0.2), (-rx - reach, -rise))
    handle = arc(rx * 0.85, u(-0.1, 0.1), u(0.35, 0.5), u(0.28, 0.4), -100, 100)
    w, h = rx * u(0.5, 0.65), u(0.12, 0.2)
    lid = arc(0, -ry * 0.8, w, h + 0.08, 180, 360)
    r = u(0.07, 0.11)
    return [
        Part('spout', stroke(spout, np.linspace(u(0.3, 0.4), u(0.12, 0.18), len(spout)))),
        Part('handle', stroke(handle, u(0.12, 0.19))),
        Part('body', ellipse(0, 0, rx, ry)),
        Part('lid', lid),
        Part('knob', ellipse(0, -ry * 0.8 - h - 0.08 - r * 0.5, r, r)),
    ]


def _truck(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    split, sill, roof, nose = u(0.2, 0.42), u(0.3, 0.4), -u(0.1, 0.35), u(0.05, 0.25)
    cab = polygon((split, sill), (split, roof), (1 - nose, roof), (1, 0.05), (1, sill))
    left, top = split + 0.12, roof + 0.1
    window = polygon((left, top), (0.95 - nose, top), (0.9, 0.08), (left, 0.08))
    r = u(0.18, 0.25)
    axles = (-u(0.6, 0.75), u(0.55, 0.7), -u(0.1, 0.2))[: rng.integers(2, 4)]
    return [
        Part('cab', cab),
        Part('window', window),
        Part('cargo', box(-1, -u(0.5, 0.75), split - 0.04, sill)),
        *(Part('wheel', ellipse(x, sill + 0.03, r, r)) for x in axles),
    ]


_BUILDERS: dict[str, tuple[Callable[[np.random.Generator], list[Part]], tuple[str, ...]]] = {
    'bird': (_bird, ('beak', 'body', 'head', 'leg', 'tail', 'wing')),
    'boat': (_boat, ('hull', 'mast', 'sail')),
    'car': (_car, ('body', 'cabin', 'wheel', 'window')),
    'chair': (_chair, ('back', 'leg', 'seat')),
    'cup': (_cup, ('body', 'handle', 'rim')),
    'fish': (_fish, ('body', 'eye', 'fin', 'tail')),
    'house': (_house, ('chimney', 'door', 'roof', 'wall', 'window')),
    'lamp': (_lamp, ('base', 'shade', 'stem')),
    'teapot': (_teapot, ('body', 'handle', 'knob', 'lid', 'spout')),
    'truck': (_truck, ('cab', 'cargo', 'wheel', 'window')),
}

CLASSES: tuple[str, ...] = tuple(_BUILDERS)
PARTS: dict[str, tuple[str, ...]] = {name: parts for name, (_, parts) in _BUILDERS.items()}


def build_object(name: str, rng: np.random.Generator) -> list[Part]:
    """Build a random object of class ``name`` in a random pose, centred on the origin.

    Args:
        name: One of :data:`CLASSES`.
        rng: Source of proportions, joint angles and pose.

    Returns:
        Its parts from back to front. The bounding box of all outlines is centred on (0, 0) and has area 1, whatever
        the class: size says nothing about it.
    """
    parts = _BUILDERS[name][0](rng)
    flip = rng.choice([-1.0, 1.0])
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    shear, angle = rng.uniform(-0.15, 0.15), np.clip(rng.normal(0, 12), -40, 40)
    amplitude, phase = rng.uniform(0, 0.08), rng.uniform(0, 2 * np.pi)
    outlines = []
    for part in parts:
        o = densify(part.outline, 0.1)
        o[:, 1] += amplitude * np.sin(2.5 * o[:, 0] + phase)
        o[:, 0] += shear * o[:, 1]
        outlines.append(rotate(o * (flip * stretch, 1 / stretch), angle))
    points = np.concatenate(outlines)
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.sqrt(np.prod(high - low))
    return [Part(p.name, (o - (low + high) / 2) / size) for p, o in zip(parts, outlines, strict=True)]
