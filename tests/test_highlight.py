"""Words and elements are marked where they stand, nothing is hidden, and the marks can be read."""

from __future__ import annotations

import re

import pytest

from harness.pages import highlight, templates
from harness.types import Element
from tests.conftest import ROOT


def marks(pieces: list[highlight.Piece], state: str) -> list[str]:
    return [text for mark, text in pieces if mark == state]


def test_words_are_marked() -> None:
    caption, (reference,) = highlight.mark("A red dog, two Cats' toys!", ["The dogs see a BLUE cat toy."])
    assert marks(caption, "matched") == ["dog", "Cats' toys"] and marks(caption, "invented") == ["red", "two"]
    assert marks(reference, "matched") == ["dogs", "cat toy"] and marks(reference, "missed") == ["see", "BLUE"]
    assert "".join(text for _, text in caption) == "A red dog, two Cats' toys!"
    assert highlight.count(caption, "matched") == 3
    assert highlight.mark("红狗", ["红猫"])[0] == [("matched", "红"), ("invented", "狗")]
    assert highlight.mark("", [""]) == ([], [[]]) and highlight.mark("of the", []) == ([("", "of the")], [])


def test_elements_are_marked_where_they_stand() -> None:
    elements = [Element("object", "dog", "matched"), Element("attribute", "red dog", "invented")]
    elements += [Element("object", "grass", "missed"), Element("object", "the", "missed")]
    caption, (reference,) = highlight.mark("A red dog and a dog.", ["The dog on grass"], elements)
    assert marks(caption, "invented") == ["red dog"] and marks(caption, "matched") == ["dog"]
    assert marks(reference, "missed") == ["grass"] and marks(reference, "matched") == ["dog"]


@pytest.mark.parametrize("text", ["a\u202eb", "\ud800", "\U000e0041x", "a\r\nb", "\x00", "x" * 9])
def test_no_text_hides_anything(text: str) -> None:
    pieces, _ = highlight.mark(text, [text])
    shown = "".join(piece for _, piece in pieces)
    shown.encode()
    assert shown.replace("U+202E", "").isprintable() or "\n" in shown


def test_html_is_escaped_and_no_text_can_stand_for_a_tag() -> None:
    """Characters that stand for tags on the way are shown by their codes where a text holds them."""
    hostile = "".join(map(chr, range(1, 9))) + "<script>alert(\"1\")</script> & 'dog'\ttail"
    pieces, _ = highlight.mark(hostile, ["dog"])
    shown = highlight.html(pieces)
    assert re.sub(r"</?(mark|span)[^>]*>", "", shown) == (
        "".join(f"U+{code:04X}" for code in range(1, 9))
        + "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#x27;dog&#x27;\ttail"
    )
    assert '<mark class="matched">&#x27;dog&#x27;</mark>' in shown and shown.count('<span class="control">') == 8
    assert shown.count("<mark") == shown.count("</mark>") and shown.count("<span") == shown.count("</span>")


def test_elements_are_listed_with_their_state_in_words() -> None:
    shown = highlight.html_list([Element("object", "a<b\x01", "matched"), Element("object", "dog", "missed")])
    assert shown == (
        '<li><mark class="matched"><bdi>a&lt;b[U+0001]</bdi></mark></li>'
        '<li><mark class="missed"><bdi>dog</bdi></mark> <span class="state">missed</span></li>'
    )


def luminance(colour: str) -> float:
    """Relative luminance of ``#rgb`` or ``#rrggbb`` (WCAG 2)."""
    digits = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out(theme: int) -> None:
    """Contrast of every colour that text has with every one that lies behind it is 4.5 or more."""
    sheets = [templates.HERE / "base.css", templates.HERE / "report.css", *ROOT.glob("leaderboards/*/*.css")]
    colours = dict[str, str]()
    for sheet in sheets:
        blocks = re.findall(r":root \{(.*?)\}", sheet.read_text(), re.DOTALL)[theme : theme + 1]
        colours |= re.findall(r"--([\w-]+): (#\w+)", "".join(blocks))
    inks = ("ink", "quiet", "invented", "matched", "accent", "warn")
    pairs = [(ink, paper) for ink in inks for paper in ("paper", "shade")]
    pairs += [("ink", f"{state}-tint") for state in ("missed", "invented", "only-a", "only-b")]
    for ink, paper in pairs:
        bright, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)
