"""An archive is trusted with nothing: hostile and damaged ones are refused, what nobody asked for does nothing."""

from __future__ import annotations

import io
import random
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
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


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
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


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


def small(form: str) -> bytes:
    """An archive of one member, ``a``; ``sparse``: with the headers of GNU's sparse files in PAX records."""
    content = io.BytesIO()
    if form in ("stored", "lzma", "bzip2"):
        method = {"stored": zipfile.ZIP_STORED, "lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}[form]
        with zipfile.ZipFile(content, "w", method) as archive:
            archive.writestr("\u00fc", b"b")
            archive.writestr("a", b"content of it" * 20)
    else:
        with tarfile.open(fileobj=content, mode="w:xz" if form == "xz" else "w", format=tarfile.PAX_FORMAT) as archive:
            member, data = entry("a"), b"1\n0\n9\n".ljust(512, b"\0") + b"content of it"
            sparse = {"major": "1", "minor": "0", "name": "a", "realsize": "9"}
            member.pax_headers = {f"GNU.sparse.{name}": value for name, value in sparse.items()}
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("sparse", b"1\n0\n9\n", b"hello\n"),
        ("sparse", b"1\n0\n9\n", b"99999\n"),
        ("stored", "\u00fc".encode(), b"\xff\xff"),
        *((form, None, None) for form in ("stored", "lzma", "bzip2", "sparse", "xz")),
    ],
)
def test_changed_bytes_are_one_line_or_harmless(
    form: str, old: bytes | None, new: bytes | None, tmp_path: Path
) -> None:
    """What zipfile and tarfile raise on headers that are none, and their decompressors on other bytes."""
    content, dice = small(form), random.Random(form)
    if old is not None and new is not None:
        assert old in content
        changed = [content.replace(old, new.ljust(len(old), b"\0"))]
    else:
        changed = [bytearray(content) for _ in range(400)]
        for each in changed:
            for _ in range(dice.randint(1, 5)):
                each[dice.randrange(len(each))] = dice.choice([0, 45, 57, 255, dice.randrange(256)])
    refused = 0
    for each in changed:
        (tmp_path / "archive").write_bytes(each)
        try:
            unpack.unpack(tmp_path / "archive", {"a": tmp_path / "out" / "a"})
        except CimError:
            refused += 1
    assert refused and not list(tmp_path.glob("out/*.tmp"))
