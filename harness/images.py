"""The one opener of images: every part sees what a person sees, as 8-bit RGB by PIL.

Orientation (EXIF) is applied. What is transparent lies on white, as a vLLM server paints it. 16-bit grey keeps its high
byte; other integers and floats are read as 0 to 1 (floats), 0 to 255 or 0 to 65,535, whichever holds all values, else
stretched from least to largest; NaN is black. Of an animation, the first frame. ICC profiles are not applied and not
kept. An RGB, grey or palette image without any of these has the pixels of ``Image.open(path).convert("RGB")``.
What a file is follows from its content, never from its name.
"""

from __future__ import annotations

import errno
import io
import logging
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from harness.errors import ImageError

# Not all that Pillow can open: on EPS it would run Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Formats that servers read and the media type of each; MPO is a JPEG with further pictures behind it.
SENT = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
# What Pillow raises on damaged files, found by changing and cutting bytes of files of all formats.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
)
MAGIC = {
    b"\x89PNG": "damaged PNG",
    b"\xff\xd8": "damaged JPEG",
    b"GIF8": "damaged GIF",
    b"RIFF": "damaged WebP",
    b"II*\0": "damaged TIFF",
    b"MM\0*": "damaged TIFF",
    b"version https://git-lfs": "Git LFS pointer",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP archive",
    b"\x1f\x8b": "gzip file",
}


def open_image(source: Path | bytes, name: str = "", *, edge: int | None = None) -> Any:
    """An image file, or the bytes of one, as PIL RGB, upright and on white.

    Args:
        name: what errors call it, such as ``s0.tar: 0001.png``; the name of the file by default.
        edge: pixels that suffice for an edge; a JPEG is then decoded at a half, quarter or eighth of its size.

    Raises:
        ImageError: the file is missing, damaged, no image, or has more pixels than Pillow decodes (179 million).
    """
    with _reading(source, name) as image:
        if edge is not None:
            image.draft("RGB", (edge, edge))
        image.load()  # before the orientation is read: Pillow has turned a TIFF by then
        return _upright(_rgb(image), _orientation(image))


def area(path: Path | None) -> int:
    """Width times height from the header; 0 where there is no image or it cannot be read."""
    try:
        with _reading(path or b"", "") as image:
            return int(image.width * image.height)
    except ImageError:
        return 0


def fault(path: Path) -> str | None:
    """Why a file cannot be read as an image, or None; all of it is decoded."""
    try:
        open_image(path)
    except ImageError as error:
        return error.reason
    return None


def for_server(path: Path) -> tuple[str, bytes]:
    """Media type and bytes of an image for a request: the file's own where any reader sees the same, else a PNG.

    Raises:
        ImageError: as for ``open_image``.
    """
    with _reading(path, "") as image:
        image.load()
        orientation, frames = _orientation(image), getattr(image, "n_frames", 1)  # formats of one frame lack it
        plain = image.mode in ("RGB", "L") and not image.has_transparency_data and orientation == 1
        if plain and image.format in SENT and (frames == 1 or image.format == "MPO"):
            return SENT[image.format], path.read_bytes()
        content = io.BytesIO()
        _upright(_rgb(image), orientation).save(content, "PNG")
    return "image/png", content.getvalue()


def _rgb(image: Any) -> Any:
    """An opened image as RGB on white."""
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    over = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGB", over.size, "white")
    white.paste(over, mask=over.getchannel("A"))
    return white


def _eight_bits(image: Any) -> Any:
    """A grey image of more than eight bits as mode L; its transparent grey level is white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    grey = values >> 8 if sixteen else _scaled(values)
    if isinstance(key := image.info.get("transparency"), int):
        grey = np.where(values == key, 255, grey)
    return Image.fromarray(grey.astype(np.uint8))


def _scaled(values: Any) -> Any:
    """Numbers of an unknown range as 0 to 255; ValueError where none is finite."""
    import numpy as np

    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("no finite value")
    low, high = float(finite.min()), float(finite.max())
    numbers = np.nan_to_num(values.astype(np.float64), nan=min(low, 0.0), posinf=high, neginf=low)
    if low < 0 or high > 65535:
        numbers = (numbers - low) * 255 / ((high - low) or 1.0)
    elif high > 255:
        numbers = numbers // 256
    elif high <= 1 and values.dtype.kind == "f":
        numbers = numbers * 255
    return np.rint(numbers).clip(0, 255)


def _orientation(image: Any) -> int:
    """1 to 8 as in EXIF, 1 where there is none or one that means nothing; 0 where the EXIF data cannot be read."""
    from PIL import ExifTags

    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in range(1, 9) else 1
    except DAMAGE:
        return 0


def _upright(rgb: Any, orientation: int) -> Any:
    """The image turned by an orientation, without data by which another reader would turn it again."""
    from PIL import ExifTags, ImageOps

    rgb.info = {}
    if orientation > 1:
        rgb.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(rgb, in_place=True)
    return rgb


@contextmanager
def _reading(source: Path | bytes, name: str) -> Iterator[Any]:
    """The image as Pillow opens it; whatever goes wrong until the end of the block is an ImageError."""
    from PIL import Image

    # Pillow's remarks on odd files are no use to a user, who is told of what cannot be read.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    head = b""
    try:
        with _stream(source) as stream:
            head = stream.read(512)
            stream.seek(0)
            with Image.open(stream, formats=_formats()) as image:
                if not all(image.size):
                    raise ValueError("no pixels")
                yield image
    except (*DAMAGE, Image.DecompressionBombError) as error:
        where = name or (source.name if isinstance(source, Path) else "")
        raise ImageError(*_why(error, head), where=where) from error


def _stream(source: Path | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not stat.S_ISREG(mode := source.stat().st_mode):  # opening a pipe would wait for ever
        raise OSError(errno.EINVAL, "is a folder" if stat.S_ISDIR(mode) else "is no regular file")
    return source.open("rb")


@cache
def _formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that this build of Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _why(error: Exception, head: bytes) -> tuple[str, str]:
    """What is wrong, and the reason in a few words, without the place of the file."""
    from PIL import Image, UnidentifiedImageError

    known, reason = "is no image that can be read", _kind(head)
    if isinstance(error, Image.DecompressionBombError):
        reason = f"over {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    elif isinstance(error, OSError) and error.strerror:
        known, reason = "image cannot be read", error.strerror.lower().removesuffix(" or directory")
    elif "truncated" in str(error).lower():
        known, reason = "image cannot be read", "truncated"
    elif not isinstance(error, UnidentifiedImageError):
        reason = f"{reason}: {str(error).partition('(')[0].strip()[:80] or type(error).__name__}"
    return known, reason


def _kind(head: bytes) -> str:
    """What a file is, by its first bytes."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head.strip(b"\0"):
        return "only zero bytes" if head else "empty file"
    if magic := next((what for begin, what in MAGIC.items() if head.startswith(begin)), None):
        return magic
    if head[4:8] == b"ftyp":
        return f"{head[8:12].decode('ascii', 'replace')} container, such as HEIC or video"
    if b"<html" in text or text.startswith(b"<!doctype html"):
        return "HTML page"
    if text[:1] in (b"<", b"{"):
        return "SVG, XML or JSON"
    return "text file" if head.isascii() and b"\0" not in head else "no known format"
