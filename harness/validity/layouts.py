"""Readers of published sets of judgements, one per layout of files; what a set is stands in ``sets.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.forms import entries, sources
from harness.forms.entries import Entry
from harness.forms.keys import ABSENT, CAPTIONS, Named, value
from harness.validity.judgements import Judgement

References = dict[str, tuple[str, ...]]
OF_ROWS = Named(id="id")  # an object is one row, whatever its keys
HUMAN = "Human"  # THumB's and CapArena's name of the system that is people


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader makes of a set's files: judgements, and references by image."""

    rows: list[Judgement]
    references: References


Reader = Callable[[Mapping[str, Path]], Content]


def rows(path: Path, named: Named = OF_ROWS) -> list[Entry]:
    """The rows of a JSON, JSON lines, CSV, TSV, parquet or xlsx file; a JSON object that holds no rows is one.

    Args:
        named: where ids stand; ``Named()`` also reads objects whose keys are ids.

    Raises:
        CimError: not there, damaged, no row.
    """
    try:
        listed = entries.of(sources.read(path), CAPTIONS, named)[1]
    except OSError as error:
        raise CimError(f"cannot be read ({error.strerror})", where=str(path)) from error
    if not listed:
        raise CimError("no rows", where=str(path))
    return listed


def field(entry: Entry, key: str) -> Any:
    """What a row has under a key; CimError where it has nothing."""
    content = value(entry.content, key)
    if content is ABSENT:
        shown = ", ".join(map(str, entry.content))[:80] if isinstance(entry.content, dict) else ""
        raise CimError(f"no {key!r} in this row", where=entry.where, hint=f"its keys: {shown}")
    return content


def number(given: Any, where: str) -> float:
    """A judgement as a number; CimError for anything else."""
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise CimError(f"{str(given)[:40]!r} is no number", where=where) from error


def text(given: Any, where: str) -> str:
    """A text; CimError for anything else."""
    if not isinstance(given, str):
        raise CimError(f"{str(given)[:40]!r} is no text", where=where)
    return given


def listed(given: Any, where: str) -> list[Any]:
    """A list; CimError for anything else."""
    if not isinstance(given, list):
        raise CimError(f"{str(given)[:40]!r} is no list", where=where)
    return given


def texts(given: Any, where: str) -> tuple[str, ...]:
    """One or several texts, a list possibly written as a text."""
    several = entries.listed(given) if isinstance(given, str) else given
    return tuple(text(each, where) for each in (several if isinstance(several, list) else [several]))


def _only(files: Mapping[str, Path]) -> Path:
    (path,) = files.values()
    return path


def flickr8k(files: Mapping[str, Path]) -> Content:
    """Flickr8k-Expert and -CF as CLIPScore, FLEUR and EXPERT pass them on; a caption stands once per rating.

    A rating that is NaN is none: Flickr8k-CF has such, and published values leave them out.
    """
    path = _only(files)
    judgements, references = list[Judgement](), References()
    for image, record in rows(path)[0].content.items():
        entry = Entry(f"{path}: {image!r}", record)
        references[image] = texts(field(entry, "ground_truth"), entry.where)
        for rated in listed(field(entry, "human_judgement"), entry.where):
            inner = Entry(entry.where, rated)
            rating = number(field(inner, "rating"), entry.where)
            if rating == rating:
                judgements.append(Judgement(image, text(field(inner, "caption"), entry.where), rating))
    return Content(judgements, references)


def imgid_mt(files: Mapping[str, Path]) -> Content:
    """Rows with ``imgid`` (or ``file_name``), ``mt`` (or ``cand``), ``refs`` and ``score``: Polaris, Nebula, LongCap.

    References are those of the row: an image whose rows differ in them counts as an image per set of references.
    """
    judgements, references = list[Judgement](), References()
    for entry in rows(_only(files)):
        image_key, caption_key = (
            next((key for key in keys if value(entry.content, key) is not ABSENT), keys[0])
            for keys in (("imgid", "file_name", "image"), ("mt", "cand"))
        )
        image, of_row = str(field(entry, image_key)), texts(field(entry, "refs"), entry.where)
        while references.setdefault(image, of_row) != of_row:
            image += "'"
        caption = text(field(entry, caption_key), entry.where)
        judgements.append(Judgement(image, caption, number(field(entry, "score"), entry.where)))
    return Content(judgements, references)


def pascal50s(files: Mapping[str, Path]) -> Content:
    """PASCAL-50S: pairs by category, ``label`` the place of the text that most of 48 people preferred.

    HC: both human and right, HI: human, one of another image, HM: human and machine, MM: both machine.
    """
    path = _only(files)
    judgements, references = list[Judgement](), References()
    for category, pairs in rows(path)[0].content.items():
        for at, pair in enumerate(pairs, start=1):
            entry = Entry(f"{path}: {category} {at}", pair)
            image, both = field(entry, "image"), texts(field(entry, "captions"), entry.where)
            label = number(field(entry, "label"), entry.where)
            if len(both) != 2 or label not in (0, 1):
                raise CimError("no pair with label 0 or 1", where=entry.where)
            references[image] = texts(field(entry, "references"), entry.where)
            judgements.append(Judgement(image, both[0], 1 - 2 * label, both[1], category))
    return Content(judgements, references)


