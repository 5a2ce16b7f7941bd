"""Lists and dictionaries of texts, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from harness.errors import CimError
from harness.runs.run import FEW

Text = TypeVar("Text")


Captions = Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]]


def captions_by_id(captions: Captions) -> tuple[dict[str, str], dict[str, str]]:
    """Texts by sample id, and the image of each; those of a list get their place as image, from "0" on.

    Where an image ``x`` has a list of captions, they are the samples ``x#1``, ``x#2`` ...

    Raises:
        CimError: none, a single text, or one that is no text.
    """
    by_image = {
        name: [given] if isinstance(given, str) else given for name, given in _by_id(captions, "captions").items()
    }
    wrong = [name for name, texts in by_image.items() if not _texts(texts) or not all(map(_is_text, _texts(texts)))]
    if wrong:
        raise CimError(f"{len(wrong)} captions are no Unicode text: {_first(wrong)}", hint="texts (str)")
    texts, images = dict[str, str](), dict[str, str]()
    for image, several in by_image.items():
        for number, text in enumerate(several, start=1):
            sample_id = image if len(several) == 1 else f"{image}#{number}"
            texts[sample_id], images[sample_id] = text, image
    return texts, images


def references_by_id(
    references: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]], images: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """References by image, for the same images as captions and in their order.

    Raises:
        CimError: ids or lengths differ, or an image has no reference; says how many and the first ids.
    """
    by_id = _by_id(references, "references")
    if not isinstance(references, Mapping) and len(by_id) != len(images):
        raise CimError(f"{len(images)} captions, {len(by_id)} references", hint="one entry of references per caption")
    for what, names in (
        ("captions have no reference", [name for name in images if name not in by_id]),
        ("references have no caption", [name for name in by_id if name not in images]),
    ):
        if names:
            raise CimError(f"{len(names)} {what}: {_first(names)}", hint="the same ids in both")
    lists = {name: _texts(by_id[name]) for name in images}
    wrong = [name for name, texts in lists.items() if not texts or not all(map(_is_text, texts))]
    if wrong:
        raise CimError(f"references of {len(wrong)} samples are no text or none: {_first(wrong)}", hint="texts (str)")
    return lists


def _by_id(given: Sequence[Text] | Mapping[str, Text], what: str) -> dict[str, Text]:
    if isinstance(given, str) or not isinstance(given, Sequence | Mapping):
        raise CimError(f"{what} are {type(given).__name__}", hint="a list, or a dictionary by sample id")
    if not given:
        raise CimError(f"no {what}", hint="at least one")
    if not isinstance(given, Mapping):
        return {str(at): text for at, text in enumerate(given)}
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise CimError(f"{len(wrong)} sample ids are no text, first {wrong[0]!r}", hint="str keys")
    return dict(given)


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) or not isinstance(given, Sequence) else tuple(given)


def _is_text(text: object) -> bool:
    """A string that UTF-8 can hold: no half of a surrogate pair."""
    return isinstance(text, str) and text == text.encode(errors="replace").decode()


def _first(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:FEW]) + (", ..." if len(names) > FEW else "")
