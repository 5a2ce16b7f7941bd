"""A run of the first samples is extended by the command for all: what it holds is kept, its scores are made anew."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.runs import records
from tests import chat_server
from tests.cli import Cim, captions_file, process
from tests.test_cim_metric import World, built
from tests.test_durability import SLOW, files

__all__ = ["built"]
METRICS = ("--metrics", "bleu4_char,length", "--draws", "100")


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run."""
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def rows_of(folder: Path) -> dict[str, Any]:
    """The files of a run but for its page, which shows the manifest."""
    return {name: content for name, content in files(folder).items() if name != "report.html"}


def whole_but_extended(folder: Path) -> dict[str, Any]:
    """The same without the record that the run was extended, which must be there."""
    content = rows_of(folder)
    assert content["manifest.json"].pop("extended")
    return content


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ``CIM_PATH`` with an engine that takes its time, and a model that it runs."""
    for kind in ("engines", "models"):
        (tmp_path / "parts" / kind).mkdir(parents=True)
    (tmp_path / "parts" / "engines" / "slow.py").write_text(SLOW)
    (tmp_path / "parts" / "models" / "one.toml").write_text('about = "A fake."\nengine = "slow"\n')
    monkeypatch.setenv("CIM_PATH", str(tmp_path / "parts"))
    return tmp_path / "parts"


@pytest.mark.parametrize("first", [["--limit", "4"], ["--limit", "4", "--partial"]])
def test_a_captions_file_is_extended_and_equals_a_run_of_all(cim: Cim, tmp_path: Path, first: list[str]) -> None:
    path = captions_file(tmp_path / "mine.jsonl", {f"demo_{at:02d}": f"scene {at}" for at in range(1, 13)})
    folder = cim.results / "demo" / "mine"
    assert cim("eval", "--model", path, *METRICS, *first, "--json").json["scores"][0]["n"] == 4
    part = manifest(folder)["settings"]["samples"]
    assert cim("eval", "--model", path, *METRICS, "--limit", "7", "--json").json["scores"][0]["n"] == 7
    whole = cim("eval", "--model", path, *METRICS, "--json")
    assert whole.json["scores"][0]["n"] == 12
    assert "mine on demo: goes on from 7 stored captions, of 12\n" in whole.err
    assert [(row["n"], row["status"]) for row in manifest(folder)["extended"]] == [(4, "complete"), (7, "complete")]
    assert manifest(folder)["extended"][0].items() >= part.items() and manifest(folder)["status"] == "complete"
    assert cim("verify", folder).code == 0
    assert cim("eval", "--model", path, *METRICS, "--results", tmp_path / "whole").code == 0
    assert whole_but_extended(folder) == rows_of(tmp_path / "whole" / "demo" / "mine")


def test_what_was_captioned_judged_and_looked_up_is_not_made_again(built: World, cim: Cim, parts: Path) -> None:
    """Captions of an engine, replies behind a server, retrievals of fake encoders: only the new ones are made."""
    built.build()
    command = ("eval", "--model", "one", "--task", "miniscenes", "--judge", "served")
    command += ("--metrics", "length,relation_qa,cim", "--draws", "0")
    folder = cim.results / "miniscenes" / "one"
    names = (records.NAME, "replies.relation_qa.served.jsonl", "retrievals.jsonl")
    with pytest.MonkeyPatch.context() as patch, chat_server.serving() as server:
        patch.setenv("NO_PROXY", "127.0.0.1")
        server.toml(parts / "models", "served")
        assert cim(*command, "--limit", "6").code == 0
        kept = {name: (folder / name).read_bytes() for name in names}
        assert cim(*command, "--limit", "9").code == 0
    for name, before in kept.items():
        rows = store.read_rows(folder / name)
        assert (folder / name).read_bytes().startswith(before), name
        assert len({row["sample_id"] for row in rows}) == len(rows) == 9, name


def test_fewer_samples_than_stored_and_any_other_setting_are_refused(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "mine.jsonl", {f"demo_{at:02d}": f"scene {at}" for at in range(1, 13)})
    folder = cim.results / "demo" / "mine"
    assert cim("eval", "--model", path, *METRICS).code == 0
    before = files(folder)
    line = cim.refused("eval", "--model", path, *METRICS, "--limit", "4")
    assert "samples.n: 12 / 4" in line and "leave out --limit to go on with its 12 samples" in line
    assert files(folder) == before
    assert cim("eval", "--model", path, *METRICS, "--limit", "4", "--fresh").code == 0
    path.write_text(path.read_text().replace("scene 1", "place 1"))
    line = cim.refused("eval", "--model", path, *METRICS)
    assert "samples.n: 4 / 12" in line and "model." in line and "repeat the command as it was" in line


def test_other_samples_of_a_larger_number_extend_nothing(cim: Cim, tmp_path: Path) -> None:
    """The stored ids must be the first of the new ones: five others are not four more."""
    folder = cim.results / "demo" / "demo-terse"
    assert cim("eval", "--model", "demo-terse", *METRICS, "--limit", "4").code == 0
    stored = manifest(folder)
    stored["settings"]["samples"]["ids"] = "0" * 8
    store.write_document(folder / "manifest.json", stored)
    assert "samples.ids: 00000000 / " in cim.refused("eval", "--model", "demo-terse", *METRICS)


def test_stages_of_a_run_not_yet_extended_say_what_to_do(cim: Cim) -> None:
    assert cim("eval", "--model", "demo-terse", *METRICS, "--limit", "4").code == 0
    line = cim.refused("score", "--model", "demo-terse", *METRICS)
    assert "8 of 12 captions are not made" in line and "--limit 4" in line
    assert cim("score", "--model", "demo-terse", *METRICS, "--limit", "4").code == 0
    assert "extended" not in manifest(cim.results / "demo" / "demo-terse")


def test_an_extension_killed_half_way_goes_on(cim: Cim, parts: Path, tmp_path: Path) -> None:
    command = ("eval", "--model", "one", "--task", "miniscenes", *METRICS)
    folder = cim.results / "miniscenes" / "one"
    assert cim(*command, "--limit", "5").code == 0
    first = (folder / records.NAME).read_bytes()
    running = process(*command, "--limit", "40", results=cim.results)
    while running.poll() is None and len(store.read_rows(folder / records.NAME)) < 12:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL and 12 <= len(store.read_rows(folder / records.NAME)) < 40
    assert manifest(folder)["status"] == "running"
    assert "samples.n: 40 / 5" in cim.refused(*command, "--limit", "5")
    assert cim(*command, "--limit", "40").code == 0
    assert (folder / records.NAME).read_bytes().startswith(first) and len(manifest(folder)["extended"]) == 1
    assert cim(*command, "--limit", "40", "--results", tmp_path / "whole").code == 0
    assert whole_but_extended(folder) == rows_of(tmp_path / "whole" / "miniscenes" / "one")


def test_shards_extend_a_run(cim: Cim, parts: Path, tmp_path: Path) -> None:
    """Shards of all samples leave out what the run holds; a shard of the first ones goes into the run of all."""
    folder, options = cim.results / "miniscenes" / "one", ("--model", "one", "--task", "miniscenes")
    assert cim("eval", *options, *METRICS, "--limit", "4").code == 0
    assert cim("caption", *options, "--limit", "8", "--shard", "0/2").code == 0
    assert cim("caption", *options, "--limit", "12", "--shard", "1/2").code == 0
    assert [len(records.read(path)) for path in sorted((folder / "shards").iterdir())] == [2, 4]
    assert cim("eval", *options, *METRICS, "--limit", "12").code == 0
    assert [row["n"] for row in manifest(folder)["extended"]] == [4]
    (folder / "shards").rmdir()  # which is refused unless it is empty
    assert cim("eval", *options, *METRICS, "--limit", "12", "--results", tmp_path / "whole").code == 0
    assert whole_but_extended(folder) == rows_of(tmp_path / "whole" / "miniscenes" / "one")
