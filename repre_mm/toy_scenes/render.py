"""Paint scenes: objects, clutter and shadows over a background, with the visible part at every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from repre_mm.toy_scenes.objects import Part, build_object
from repre_mm.toy_scenes.shapes import blob, box, rotate
from repre_mm.toy_scenes.textures import (
    STUFF,
    background,
    contrasting_color,
    random_color,
    surface,
)

_SUPERSAMPLE = 4
_CLUTTER = -1
_SMALLEST = 30  # pixels that a person needs to recognise an object


@dataclass
class Scene:
    """A picture and its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        owner: (H, W) int16, the part seen at a pixel: ``k`` for ``parts[k - 1]``, 0 for no object.
        stuff: (H, W) uint8, the index into ``STUFF`` of what lies behind the objects.
        objects: The class name of each object, from back to front.
        parts: Object index and part name of each part.
    """

    image: np.ndarray
    owner: np.ndarray
    stuff: np.ndarray
    objects: list[str]
    parts: list[tuple[int, str]]

    def part_mask(self, index: int) -> np.ndarray:
        """The visible pixels (H, W) bool of ``parts[index]``."""
        return self.owner == index + 1

    def object_mask(self, index: int) -> np.ndarray:
        """The visible pixels (H, W) bool of ``objects[index]``: the union of its parts."""
        return np.isin(self.owner, [k + 1 for k, (owner, _) in enumerate(self.parts) if owner == index])


class _Canvas:
    """A scene under construction; the painter's order is the order of the calls."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.shape = height, width
        self.image, self.stuff = background(rng, height, width)
        self.owner = np.zeros((height, width), np.int16)
        self.objects: list[str] = []
        self.parts: list[tuple[int, str]] = []
        self._full: list[int] = []

    def coverage(self, outline: np.ndarray) -> np.ndarray:
        """Share of each pixel (H, W), in [0, 1], that the ``outline`` (N, 2; pixels) covers."""
        height, width = self.shape
        fine = np.zeros((height * _SUPERSAMPLE, width * _SUPERSAMPLE), np.uint8)
        fixed = np.round((outline * _SUPERSAMPLE - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [fixed], 255, shift=4)
        return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def hides_too_much(self, cover: np.ndarray, keep: float) -> bool:
        """Whether painting ``cover`` would leave less than ``keep`` of an object's first visible area."""
        free = cover < 0.5
        for index, full in enumerate(self._full):
            ids = [k + 1 for k, (owner, _) in enumerate(self.parts) if owner == index]
            if (np.isin(self.owner, ids) & free).sum() < keep * full:
                return True
        return False

    def paint(self, cover: np.ndarray, color: np.ndarray, owner: int, scale: float) -> None:
        """Lay a textured surface over the pixels in ``cover``; its rim is darker, as on a rounded body."""
        texture = surface(self.rng, color, *self.shape, scale)
        sigma = max(0.8, 0.03 * scale * max(self.shape))
        inner = cv2.GaussianBlur(cover, (0, 0), sigma)
        texture *= (0.6 + 0.4 * np.clip(inner * 1.1, 0, 1))[..., None]
        self.image += cover[..., None] * (texture - self.image)
        self.owner[cover >= 0.5] = owner

    def add_object(self, name: str, parts: list[Part], scale: float, keep: float) -> bool:
        """Paint an object (outlines in pixels) unless it would hide too much; say whether it was painted."""
        covers = [self.coverage(part.outline) for part in parts]
        union = np.max(covers, axis=0)
        covered = union >= 0.5
        visible = int(covered.sum())
        if visible < _SMALLEST or self.hides_too_much(union, keep):
            return False
        self._shadow(union, scale)
        regions = [covered & (self.stuff == k) for k in np.unique(self.stuff[covered])]
        behind = [self.image[region].mean(axis=0) for region in regions]
        main = contrasting_color(self.rng, behind, 30)
        colors = {}
        for part_name in dict.fromkeys(part.name for part in parts):
            tone = main * self.rng.uniform(0.8, 1.2)
            colors[part_name] = tone if self.rng.random() < 0.7 else contrasting_color(self.rng, behind, 30)
        for part, cover in zip(parts, covers, strict=True):
            self.parts.append((len(self.objects), part.name))
            self.paint(cover, colors[part.name], len(self.parts), scale)
        self.objects.append(name)
        self._full.append(visible)
        return True

    def _shadow(self, cover: np.ndarray, scale: float) -> None:
        reach = scale * max(self.shape)
        dx, dy = self.rng.uniform(-0.1, 0.1) * reach, self.rng.uniform(0, 0.1) * reach
        moved = cv2.warpAffine(cover, np.float32([[1, 0, dx], [0, 1, dy]]), self.shape[::-1])
        soft = cv2.GaussianBlur(moved, (0, 0), max(0.8, 0.05 * reach))
        self.image *= (1 - self.rng.uniform(0.1, 0.5) * soft)[..., None]

    def add_clutter(self, scale: float, keep: float) -> None:
        """Paint a meaningless blob or bar of about ``scale`` of the longer side, unless it hides too much."""
        rng, size = self.rng, scale * max(self.shape)
        if rng.random() < 0.5:
            outline = blob(rng, size / 2)
        else:
            half = size * np.array([0.5, rng.uniform(0.1, 0.5)])
            outline = rotate(box(*-half, *half, rng.choice([0.0, 0.2]) * size), rng.uniform(0, 180))
        cover = self.coverage(outline + rng.uniform(0, 1, 2) * self.shape[::-1])
        if self.hides_too_much(cover, keep):
            return
        self.paint(cover, random_color(rng), _CLUTTER, scale)

    def finish(self) -> Scene:
        """Apply the camera (light, colour cast, blur, sensor noise) and return the scene."""
        rng, image = self.rng, self.image
        image = np.clip(image, 0, 1) ** rng.uniform(0.75, 1.35)
        image = (image - 0.5) * rng.uniform(0.7, 1.15) + 0.5 + rng.uniform(-0.1, 0.1)
        image *= rng.uniform(0.85, 1.15, 3).astype(np.float32)
        if rng.random() < 0.3:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
        image += rng.normal(0, rng.uniform(0.002, 0.03), image.shape)
        stuff = np.where(self.owner == _CLUTTER, STUFF.index('clutter'), self.stuff).astype(np.uint8)
        pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
        return Scene(pixels, np.maximum(self.owner, 0), stuff, self.objects, self.parts)


def render_portrait(name: str, rng: np.random.Generator, size: int) -> Scene:
    """Paint a square picture of ``size`` pixels with one object of class ``name``, at least 80 % visible."""
    canvas = _Canvas(rng, size, size)
    for _ in range(rng.integers(0, 2)):
        canvas.add_clutter(rng.uniform(0.08, 0.2), 0)
    parts = build_object(name, rng)
    points = np.concatenate([part.outline for part in parts])
    extent = np.ptp(points, axis=0).max()
    scale = min(rng.uniform(0.7, 0.95), 0.98 / extent)
    room = np.maximum(0, 1 - scale * np.ptp(points, axis=0)) / 2
    centre = 0.5 + rng.uniform(-0.8, 0.8, 2) * room
    placed = [Part(p.name, (p.outline * scale + centre) * size) for p in parts]
    if not canvas.add_object(name, placed, scale, 0):
        raise ValueError(f'image_size={size} is too small to show a {name}; choose a larger one')
    for _ in range(rng.integers(0, 2)):
        canvas.add_clutter(rng.uniform(0.08, 0.2), 0.8)
    return canvas.finish()


def render_scene(names: list[str], rng: np.random.Generator, height: int, width: int) -> Scene:
    """Paint a picture with objects of the classes ``names``, lower ones in front, each at least 40 % visible.

    An object that finds no place in 8 tries is left out.
    """
    canvas = _Canvas(rng, height, width)
    for _ in range(rng.integers(0, 6)):
        canvas.add_clutter(rng.uniform(0.04, 0.15), 0)
    for name, y in zip(names, np.sort(rng.uniform(0.15, 0.85, len(names))), strict=True):
        parts = build_object(name, rng)
        scale = rng.uniform(0.25, 0.6) * height
        for _ in range(8):
            centre = rng.uniform(0.05, 0.95) * width, y * height
            placed = [Part(p.name, p.outline * scale + centre) for p in parts]
            if canvas.add_object(name, placed, scale / max(height, width), 0.4):
                break
    for _ in range(rng.integers(0, 3)):
        canvas.add_clutter(rng.uniform(0.04, 0.12), 0.4)
    return canvas.finish()
