"""Pixels of a scene: 48 x 48 RGB, anti-aliased shapes with a pixel of jitter and sensor noise; PNG bytes.

A cell is 16 pixels wide; a large object has radius 7.0 pixels, a small one 4.4; stripes are bands two
pixels high at 45 % brightness. Noise (sd 8) and jitter depend on the scene's id alone, from numpy's
frozen ``RandomState``.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasks.miniscenes.world import ROWS, Scene, of_sample

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]
CELL, OVER = 16, 4
SIDE = CELL * len(ROWS)
NOISE, STRIPE = 8.0, 0.45
RADIUS = {"large": 7.0, "small": 4.4}
RGB = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (60, 90, 235),
    "yellow": (240, 220, 50),
    "purple": (160, 60, 200),
    "cyan": (60, 210, 220),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (12, 12, 12),
    "gray": (110, 110, 110),
    "navy": (20, 25, 80),
    "brown": (95, 60, 35),
}


def _square(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)))


def _up(x: Plane, y: Plane) -> Plane:
    """0 at the centre of an upward triangle, 1 at its edge."""
    return np.asarray(np.maximum(y / 0.75, 2 * np.abs(x) - y))


def _round(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.hypot(x, y))


# Inside or outside at (x, y) in units of the radius, x to the right and y down.
SHAPES: dict[str, Callable[[Plane, Plane], Mask]] = {
    "disc": lambda x, y: _round(x, y) <= 1,
    "ring": lambda x, y: (_round(x, y) <= 1) & (_round(x, y) >= 0.58),
    "target": lambda x, y: (_round(x, y) <= 0.36) | ((_round(x, y) <= 1) & (_round(x, y) >= 0.7)),
    "tile": lambda x, y: _square(x, y) <= 0.86,
    "frame": lambda x, y: (_square(x, y) <= 0.9) & (_square(x, y) >= 0.5),
    "diamond": lambda x, y: np.abs(x) + np.abs(y) <= 1.05,
    "pyramid": lambda x, y: _up(x, y) <= 1,
    "funnel": lambda x, y: _up(x, -y) <= 1,
    "delta": lambda x, y: (_up(x, y) <= 1) & (_up(x, y - 0.1) >= 0.42),
    "plus": lambda x, y: (_square(x, y) <= 1) & ((np.abs(x) <= 0.3) | (np.abs(y) <= 0.3)),
    "saltire": lambda x, y: (_square(x, y) <= 0.9) & ((np.abs(x - y) <= 0.42) | (np.abs(x + y) <= 0.42)),
    "tee": lambda x, y: (_square(x, y) <= 1) & ((np.abs(x) <= 0.28) | (y <= -0.45)),
    "plank": lambda x, y: (np.abs(x) <= 1) & (np.abs(y) <= 0.32),
    "pole": lambda x, y: (np.abs(y) <= 1) & (np.abs(x) <= 0.32),
    "slash": lambda x, y: (np.abs(x + y) <= 0.42) & (_square(x, y) <= 0.95),
    "dome": lambda x, y: (np.hypot(x, y - 0.5) <= 1.1) & (y <= 0.5),
    "bowl": lambda x, y: (np.hypot(x, y + 0.5) <= 1.1) & (y >= -0.5),
    "crescent": lambda x, y: (_round(x, y) <= 1) & (np.hypot(x - 0.55, y) >= 0.8),
}


def pixels(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene, (48, 48, 3) bytes."""
    seed = int.from_bytes(hashlib.sha256(scene.id.encode()).digest()[:4], "little")
    source = np.random.RandomState(seed)
    picture = np.empty((SIDE, SIDE, 3))
    picture[:] = RGB[scene.background]
    for thing in scene.things:
        shift = source.randint(-1, 2, size=2)
        top, left = thing.row * CELL, thing.column * CELL
        cover, shade = _cover(thing.name, thing.size, thing.texture, int(shift[0]), int(shift[1]))
        region = picture[top : top + CELL, left : left + CELL]
        colour = np.array(RGB[thing.colour]) * shade[:, :, None]
        region += cover[:, :, None] * (colour - region)
    picture += source.normal(0, NOISE, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


@functools.cache
def _cover(name: str, size: str, texture: str, down: int, right: int) -> tuple[Plane, Plane]:
    """How much of each pixel of its cell an object covers (16, 16), and its brightness there (16, 16)."""
    steps = (np.arange(CELL * OVER) + 0.5) / OVER - CELL / 2
    x, y = np.meshgrid(steps - right, steps - down)
    inside = SHAPES[name](x / RADIUS[size], y / RADIUS[size]).astype(np.float64)
    cover = inside.reshape(CELL, OVER, CELL, OVER).mean(axis=(1, 3))
    bands = np.where((texture == "striped") & ((np.arange(CELL) // 2) % 2 == 1), STRIPE, 1.0)
    return cover, np.repeat(bands[:, None], CELL, axis=1)


def png(picture: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an RGB picture (height, width, 3)."""
    height, width, _ = picture.shape
    lines = b"".join(b"\0" + picture[line].tobytes() for line in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def picture(sample_id: str) -> bytes:
    """PNG bytes of a sample's scene."""
    return png(pixels(of_sample(sample_id)))