def thumb(files: Mapping[str, Path]) -> Content:
    """THumB 1.0 on COCO: overall score, precision and recall of four systems' captions, and all with the human's."""
    captions, of_images = files["mscoco_THumB-1.0.jsonl"], files["mscoco_references.json"]
    references = {str(field(entry, "seg_id")): texts(field(entry, "refs"), entry.where) for entry in rows(of_images)}
    judgements = list[Judgement]()
    for entry in rows(captions):
        image, caption, system = (str(field(entry, key)) for key in ("seg_id", "hyp", "SYS"))
        scores = {"overall with Human": "human_score"}
        if system != HUMAN:
            scores |= {"overall": "human_score", "precision": "P", "recall": "R"}
        for criterion, key in scores.items():
            score = number(field(entry, key), entry.where)
            judgements.append(Judgement(image, caption, score, criterion=criterion, system=system))
    return Content(judgements, references)


def haelm(files: Mapping[str, Path]) -> Content:
    """HaELM: 300 captions of three LVLMs for 100 images, each labelled as free of hallucination or not.

    A row is a prompt with one of five references; images are told apart by their references.
    """
    labels, of_caption = dict[str, bool](), dict[str, list[str]]()
    for entry in rows(_only(files)):
        prompt = text(field(entry, "instruction"), entry.where)
        reference, _, rest = prompt.removeprefix("reference captions:\n").partition("\nour caption:\n")
        caption, asked, _ = rest.rpartition("Is our caption accurate?")
        if not asked:
            raise CimError("no prompt of HaELM", where=entry.where)
        labels[caption.strip()] = field(entry, "output") == "yes"
        of_caption.setdefault(caption.strip(), []).append(reference)
    images = {caption: "\n".join(sorted(set(listed))) for caption, listed in of_caption.items()}
    names = {image: f"image {at}" for at, image in enumerate(dict.fromkeys(images.values()), start=1)}
    references = {names[images[caption]]: tuple(dict.fromkeys(listed)) for caption, listed in of_caption.items()}
    judgements = [Judgement(names[images[caption]], caption, float(right)) for caption, right in labels.items()]
    return Content(judgements, references)


def faithscore(files: Mapping[str, Path]) -> Content:
    """FaithScore: atomic facts of LVLM answers, each true (1) or false (0) of the image; it has no references."""
    judgements = [
        Judgement(str(field(entry, "id")), fact, number(label, entry.where))
        for entry in rows(_only(files))
        for fact, label in field(entry, "stage 2").items()
    ]
    return Content(judgements, {})


def iiw(files: Mapping[str, Path]) -> Content:
    """ImageInWords' side-by-sides whose two texts are published, five criteria of five steps; no other reference."""
    sides = {"DOCCI_Test.jsonl": ("IIW", "DOCCI", "", ""), "IIW-400.jsonl": ("IIW", "IIW-P5B", "IIW-Human", "IIW-P5B")}
    judgements = list[Judgement]()
    for name, path in files.items():
        first, second, winner, loser = sides[name]
        for entry in rows(path):
            votes = value(entry.content, "iiw-human-sxs-iiw-p5b") if winner else entry.content
            if votes is ABSENT:
                continue  # the votes on GPT-4V's texts come without the texts
            image = str(field(entry, "image/key" if winner else "image"))
            pair = (text(field(entry, first), entry.where), text(field(entry, second), entry.where))
            named = {winner or first: 1, loser or second: -1}
            judgements += [
                Judgement(image, pair[0], _vote(vote, named, entry.where), pair[1], key.removeprefix("metrics/"))
                for key, vote in votes.items()
                if key.startswith("metrics/")
            ]
    return Content(judgements, {})


def _vote(vote: str, named: Mapping[str, int], where: str) -> float:
    """``IIW is substantially better``: 2 for the first text, -2 for the second; 0 for ``Neutral``."""
    winner, _, much = vote.partition(" is ")
    if vote == "Neutral":
        return 0.0
    if winner not in named or much not in ("marginally better", "substantially better"):
        raise CimError(f"unknown vote {vote!r}", where=where)
    return named[winner] * (2.0 if much.startswith("substantially") else 1.0)


def caparena(files: Mapping[str, Path]) -> Content:
    """CapArena's votes; those on people's captions are left out, and what is neither system's win is a tie.

    Both as the authors do (njucckevin/CapArena:vlm_as_a_judge.py@c251cdd ``cal_agreement``).
    """
    judgements, references = list[Judgement](), References()
    for entry in rows(_only(files)):
        image, winner, *systems = (str(field(entry, key)) for key in ("img", "winner", "source1", "source2"))
        if HUMAN.lower() in systems:
            continue
        both = [text(field(entry, key), entry.where) for key in ("caption1", "caption2")]
        references[image] = texts(field(entry, "ref"), entry.where)
        preferred = float(winner == systems[0]) - float(winner == systems[1])
        judgements.append(Judgement(image, both[0], preferred, both[1], "", systems[0], systems[1]))
    return Content(judgements, references)


def docent(files: Mapping[str, Path]) -> Content:
    """DOCENT's coarse judgements: mistakes, omissions, overall quality of two descriptions of an artwork.

    Labels as amith-ananthram/posh:evaluate_posh_coarse.py@4d481b1 has them, from ``1_much_better`` on.
    """
    votes = {"1_much_better": 2.0, "1_slightly_better": 1.0, "equal": 0.0, "2_slightly_better": -1.0}
    votes["2_much_better"] = -2.0
    judgements, references = list[Judgement](), References()
    for entry in rows(_only(files)):
        image, *systems = (str(field(entry, key)) for key in ("uuid", "model1", "model2"))
        both = [text(field(entry, f"model{at}_generation"), entry.where) for at in (1, 2)]
        references[image] = texts(field(entry, "reference"), entry.where)
        for criterion in ("overall_quality", "mistakes", "omissions"):
            if (vote := text(field(entry, criterion), entry.where)) not in votes:
                raise CimError(f"unknown vote {vote!r}", where=entry.where)
            judgements.append(Judgement(image, both[0], votes[vote], both[1], criterion, *systems))
    return Content(judgements, references)
