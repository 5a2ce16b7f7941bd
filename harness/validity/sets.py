"""Sets of human judgements that can be validated on: where their files come from, their sums, licence and reader.

No data of theirs is part of the project. ``cim data fetch SET`` brings the files of a pinned set to
``$CIM_DATA/<set>``; the others are fetched by the user: they have no address that a program may read, or none whose sum
is known. The addresses are those of the repositories at the commits named; where this was written they could not be
reached, and sizes and sums are those of the same files in the repositories' git objects.
Run with ``cim validate --on SET``; ``cim validate --list`` shows all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CimError
from harness.resources import data
from harness.types import DataFile, Task
from harness.validity import damage, layouts
from harness.validity.judgements import Shape, Source, checked

RAW = "https://raw.githubusercontent.com"
NONE_STATED = "none stated in the repository: research use, not to be passed on"
EXPERT = f"{RAW}/hjkim811/EXPERT/74bbef41209fce20551f2d707bc7642400d7eddf/annotations"
IIW = f"{RAW}/google/imageinwords/96d393777e2528becd8a7afa1389eb4b65084793/datasets"
THUMB = f"{RAW}/jungokasai/THumB/fd099b4f311d9c4fd24e6c58ef0df038ec1615f3/mscoco"
FLEUR = f"{RAW}/Yebin46/FLEUR/b9cd6c9c086113b9ad3d040522a85c776aff1225/annotations"
IIW_DOCCI = DataFile(
    "DOCCI_Test.jsonl",
    208145,
    "f422b726c1af21a5154282cf8790ce110e03d5c94457d77d7002a50f17c984d1",
    f"{IIW}/DOCCI_Test/data.jsonl",
)


@dataclass(frozen=True, slots=True)
class JudgementSet:
    """A set of judgements: its shape, files and reader, and the criterion that stands for it.

    A set without ``files`` is fetched by the user as ``expects`` from ``source``. ``judged``: people judged its texts;
    else the judgement is known from how they came about.
    """

    name: str
    title: str
    shape: Shape
    read: layouts.Reader
    licence: str
    source: str
    files: tuple[DataFile, ...] = ()
    expects: str = ""
    criterion: str = ""
    judged: bool = True

    @property
    def folder(self) -> Path:
        """Where its files lie unless the user names others."""
        return data.folder(self.as_task())

    def as_task(self) -> Task:
        """What fetching and checking files ask of a benchmark."""
        nothing = frozenset[str]()
        return Task(self.name, self.title, "", self.files, 0, nothing, lambda _: [], self.licence, self.source)


SETS: Mapping[str, JudgementSet] = {
    entry.name: entry
    for entry in (
        JudgementSet(
            "flickr8k_expert",
            "Flickr8k-Expert",
            "ratings",
            layouts.flickr8k,
            NONE_STATED,
            "Hodosh et al. 2013, as FLEUR passes it on: 16,992 ratings 1 to 4 of 5,664 captions",
            (
                DataFile(
                    "flickr8k.json",
                    3582523,
                    "835162c77b014cd2191bea942189272af1a54628e0b6c4693f08a2a8d2691fff",
                    f"{FLEUR}/flickr8k.json",
                ),
            ),
        ),
        JudgementSet(
            "nebula",
            "Nebula test",
            "ratings",
            layouts.imgid_mt,
            NONE_STATED,
            "Matsuda et al. 2024 (DENEB), as EXPERT passes it on: 3,298 captions, mean rating 0 to 1",
            (
                DataFile(
                    "nebula_test.json",
                    1845909,
                    "ac70204016a35ccc3a81603a7c1c9c836152ab8d7d3fea6a33e84eafe937df39",
                    f"{EXPERT}/nebula_test.json",
                ),
            ),
        ),
        JudgementSet(
            "thumb",
            "THumB 1.0",
            "ratings",
            layouts.thumb,
            NONE_STATED,
            "Kasai et al. 2022: four systems and people on 500 COCO images",
            (
                DataFile(
                    "mscoco_THumB-1.0.jsonl",
                    585297,
                    "463ebf947c793a541922ead33eb10a885e77c19e9c7d27cf89e034bfff643efa",
                    f"{THUMB}/mscoco_THumB-1.0.jsonl",
                ),
                DataFile(
                    "mscoco_references.json",
                    136692,
                    "897672f1f53ed33a376237c33fabc89ebbd04b40e9ced82691c2e9c9324d8fdf",
                    f"{THUMB}/mscoco_references.json",
                ),
            ),
            criterion="overall",
        ),
        JudgementSet(
            "pascal50s",
            "PASCAL-50S",
            "pairs",
            layouts.pascal50s,
            NONE_STATED,
            "Vedantam et al. 2015, as EXPERT passes it on: 4,000 pairs with 5 drawn references",
            (
                DataFile(
                    "pascal_50s.json",
                    1978561,
                    "ce39b0a4021ab5f1add1430580fe24fd3fc58de3d03179a37466eb6ddd63fcdd",
                    f"{EXPERT}/pascal_50s.json",
                ),
            ),
            criterion="all",
        ),
        JudgementSet(
            "haelm",
            "HaELM",
            "labels",
            layouts.haelm,
            NONE_STATED,
            "Wang et al. 2023: 300 captions of LVLMs, free of hallucination or not",
            (
                DataFile(
                    "eval_data.jsonl",
                    687154,
                    "bc9399c553697bc0076f6b49b72a34a6a9f0c494e5b99291ae3382ef24e701f2",
                    f"{RAW}/junyangwang0410/HaELM/5465e3c6b031a7d1a8b850c048f8e4f4093fcf15/data/eval_data.jsonl",
                ),
            ),
        ),
        JudgementSet(
            "faithscore",
            "FaithScore facts",
            "labels",
            layouts.faithscore,
            "MIT",
            "Jing et al. 2024: atomic facts of LVLM answers; no references",
            (
                DataFile(
                    "annotation.jsonl",
                    203676,
                    "7d68dce9641f92fcdabd6e252cf12ee6ec9b6c1d5c4d306aef83666d299f1b7b",
                    f"{RAW}/bcdnlp/FAITHSCORE/52179e5cfd3721b017132c5d90c1a639c5627480/annotation.jsonl",
                ),
            ),
        ),
        JudgementSet(
            "iiw",
            "ImageInWords side by side",
            "pairs",
            layouts.iiw,
            "CC BY 4.0",
            "Garg et al. 2024: 200 pairs of long descriptions, five criteria; no references",
            (
                IIW_DOCCI,
                DataFile(
                    "IIW-400.jsonl",
                    980175,
                    "88809dde73731208fa98f72430225a9122c8f7e3c4ebcde98e255d62c5f203f2",
                    f"{IIW}/IIW-400/data.jsonl",
                ),
            ),
            criterion="Comprehensiveness",
        ),
        JudgementSet(
            "swapped_nouns",
            "true against swapped nouns",
            "pairs",
            lambda files: damage.swapped_nouns(layouts.iiw(files)),
            "CC BY 4.0",
            f"no judgement: {damage.SWAPPED} nouns of ImageInWords' descriptions swapped, DOCCI's as references",
            (IIW_DOCCI,),
            judged=False,
        ),
        JudgementSet(
            "flickr8k_cf",
            "Flickr8k-CF",
            "ratings",
            layouts.flickr8k,
            NONE_STATED,
            f"{FLEUR}/crowdflower_flickr8k.json",
            expects="crowdflower_flickr8k.json",
        ),
        JudgementSet(
            "polaris",
            "Polaris test",
            "ratings",
            layouts.imgid_mt,
            "Clear BSD",
            f"{EXPERT}/polaris_test.json, or polaris_test.csv of huggingface.co/datasets/yuwd/Polaris",
            expects="polaris_test.json",
        ),
        *(
            JudgementSet(
                f"longcap_arena_{aspect}",
                f"LongCap-Arena {what}",
                "ratings",
                layouts.imgid_mt,
                "BSD-3-Clause-Clear",
                f"{aspect}_dci_test.csv of VELA, or parquet of huggingface.co/datasets/Ka2ukiMatsuda/LongCap-Arena",
                expects=f"{aspect}_dci_test.csv",
            )
            for aspect, what in (("desc", "descriptiveness"), ("rel", "relevance"), ("flu", "fluency"))
        ),
        JudgementSet(
            "caparena",
            "CapArena votes",
            "pairs",
            layouts.caparena,
            NONE_STATED,
            "https://box.nju.edu.cn/f/0fd0a0d3dce243ab8c12/ (github.com/njucckevin/CapArena)",
            expects="caparena_annots_eval.json",
        ),
        JudgementSet(
            "docent",
            "DOCENT coarse judgements",
            "pairs",
            layouts.docent,
            "CC0 1.0 by the card of huggingface.co/datasets/amitha/docent",
            "https://huggingface.co/datasets/amitha/docent-eval-coarse, split test, as parquet or JSON lines",
            expects="docent-eval-coarse.parquet",
            criterion="overall_quality",
        ),
    )
}


def fetched(name: str) -> Task:
    """A pinned set as what is fetched and checked; CimError for one that the user fetches."""
    chosen = SETS[name]
    if not chosen.files:
        raise CimError(f"{name} is fetched by you, from {chosen.source}", hint=f"cim validate --on {name} --files FILE")
    return chosen.as_task()


def read(chosen: JudgementSet, named: Sequence[Path] = ()) -> Source:
    """The judgements of a set.

    Args:
        named: files of the user's own in place of those in ``$CIM_DATA``; a pinned file is known by its bytes.

    Raises:
        CimError: a file is missing, or another one than pinned.
    """
    if absent := [path for path in named if not path.is_file()]:
        raise CimError("no such file", where=str(absent[0]))
    files = _pinned(chosen, named) if chosen.files else _of_user(chosen, named)
    content = chosen.read(files)
    judgements = checked(chosen.name, chosen.shape, content.rows, content.references)
    return Source(judgements, chosen.title, {name: data.sha256(path) for name, path in files.items()})


def _pinned(chosen: JudgementSet, named: Sequence[Path]) -> dict[str, Path]:
    by_sum = {data.sha256(path): path for path in named}
    files = {file.name: by_sum.get(file.sha256, chosen.folder / file.name) for file in chosen.files}
    for file in chosen.files:
        if wrong := data.fault(files[file.name], file):
            hint = f"run `cim data fetch {chosen.name}`, or name its files with --files"
            where = ", ".join(map(str, named)) or str(files[file.name])
            raise CimError(f"{file.name} of {chosen.name} {wrong}", where=where, hint=hint)
    return files


def _of_user(chosen: JudgementSet, named: Sequence[Path]) -> dict[str, Path]:
    path = named[0] if named else chosen.folder / chosen.expects
    if len(named) > 1 or not path.is_file():
        what = f"{chosen.name} is one file" if len(named) > 1 else f"{chosen.expects} of {chosen.name} is not here"
        hint = f"get it from {chosen.source}, then name it with --files"
        raise CimError(what, where=str(path), hint=hint)
    return {path.name: path}
