"""One opener: every part sees an image as a person does, and a file that is none is one line that names it."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from harness import images, registry
from harness.errors import ImageError
from harness.pages.thumbnail import thumbnail
from harness.resources import data

ORIENTATION = 0x0112
# What a viewer does with the stored rows, by EXIF orientation (CIPA DC-008, table of tag 0x0112).
TURNED: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
WHITE = [255] * 3


def picture() -> Image.Image:
    """20 x 12 pixels without any symmetry."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def exif(orientation: int) -> Image.Exif:
    """EXIF data with an orientation."""
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def seen(content: bytes | Path) -> Any:
    """Pixels (height, width, 3)."""
    return np.asarray(images.open_image(content, "it"))


def row(mode: str, values: Any, form: str = "PNG", **options: Any) -> bytes:
    """An image file of one row of pixels."""
    return saved(Image.fromarray(np.asarray([values])) if mode == "" else _of(mode, values), form, **options)


def _of(mode: str, values: Any) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    image.putdata(values)
    return image


def palette(**options: Any) -> bytes:
    """A palette image of red and green; options of the PNG."""
    image = _of("P", [0, 1])
    image.putpalette([255, 0, 0, 0, 255, 0])
    return saved(image, "PNG", **options)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        *((mode, "PNG") for mode in ("RGB", "L", "1", "P")),
        *((mode, "JPEG") for mode in ("RGB", "L", "CMYK")),
        *(("RGB", form) for form in ("WEBP", "GIF", "BMP", "TIFF", "PPM")),
        ("YCbCr", "TIFF"),
        ("CMYK", "TIFF"),
    ],
)
def test_ordinary_images_have_the_pixels_of_pillow(mode: str, form: str) -> None:
    content = saved(picture().convert(mode), form)
    assert (seen(content) == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


def test_the_embedded_scenes_are_unchanged() -> None:
    task = registry.task("miniscenes")
    assert task.draw is not None
    for sample in data.samples(task)[:5]:
        content = task.draw(sample.id)
        assert (seen(content) == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_every_part_turns_an_image_as_a_viewer_does(
    form: str, options: dict[str, Any], orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / "turned.dat"
    path.write_bytes(saved(picture(), form, exif=exif(orientation), **options))
    stored = np.asarray(Image.open(io.BytesIO(saved(picture(), form, **options))))
    image, expected = images.open_image(path), TURNED[orientation](stored)
    assert (np.asarray(image) == expected).all()
    assert (np.asarray(ImageOps.exif_transpose(image)) == expected).all(), "vLLM would turn it once more"
    kind, sent = images.for_server(path)
    assert (np.asarray(Image.open(io.BytesIO(sent))) == expected).all()
    assert (sent == path.read_bytes()) is (orientation == 1 and form != "TIFF")
    assert kind == {"JPEG": "image/jpeg", "WEBP": "image/webp"}.get(form if orientation == 1 else "", "image/png")
    small = thumbnail(path)
    assert small is not None and (small.width > small.height) is (orientation < 5)


SEEN = {
    "16-bit grey PNG": (row("", np.array([0, 255, 0x80FF, 65535], np.uint16)), [0, 0, 128, 255]),
    "16-bit grey TIFF": (row("", np.array([0x1234, 65535], np.uint16), "TIFF"), [18, 255]),
    "big-endian TIFF": (row("", np.array([0x1234, 65535], ">u2"), "TIFF"), [18, 255]),
    "16-bit grey PGM": (row("", np.array([0x1234, 65535], np.uint16), "PPM"), [18, 255]),
    "16-bit grey with a transparent level": (row("", np.array([7, 512], np.uint16), transparency=7), [255, 2]),
    "32-bit of 8": (row("", np.array([3, 200], np.int32), "TIFF"), [3, 200]),
    "32-bit of 16": (row("", np.array([0, 0x1234], np.int32), "TIFF"), [0, 18]),
    "32-bit": (row("", np.array([-100, 0, 100], np.int32), "TIFF"), [0, 128, 255]),
    "float of 1": (row("", np.array([np.nan, 0.5, 1, np.inf, -np.inf], np.float32), "TIFF"), [0, 128, 255, 255, 128]),
    "float of 255": (row("", np.array([np.nan, 2, 200], np.float32), "TIFF"), [0, 2, 200]),
    "float": (row("", np.array([-1, 0, 1], np.float32), "TIFF"), [0, 128, 255]),
    "LA": (row("LA", [(9, 0), (9, 255), (0, 51)]), [255, 9, 204]),
    "RGBA": (row("RGBA", [(9, 9, 9, 0), (9, 9, 9, 255)]), [255, 9]),
    "PA": (row("PA", [(9, 0), (0, 255)], "TIFF"), [255, 0]),
    "grey with a transparent level": (row("L", [7, 8], transparency=7), [255, 8]),
    "RGB with a transparent colour": (row("RGB", [(7, 7, 7), (8, 8, 8)], transparency=(7, 7, 7)), [255, 8]),
    "palette": (palette(), [[255, 0, 0], [0, 255, 0]]),
    "palette with a transparent entry": (palette(transparency=1), [[255, 0, 0], WHITE]),
    "palette with alpha": (palette(transparency=bytes([0, 255])), [WHITE, [0, 255, 0]]),
    "1-bit": (row("1", [0, 255]), [0, 255]),
    "LAB": (row("LAB", [(255, 128, 128), (0, 128, 128)], "TIFF"), [255, 0]),
    "CMYK": (row("CMYK", [(0, 0, 0, 0), (0, 0, 0, 255)], "TIFF"), [255, 0]),
    "Adobe JPEG": (row("CMYK", [(0, 0, 0, 0)] * 16, "JPEG"), [255] * 16),
    "animated GIF": (row("L", [0, 9], "GIF", save_all=True, append_images=[_of("L", [200, 200])]), [0, 9]),
    "animated WebP": (
        row("RGB", [(9, 9, 9)], "WEBP", save_all=True, append_images=[_of("RGB", [(200, 0, 0)])], lossless=True),
        [9],
    ),
    "one pixel high": (row("L", [5] * 4000), [5] * 4000),
}


@pytest.mark.parametrize("name", SEEN)
def test_depth_alpha_and_palettes_are_as_a_person_sees_them(name: str, tmp_path: Path) -> None:
    content, expected = SEEN[name]
    wanted = [value if isinstance(value, list) else [value] * 3 for value in expected]
    assert np.abs(seen(content).astype(int) - [wanted]).max() <= (name == "LAB"), "Little CMS rounds"
    (tmp_path / "x.jpg").write_bytes(content)
    kind, sent = images.for_server(tmp_path / "x.jpg")
    assert (np.asarray(Image.open(io.BytesIO(sent)).convert("RGB")) == seen(content)).all()
    assert kind == Image.MIME[Image.open(io.BytesIO(sent)).format or ""], "declared by content, not by name"


@pytest.mark.parametrize(
    ("mode", "value", "expected"), [("La", (4, 51), [208] * 3), ("RGBa", (0, 0, 0, 51), [204] * 3)]
)
def test_premultiplied_alpha_is_undone(mode: str, value: tuple[int, ...], expected: list[int]) -> None:
    """No file has these modes; an encoder may be given such an image."""
    assert np.asarray(images._rgb(Image.new(mode, (1, 1), value))).tolist() == [[expected]]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    """A PNG that says this size and holds no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


NONE = {
    "cut JPEG": (saved(picture(), "JPEG")[:-40], "image cannot be read (truncated)"),
    "cut PNG": (saved(picture(), "PNG")[:300], "image cannot be read (truncated)"),
    "damaged PNG": (saved(picture(), "PNG")[:20] + b"x" * 30, "is no image that can be read (damaged PNG)"),
    "empty": (b"", "is no image that can be read (empty file)"),
    "zero bytes": (bytes(99), "is no image that can be read (only zero bytes)"),
    "text": (b"a photo of a dog", "is no image that can be read (text file)"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "(Git LFS pointer)"),
    "HTML": (b"\n<!DOCTYPE html><p>403", "is no image that can be read (HTML page)"),
    "XML": (b'\xef\xbb\xbf<?xml version="1.0"?><Error/>', "(SVG, XML or JSON)"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0", "(heic container, such as HEIC or video)"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "(text file)"),
    "bomb": (png(20_000, 20_000), "is no image that can be read (over 178,956,970 pixels)"),
    "no pixels": (png(0, 5), "is no image that can be read (damaged PNG"),
    "no number": (row("", np.array([np.nan], np.float32), "TIFF"), "(damaged TIFF: no finite value)"),
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_image_is_one_line_that_names_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    content, message = NONE[name]
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for source, called in ((path, "x.jpg"), (content, "s0.tar: a/x.jpg")):
        with pytest.raises(ImageError) as refused:
            images.open_image(source, "" if source == path else called)
        assert str(refused.value).startswith(f"{called}: ") and message in str(refused.value)
        assert str(tmp_path) not in str(refused.value) and "<_io" not in str(refused.value)
    with pytest.raises(ImageError, match=r"x\.jpg: "):
        images.for_server(path)
    assert thumbnail(path) is None and images.fault(path) is not None
    assert capfd.readouterr() == ("", "") and not recwarn.list


@pytest.mark.parametrize(
    ("kind", "reason"), [("folder", "is a folder"), ("pipe", "is no regular file"), ("", "no such file")]
)
def test_what_is_no_file_is_not_waited_for(kind: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    if kind:
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    for opener in (images.open_image, images.for_server):
        with pytest.raises(ImageError, match=rf"^x\.jpg: image cannot be read \({reason}\)$"):
            opener(path)
    assert images.area(path) == 0


def test_large_images_are_read_without_a_remark_and_bombs_refused(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    content = saved(picture(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns above it, and refuses twice as many
    assert seen(content).shape == (12, 20, 3) and not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="over 200 pixels"):
        seen(content)


@pytest.mark.parametrize(
    "tags", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage and more", b"II*\0\x08"]
)
def test_unreadable_exif_data_turns_nothing(tags: bytes, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(saved(picture(), "JPEG", exif=tags))
    stored = np.asarray(Image.open(io.BytesIO(saved(picture(), "JPEG"))))
    assert (seen(path) == stored).all() and not recwarn.list
    _, sent = images.for_server(path)
    assert (np.asarray(Image.open(io.BytesIO(sent))) == stored).all()


def test_a_thumbnail_lies_on_white() -> None:
    small = thumbnail(row("RGBA", [(0, 0, 0, 0)] * 8))
    assert small is not None
    shown = Image.open(io.BytesIO(base64.b64decode(small.address.partition(",")[2])))
    assert np.asarray(shown).min() > 250
