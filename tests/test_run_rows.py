"""A run parses each of its row files once per command, and sees what another process has written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness import store
from harness.errors import CimError
from harness.runs import records
from harness.runs.records import RowFiles
from harness.types import Completion
from tests.cli import Cim


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each existing row file was parsed, by name."""
    counts, original = Counter[str](), store.read_rows

    def counting(path: Path) -> list[dict[str, object]]:
        counts[path.name] += path.is_file()
        return original(path)

    monkeypatch.setattr(store, "read_rows", counting)
    return counts


def row(name: str) -> dict[str, object]:
    return records.row(Completion(name, f"caption of {name}", "stop", 1, 2))


def test_a_command_parses_the_captions_at_most_once(cim: Cim, parsed: Counter[str]) -> None:
    command = ("eval", "--model", "demo-terse", "--metrics", "bleu4_char,length")
    assert cim(*command).code == 0
    assert parsed[records.NAME] == 0  # they were kept as they were appended
    assert cim(*command).code == 0
    assert parsed[records.NAME] == 1


def test_replies_of_a_judge_are_parsed_at_most_once(cim: Cim, parsed: Counter[str]) -> None:
    command = ("eval", "--model", "mini-base", "--limit", "3", "--metrics", "relation_qa")
    for times in (0, 1):
        assert cim(*command).code == 0
        assert parsed["replies.relation_qa.rule-judge.jsonl"] == times


def test_own_rows_are_kept_and_those_of_others_are_read(tmp_path: Path, parsed: Counter[str]) -> None:
    files = RowFiles(tmp_path)
    assert files.completions() == {}
    with files.appending(records.NAME, "caption") as add:
        add(row("a"))
    assert list(files.completions()) == ["a"] and not parsed[records.NAME]
    assert files.completions() == records.read(tmp_path)
    before = parsed[records.NAME]
    with store.Appender(tmp_path / records.NAME) as other:
        other.append(row("b"))
    assert list(files.completions()) == list(files.completions()) == ["a", "b"]
    assert parsed[records.NAME] == before + 1
    store.write_rows(tmp_path / records.NAME, [row("c")])  # the same size as one row, another file
    assert list(files.completions()) == ["c"]
    (tmp_path / records.NAME).unlink()
    assert files.completions() == {}


def test_after_a_failure_the_file_counts(tmp_path: Path) -> None:
    files = RowFiles(tmp_path)
    with pytest.raises(KeyError), files.appending(records.NAME, "caption") as add:
        add(row("a"))
        raise KeyError
    assert list(files.completions()) == ["a"]


def test_an_id_that_an_engine_gives_twice_is_refused(tmp_path: Path) -> None:
    files = RowFiles(tmp_path)
    with files.appending(records.NAME, "caption") as add:
        add(row("a"))
        add(row("a"))
    with pytest.raises(CimError):
        files.completions()


def test_of_rows_with_one_id_the_later_counts(tmp_path: Path) -> None:
    files = RowFiles(tmp_path)
    for value in (1, 2):
        with files.appending("retrievals.jsonl") as add:
            add({"sample_id": "a", "value": value})
        assert files.rows("retrievals.jsonl")["a"]["value"] == value
