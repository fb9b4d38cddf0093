"""Outlines: closed polygons as float arrays ``(N, 2)`` of (x, y), x to the right, y down."""

from __future__ import annotations

import numpy as np


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """The polygon through ``points``."""
    return np.array(points, dtype=np.float64)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """An axis-parallel ellipse with centre ``(cx, cy)`` and radii ``rx``, ``ry``."""
    return arc(cx, cy, rx, ry, 0, 360)[:-1]


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> np.ndarray:
    """A rectangle, its corners rounded with ``radius`` (clipped to half the shorter side)."""
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    if radius <= 0:
        return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    left, right, top, bottom = x0 + radius, x1 - radius, y0 + radius, y1 - radius
    corners = [(right, bottom, 0), (left, bottom, 90), (left, top, 180), (right, top, 270)]
    rounded = [arc(cx, cy, radius, radius, start, start + 90, n=7) for cx, cy, start in corners]
    return np.concatenate(rounded)


def arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float, n: int = 33) -> np.ndarray:
    """``n`` points on an ellipse from angle ``start`` to ``stop`` (degrees; 0 = right, 90 = down)."""
    t = np.deg2rad(np.linspace(start, stop, n))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def curve(*control: tuple[float, float], n: int = 17) -> np.ndarray:
    """``n`` points on the Bezier curve with 3 control points."""
    p0, p1, p2 = np.array(control, dtype=np.float64)
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) ** 2 * p0 + 2 * t * (1 - t) * p1 + t**2 * p2


def lens(
    start: tuple[float, float],
    stop: tuple[float, float],
    above: tuple[float, float],
    below: tuple[float, float],
) -> np.ndarray:
    """The closed shape between two Bezier curves from ``start`` to ``stop``, one by each control point."""
    return np.concatenate([curve(start, above, stop), curve(stop, below, start)])


def stroke(path: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline of a line along ``path`` (N, 2), of ``width`` (one number, or one for each point)."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    half = np.broadcast_to(np.asarray(width, dtype=np.float64) / 2, (len(path),))[:, None]
    return np.concatenate([path + half * normal, (path - half * normal)[::-1]])


def blob(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A random smooth closed shape about the origin, of about ``radius``."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    r = np.ones_like(t)
    for k in (2, 3, 4):
        r += rng.uniform(0, 0.5 / k) * np.cos(k * t + rng.uniform(0, 2 * np.pi))
    return radius * np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def rotate(outline: np.ndarray, degrees: float, pivot: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """``outline`` turned by ``degrees`` (clockwise on screen, as y points down) about ``pivot``."""
    a = np.deg2rad(degrees)
    matrix = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return (outline - pivot) @ matrix.T + pivot


def densify(outline: np.ndarray, step: float) -> np.ndarray:
    """``outline`` with points added so that no edge is longer than ``step``: it can then be bent smoothly."""
    ends = np.roll(outline, -1, axis=0)
    counts = np.maximum(1, np.ceil(np.linalg.norm(ends - outline, axis=1) / step).astype(int))
    pieces = [a + (b - a) * (np.arange(n) / n)[:, None] for a, b, n in zip(outline, ends, counts, strict=True)]
    return np.concatenate(pieces)
