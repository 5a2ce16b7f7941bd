"""Every part in the folders keeps its contract; a new file is found by these tests by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import registry
from harness.command import contracts
from harness.errors import CimError
from harness.resources import data
from harness.runs import cache
from harness.stages.parse import Parses
from tests.cli import Cim, captions_file

CHECKS = [
    pytest.param(kind, name, contract, id=f"{kind}-{name}-{contract.__name__}")
    for kind, contracts_of in contracts.OF.items()
    for name in registry.names(kind)
    for contract in contracts_of
]


@pytest.mark.parametrize(("kind", "name", "contract"), CHECKS)
def test_a_part_keeps_its_contracts(kind: str, name: str, contract: contracts.Contract, parses: Parses) -> None:
    if reason := contracts.unmet(kind, name):
        pytest.skip(f"{name} cannot be computed here: {reason}")
    contract(name, parses)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_names_load_and_say_what_they_are(kind: str, parses: Parses) -> None:
    for name in registry.names(kind):
        contracts.described(kind)(name, parses)


@pytest.mark.parametrize(
    ("kind", "typo", "meant"), [("tasks", "docci", "docci500"), ("metrics", "meteor-nltk", "meteor_nltk")]
)
def test_an_unknown_name_gets_a_suggestion(kind: str, typo: str, meant: str) -> None:
    with pytest.raises(CimError, match=f"did you mean {meant}"):
        registry.check(kind, typo)


def test_lists_and_places(cim: Cim) -> None:
    listing = cim("list", "--json").json
    assert set(listing) == set(registry.KINDS) and "docci500" in listing["tasks"] and "captions" in listing["engines"]
    assert "unknown kind 'metric'" in cim.refused("list", "metric")
    assert cim("where", "--json").json["results"] == str(cim.results)
    parts = cim("doctor", "--json").json
    assert {"part", "state", "detail"} == set(parts[0]) and any(row["part"] == "data docci500" for row in parts)


def test_the_doctor_gives_a_reason_once_and_ends_with_what_works_now(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.command import doctor
    from harness.resources import pretrained

    monkeypatch.setattr(pretrained, "absent", lambda entry: f"the weights {entry.hub_id} are not on this machine")
    rows = doctor.examine(None)
    merged = doctor.together(rows)
    told = [(state, detail) for _, state, detail in merged]
    assert len(told) == len(set(told)) < len(rows) and {(s, d) for _, s, d in rows} == set(told)
    (computed,) = [part for part, _, detail in merged if detail == "can run here"]
    assert "length" in computed and "engine captions, openai" in computed and "metric capture" not in computed
    done = cim("doctor")
    last = done.out.splitlines()[-1]
    assert last.startswith("ready: captions files are scored by ") and "bleu4_char" in last and "taxonomy" not in last
    assert "attributes, capture, objects: `cim data fetch factual,mpnet`, 1.4 GB; models with weights: " in last


def test_a_judge_keeps_raw_replies_and_resumes(cim: Cim) -> None:
    """Every stage on its own; replies that are there are not asked for again, missing ones are no score."""
    folder = cim.results / "miniscenes" / "five"
    file = folder / "replies.taxonomy.rule-judge.jsonl"
    captions = {sample.id: sample.references[0] for sample in data.samples(registry.task("miniscenes"))[:5]}
    path = captions_file(cim.results / "five.jsonl", captions)
    arguments = ("--model", path, "--partial", "--metrics", "taxonomy")
    assert cim("caption", *arguments).code == 0
    unasked = cim("score", *arguments, "--json")
    assert unasked.code == 1 and unasked.json["scores"][0]["values"] == {"species": None, "breed": None}
    assert "has not answered 10 of 10 questions" in unasked.json["scores"][0]["not_computed"]
    assert cim("judge", *arguments, "--json").json["replies"] == {"taxonomy": 10}
    rows = file.read_text().splitlines()
    assert len(rows) == 10 and json.loads(rows[0])["reply"] == "yes" and "#species" in json.loads(rows[0])["sample_id"]
    file.write_text("\n".join(rows[:7]) + "\n" + rows[7][:9])
    assert cim("score", *arguments).code == 1
    assert cim("judge", *arguments, "--json").json["replies"] == {"taxonomy": 3}
    assert file.read_text().splitlines() == rows
    assert cim("score", *arguments, "--json").json["scores"][0]["values"] == {"species": 100, "breed": 100}


def test_a_cache_keeps_values_by_content_and_survives_torn_lines(tmp_path: Path) -> None:
    store = cache.Cache(tmp_path / "cache.jsonl")
    store.add(cache.key("one"), [1, "x"])
    store.close()
    with (tmp_path / "cache.jsonl").open("a") as stream:
        stream.write('{"key":"' + cache.key("two"))
    again = cache.Cache(tmp_path / "cache.jsonl")
    again.add(cache.key("three"), {"a": None})
    again.close()
    wanted = [cache.key(text) for text in ("one", "two", "three")]
    assert again.find(wanted) == {wanted[0]: [1, "x"], wanted[2]: {"a": None}}
    assert cache.Cache(tmp_path / "other.jsonl").find(wanted) == {}


def test_a_parse_is_made_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections.abc import Iterator
    from contextlib import nullcontext

    from harness.errors import OutageError
    from harness.parts import Parser

    seen, working = list[str](), True

    def parse(texts: Sequence[str]) -> Iterator[int]:
        for text in texts:
            if not working and text == "c":
                return
            seen.append(text)
            yield len(text)

    monkeypatch.setattr(registry, "parser", lambda _: Parser("count", lambda: {"v": "1"}, lambda _: nullcontext(parse)))
    with Parses(tmp_path) as first:
        assert first.parse("count", ["a", "bb", "a"]) == [1, 2, 1]
    working = False
    with Parses(tmp_path) as second, pytest.raises(OutageError, match="parser count gave 1 of 2 values"):
        second.parse("count", ["bb", "dddd", "c"])
    working = True
    with Parses(tmp_path) as third:
        assert third.parse("count", ["c", "dddd"]) == [1, 4]
    assert seen == ["a", "bb", "dddd", "c"]
    (file,) = (tmp_path / ".cache" / "parses").iterdir()
    assert [json.loads(line)["value"] for line in file.read_text().splitlines()] == [1, 2, 4, 1]
