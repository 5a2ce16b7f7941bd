"""An archive is trusted with nothing: hostile and damaged ones are refused, what nobody asked for does nothing."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import unpack
from tests import images
from tests.images import IMAGES


def take(folder: Path, content: bytes) -> dict[str, str]:
    """Take all images out of an archive of these bytes."""
    (folder / "archive").write_bytes(content)
    (folder / "images").mkdir()
    return unpack.unpack(folder / "archive", {f"all/{name}": folder / "images" / name for name in IMAGES})


def images_of(folder: Path) -> dict[str, bytes]:
    """What was taken out."""
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


WANTED = "all/picture_00.jpg"


@pytest.mark.parametrize(
    ("extra", "without", "reason"),
    [
        ([(entry(WANTED, tarfile.SYMTYPE, "/etc/passwd"), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.LNKTYPE, "all/picture_01.jpg"), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.CHRTYPE), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.FIFOTYPE), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.DIRTYPE), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, size=2), b"ab")], "", "stands twice"),
        ([(entry("./" + WANTED, size=2), b"ab")], "", "stands twice"),
        ([(entry("../all/picture_00.jpg", size=2), b"ab")], "picture_00.jpg", "1 of 40 images are not in it"),
        ([(entry("/all/picture_00.jpg", size=2), b"ab")], "picture_00.jpg", "1 of 40 images are not in it"),
        ([(entry("bomb", size=unpack.SMALL), b"\0" * unpack.SMALL)], "", "unpacks to more than 5 times"),
    ],
)
def test_hostile_tar_archives(
    tmp_path: Path, extra: list[tuple[tarfile.TarInfo, bytes]], without: str, reason: str
) -> None:
    content = images.tarred(extra, without)
    with pytest.raises(CimError, match=reason):
        take(tmp_path, content)
    assert all(path.read_bytes() == IMAGES[path.name] for path in (tmp_path / "images").iterdir())


def test_members_that_nobody_asked_for_do_nothing(tmp_path: Path) -> None:
    outside = str(tmp_path / "outside")
    extra = [
        (entry("../../outside", size=2), b"ab"),
        (entry(outside, size=2), b"ab"),
        (entry("dev", tarfile.BLKTYPE), b""),
    ]
    extra += [(entry("images", tarfile.SYMTYPE, str(tmp_path)), b""), (entry("x", tarfile.LNKTYPE, "/etc/passwd"), b"")]
    content = images.tarred(extra)
    take(tmp_path, content)
    assert (
        images_of(tmp_path) == IMAGES
        and not (tmp_path / "outside").exists()
        and not (tmp_path.parent / "outside").exists()
    )


def _zip_entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ((_zip_entry(WANTED, stat.S_IFLNK | 0o777), b"/etc/passwd"), "no plain file"),
        ((_zip_entry(WANTED + "/"), b""), "1 of 40 images are not in it"),
        ((_zip_entry("../" + WANTED), b"ab"), "1 of 40 images are not in it"),
        ((_zip_entry(WANTED), b"\0" * (unpack.LARGEST + 1)), "too large for an image|unpacks to more"),
    ],
)
def test_hostile_zip_archives(tmp_path: Path, extra: tuple[zipfile.ZipInfo, bytes], reason: str) -> None:
    content = images.zipped([extra], "picture_00.jpg")
    with pytest.raises(CimError, match=reason):
        take(tmp_path, content)
    assert not (tmp_path / "images" / "picture_00.jpg").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("damage", ["twice", "lying size", "encrypted", "checksum", "cut", "no archive"])
def test_damaged_archives(tmp_path: Path, damage: str) -> None:
    content = bytearray(images.zipped([(_zip_entry(WANTED), b"ab")] if damage == "twice" else []))
    central = content.index(b"PK\x01\x02")
    if damage == "lying size":
        content[central + 24 : central + 28] = (5).to_bytes(4, "little")
    if damage == "encrypted":
        content[central + 8] |= 1
    if damage == "checksum":
        content[60] ^= 0xFF
    if damage == "cut":
        content = bytearray(images.tarred()[:150_000])
    content = bytearray(b"<html>") if damage == "no archive" else content
    with pytest.raises(CimError, match=r"stands twice|cannot be unpacked|encrypted|another size"):
        take(tmp_path, content)
    left = list((tmp_path / "images").iterdir()) if (tmp_path / "images").exists() else []
    assert all(path.suffix == ".jpg" for path in left)
