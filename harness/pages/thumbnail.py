"""A small picture of an image, as a ``data:`` address that a page can hold.

160 pixels and JPEG quality 55 keep 500 photographs under 6 MB; the same bytes every time.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

EDGE = 160
QUALITY = 55
FORMATS = ("JPEG", "PNG", "GIF", "BMP")  # by content; twelve files of Oxford-IIIT Pet called .jpg are none


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture's address and the size it is shown in; a tiny one is shown enlarged."""

    address: str
    width: int
    height: int


def thumbnail(source: Path | io.BytesIO) -> Thumbnail | None:
    """The image of a file, or of its bytes, made small, or None where there is none or it cannot be read."""
    from PIL import Image, ImageOps

    if isinstance(source, Path) and not source.is_file():
        return None
    try:
        with Image.open(source, formats=FORMATS) as image:
            image.draft("RGB", (2 * EDGE, 2 * EDGE))  # a JPEG is decoded at an eighth of its size where that will do
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((EDGE, EDGE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY, optimize=True)
    times = max(1, EDGE // max(small.size))
    address = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return Thumbnail(address, times * small.width, times * small.height)
