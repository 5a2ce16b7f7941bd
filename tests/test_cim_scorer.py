"""GRC, QIR, reward and the scorer: golden values and identities, policies, edge cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import CimError
from harness.retrieval import consistency, gallery
from harness.retrieval.consistency import PAPER, SAFE, CimSettings
from harness.retrieval.scorer import CimScorer
from tests.galleries import of_arrays

HALF = 2**-0.5
GOLDEN: dict[str, tuple[Any, Any, tuple[float, float, float]]] = {
    "A": ((1, 0), [(1, 0), (0, 1), (-1, 0)], (1 / 3, 0.75, 1.083333)),
    "B": ((1, 0), [(HALF, HALF), (1, 0), (0, 1)], (0.804738, 1.207107, 2.011845)),
    "C": ((1, 0), [(1, 0)] * 3, (1, 1.75, 2.75)),
    "D": ((1, 0, 0), np.eye(3), (0.577350, 1, 1.577350)),
    "E": ((1, 0), [(-1, 0)] * 3, (1, -1.75, -0.75)),
    "F": ((1, 0), [(-1, 0), (-1, 0), (1, 0)], (1 / 3, -1.25, -0.916667)),
    "G": ((1, 0), [(1, 0), (0.6, 0.8), (0, 1)], (0.802773, 1.3, 2.102773)),
    "G reversed": ((1, 0), [(0, 1), (0.6, 0.8), (1, 0)], (0.802773, 0.55, 1.352773)),
    "K=1": ((1, 0), [(0.6, 0.8)], (1, 0.6, 1.6)),
}
DRAWN = np.random.default_rng(0)


def unit(*shape: int) -> NDArray[np.float64]:
    """Random unit vectors."""
    drawn = DRAWN.normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_values(case: str) -> None:
    u, rows, wanted = GOLDEN[case]
    images, source = np.array(rows, dtype=float), np.array(u, dtype=float)
    grc = consistency.grc(images)
    qir = PAPER.qir(consistency.cosines(source, images))
    assert (grc, qir, PAPER.reward(grc, qir)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10])
def test_the_closed_form_equals_the_gram_definition_and_batched_equals_one_by_one(k: int) -> None:
    images, sources = unit(200, k, 16), unit(200, 16)
    cosines = consistency.cosines(sources, images)
    grc, qir = consistency.grc(images), PAPER.qir(cosines)
    gram = images @ images.transpose(0, 2, 1)
    assert grc == pytest.approx(np.sqrt(gram.sum(axis=(1, 2))) / k, abs=1e-6)
    if k > 1:
        cosine = (gram.sum(axis=(1, 2)) - k) / (k * (k - 1))
        assert grc**2 == pytest.approx(1 / k + (k - 1) / k * cosine, abs=1e-6)
    assert grc == pytest.approx([float(consistency.grc(retrieved)) for retrieved in images], abs=1e-12)
    assert qir == pytest.approx(
        [sum(2.0**-r * float(u @ v) for r, v in enumerate(rows)) for u, rows in zip(sources, images, strict=True)]
    )
    assert np.abs(qir).max() <= 2 - 2.0 ** (1 - k)
    assert replace(PAPER, normalize_qir=True).qir(cosines) == pytest.approx(qir / (2 - 2.0 ** (1 - k)))


def test_ranges_and_invariances() -> None:
    images, sources = unit(5000, 3, 3), unit(5000, 3)
    cosines = consistency.cosines(sources, images)
    grc, qir = consistency.grc(images), PAPER.qir(cosines)
    value = PAPER.reward(grc, qir)
    assert -11 / 12 - 1e-9 <= value.min() < -0.6 and 2.4 < value.max() <= 2.75
    acute = np.abs(images)
    assert consistency.grc(acute).min() >= 3**-0.5
    turn = np.linalg.qr(DRAWN.normal(size=(3, 3)))[0]
    assert consistency.grc(images @ turn) == pytest.approx(grc)
    assert PAPER.qir(consistency.cosines(sources @ turn, images @ turn)) == pytest.approx(qir)
    assert consistency.grc(images[:, ::-1]) == pytest.approx(grc)
    assert not np.allclose(PAPER.qir(cosines[:, ::-1]), qir)
    assert consistency.rank_weights(3, "uniform").tolist() == [1, 1, 1]
    short = np.array([[0.5, np.nan, np.nan], [np.nan] * 3])
    assert PAPER.qir(short).tolist() == [0.5, 0]
    assert replace(PAPER, normalize_qir=True).qir(short).tolist() == [0.5, 0]


# --- the scorer --------------------------------------------------------------------------------

QUERIES = {"q": (1.0, 0.0), "r": (0.0, 1.0), "": (0.6, 0.8), " ": (0.6, 0.8), "nan": (np.nan, 1.0), "zero": (0.0, 0.0)}


def encode(texts: Sequence[str]) -> NDArray[np.float64]:
    """A fake encoder: vectors by text."""
    return np.array([QUERIES[text] for text in texts])


def four(hashes: Sequence[str | None] | None = None) -> gallery.Gallery:
    """The gallery of the golden cases: rows 0 and 3 tie, and show the same image."""
    image = np.eye(3)[[0, 1, 2, 0]]
    return of_arrays(np.array([(1, 0), (0.6, 0.8), (0, 1), (1, 0)]), image, ["g:0", "g:1", "g:2", "g:3"], hashes)


@pytest.mark.parametrize(
    ("policy", "rows", "values"),
    [
        ("include", [0, 3, 1], (0.745356, 1.5, 2.245356)),
        ("exclude", [3, 1, 2], (0.577350, 1, 1.577350)),
        ("exclude_near", [1, 2, -1], (0.707107, 0, 0.707107)),
    ],
)
def test_golden_self_policies(policy: Any, rows: list[int], values: tuple[float, ...]) -> None:
    settings = CimSettings(self_policy=policy, strict=False)
    batch = CimScorer(four(), encode, settings).score(["q"], ["g:0"])
    assert batch.rows.tolist() == [rows]
    assert (batch.grc[0], batch.qir[0], batch.reward[0]) == pytest.approx(values, abs=1e-6)
    assert batch.k.tolist() == [sum(row >= 0 for row in rows)]
    assert batch.self_hit_1.tolist() == [policy == "include"] == batch.self_hit_k.tolist()
    assert batch.own_similarity == pytest.approx([1]) and batch.own_qir == pytest.approx([float(policy == "include")])
    assert np.isnan(batch.similarities[0]).tolist() == [row < 0 for row in rows]


def test_the_rank_of_the_own_row_does_not_count_ties() -> None:
    scorer = CimScorer(four(), encode)
    ranks = scorer.reciprocal_rank(["q", "q", "r"], ["g:3", "g:1", "g:0"])
    assert ranks == pytest.approx([1, 1 / 3, 1 / 3])
    blank = CimScorer(four(), encode, replace(SAFE, k=2)).reciprocal_rank([" ", "q"], ["g:0", "g:0"])
    assert blank.tolist() == [0, 1]  # not encoded, so more similar to nothing than to its own


def test_training_refuses_what_evaluation_shrinks() -> None:
    scorer = CimScorer(four(), encode, CimSettings(self_policy="exclude_near"))
    with pytest.raises(CimError, match="exclude_near leaves fewer than 3 rows of gallery arrays for 1 captions"):
        scorer.score(["q"], ["g:0"])
    with pytest.raises(CimError, match="has 4 rows, k is 5"):
        CimScorer(four(), encode, CimSettings(k=5))
    shrunk = CimScorer(four(), encode, CimSettings(k=5, strict=False)).score(["q"], ["g:0"])
    assert shrunk.k.tolist() == [4] and shrunk.rows.tolist() == [[0, 3, 1, 2, -1]]


def test_a_source_is_known_by_key_and_by_its_bytes() -> None:
    near = CimScorer(four(["a", "b", "c", "a"]), encode, CimSettings(self_policy="exclude", strict=False))
    other = np.array([[0.0, 0.0, 1.0]])
    by_key = near.score(["q"], ["g:0"])
    elsewhere = near.score(["q"], ["val:9"], source_vectors=other)
    copied = near.score(["q"], ["val:9"], source_vectors=other, source_hashes=["b"])
    assert by_key.rows.tolist() == [[3, 1, 2]]
    assert elsewhere.rows.tolist() == [[0, 3, 1]] and elsewhere.source_rows.tolist() == [-1]
    assert np.isnan(elsewhere.own_similarity[0]) and not elsewhere.self_hit_k[0]
    assert copied.rows.tolist() == [[0, 3, 2]]
    both = CimScorer(four(["a", "b", "c", "a"]), encode, CimSettings(self_policy="exclude_near", near=2, strict=False))
    assert both.score(["q"], ["g:0"]).rows.tolist() == [[1, 2, -1]]
    once = CimScorer(four(["a", "b", "c", "a"]), encode, CimSettings(dedupe_images=True)).score(["q"], ["g:3"])
    assert once.rows.tolist() == [[0, 1, 2]]
    with pytest.raises(CimError, match="1 images are not in gallery arrays: 'val:9'"):
        near.score(["q"], ["val:9"])


@pytest.mark.parametrize("changes", [{}, {"self_policy": "exclude"}, {"self_policy": "exclude_near", "near": 0.3}])
@pytest.mark.parametrize("dedupe", [False, True])
def test_filtering_never_changes_the_order(changes: dict[str, Any], dedupe: bool) -> None:
    n, hashes = 120, [str(row % 40) for row in range(120)]
    held = of_arrays(unit(n, 6), unit(n, 4), [f"g:{row // 2}" for row in range(n)], hashes)
    queries = unit(10, 6)

    def look_up(texts: Sequence[str]) -> NDArray[np.float64]:
        return queries[[int(text) for text in texts]]

    captions, ids = [str(number) for number in range(10)], [f"g:{number}" for number in range(10)]
    all_rows = CimScorer(held, look_up, CimSettings(k=n)).score(captions, ids).rows
    settings = CimSettings(k=8, dedupe_images=dedupe, strict=False, **changes)
    batch = CimScorer(held, look_up, settings).score(captions, ids)
    for at in range(10):
        kept = list[int]()
        for row in all_rows[at].tolist():
            is_own = row // 2 == at
            near = (
                hashes[row] == hashes[2 * at]
                or held.images(np.array([row]))[0] @ held.images(np.array([2 * at]))[0] >= 0.3
            )
            dropped = {"include": False, "exclude": is_own, "exclude_near": is_own or near}[settings.self_policy]
            if not dropped and not (dedupe and hashes[row] in {hashes[other] for other in kept}):
                kept.append(row)
        assert batch.rows[at, : batch.k[at]].tolist() == kept[:8]


def test_empty_captions_by_policy_and_equal_captions_encoded_once() -> None:
    seen = list[str]()

    def counting(texts: Sequence[str]) -> NDArray[np.float64]:
        seen.extend(texts)
        return encode(texts)

    captions, ids = ["q", "", "q", " ", "r"], ["g:0", "g:0", "g:1", "g:2", "g:2"]
    paper = CimScorer(four(), counting, PAPER)
    batch = paper.score(captions, ids)
    assert seen == ["q", "", " ", "r"]
    assert batch.duplicates.tolist() == [False, False, True, False, False]
    assert batch.empty.tolist() == [False, True, False, True, False] and (batch.grc > 0).all()
    seen.clear()
    safe = CimScorer(four(), counting, replace(SAFE, k=2)).score(captions, ids)
    assert seen == ["q", "r"]
    assert safe.reward[[1, 3]].tolist() == [0, 0] and safe.rows[1].tolist() == [-1, -1] and safe.reward[4] > 0
    assert len(paper.score([], []).reward) == 0


def test_batched_equals_one_by_one_and_rows_of_a_gallery_may_change_places() -> None:
    n, captions = 300, [str(number) for number in range(40)]
    text, image = unit(n, 12), unit(n, 7)
    table = dict(zip(captions, unit(40, 12), strict=True))
    keys, ids = [f"g:{row}" for row in range(n)], [f"g:{7 * number}" for number in range(40)]

    def look_up(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([table[text] for text in texts])

    settings = CimSettings(k=5, self_policy="exclude_near", near=0.7, w_g=0.5, normalize_qir=True)
    scorer = CimScorer(of_arrays(text, image, keys), look_up, settings)
    whole = scorer.score(captions, ids)
    for at, (caption, key) in enumerate(zip(captions, ids, strict=True)):
        alone = scorer.score([caption], [key])
        assert alone.rows[0].tolist() == whole.rows[at].tolist()
        assert alone.reward[0] == pytest.approx(whole.reward[at], abs=1e-12)
    order = DRAWN.permutation(n)
    moved = CimScorer(of_arrays(text[order], image[order], [keys[row] for row in order]), look_up, settings)
    assert moved.score(captions, ids).reward == pytest.approx(whole.reward, abs=1e-6)
    given = scorer.score(captions, ids, source_vectors=image[[7 * number for number in range(40)]])
    assert given.reward == pytest.approx(whole.reward, abs=1e-6)
    assert scorer.qir(whole.rows, ids) == pytest.approx(whole.qir)
    assert not np.allclose(scorer.qir(whole.rows, ids[1:] + ids[:1]), whole.qir)


@pytest.mark.parametrize(
    ("captions", "changes", "message"),
    [
        (["nan"], {}, "caption embedding 0 is zero or not finite"),
        (["zero"], {}, "caption embedding 0 is zero or not finite"),
        (["q", "q"], {}, "2 captions for 1 source ids"),
        (["q"], {"source_vectors": np.ones((1, 4))}, r"image embeddings have the shape \(1, 4\), not \(1, 3\)"),
        (["q"], {"source_vectors": np.full((1, 3), np.nan)}, "image embedding 0 is zero or not finite"),
    ],
)
def test_bad_input_is_one_line(captions: list[str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CimError, match=message) as caught:
        CimScorer(four(), encode).score(captions, ["g:0"], **changes)
    assert "\n" not in str(caught.value)


def test_a_wrong_encoder_and_damaged_rows_are_named() -> None:
    with pytest.raises(CimError, match=r"caption embeddings have the shape \(1, 3\), not \(1, 2\)"):
        CimScorer(four(), lambda texts: np.ones((len(texts), 3))).score(["q"], ["g:0"])
    with pytest.raises(CimError, match="caption embedding 2 is zero or not finite"):
        of_arrays(np.array([(1, 0), (0, 1), (0, 0)]), np.eye(3), ["a", "b", "c"])
    with pytest.raises(CimError, match="3 captions, 2 images and 3 ids do not agree"):
        of_arrays(np.eye(3), np.eye(2), ["a", "b", "c"])
    text = np.array(four().text)
    text[2] = np.nan
    with pytest.raises(CimError, match="gallery row 2 is not finite"):
        CimScorer(replace(four(), text=text), encode).score(["q"], ["g:0"])
    image = np.array(four().image)
    image[1] = 0
    with pytest.raises(CimError, match="image embedding of gallery row 1 is not L2-normalised"):
        CimScorer(replace(four(), image=image), encode).score(["q"], ["g:0"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(SAFE, k=1), "k is 1: GRC is then 1 for every caption"),
        (replace(PAPER, k=0), "k is 0"),
        (replace(PAPER, self_policy="other"), "self_policy is 'other'"),
        (replace(PAPER, w_q=float("nan")), "must be finite"),
    ],
)
def test_settings_out_of_range(settings: Any, message: str) -> None:
    with pytest.raises(CimError, match=message):
        settings.check()
    assert replace(SAFE, k=1, w_g=0.0).check() is None and replace(PAPER, k=1).check() is None
