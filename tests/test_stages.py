"""Stages over several runs: one load for all, one model in memory, and a run that fails stops alone."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import store
from harness.stages.device import Device
from tests.cli import Cim

# A fake engine that notes each load, writes two words, and stops at the samples that a file names.
ENGINE = '''
"""A fake."""
from contextlib import contextmanager
from pathlib import Path

from harness.engines import _weights
from harness.errors import OutageError
from harness.parts import Engine
from harness.types import Completion

NOTES = Path({notes!r})


@contextmanager
def _session(model):
    with NOTES.open("a") as notes:
        notes.write(f"{{model.name}}\\n")
    yield _write


def _write(requests):
    stops = NOTES.with_suffix(".stops")
    for request in requests:
        if stops.is_file() and request.sample_id.startswith(stops.read_text()):
            raise OutageError("the fake stopped")
        yield Completion(request.sample_id, "two words")


ENGINE = Engine("noting", lambda model, requests: _weights.generate(_session, model, requests), session=_session)
'''
COMMAND = ("eval", "--model", "first,second", "--task", "demo,miniscenes", "--limit", "3", "--metrics", "length")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake engine notes its loads; two models run on it."""
    for kind in ("engines", "models"):
        (tmp_path / "parts" / kind).mkdir(parents=True)
    path = tmp_path / "loads.txt"
    (tmp_path / "parts" / "engines" / "noting.py").write_text(ENGINE.format(notes=str(path)))
    for name in ("first", "second"):
        (tmp_path / "parts" / "models" / f"{name}.toml").write_text('about = "A fake."\nengine = "noting"\n')
    monkeypatch.setenv("CIM_PATH", str(tmp_path / "parts"))
    return path


class Model:
    """Something in a reference cycle, as models are."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_opened_closes_what_was_open_and_its_memory_is_given_back() -> None:
    alive, said = list[weakref.ref[Model]](), list[str]()

    @contextmanager
    def session() -> Iterator[Model]:
        assert not [model for model in alive if model() is not None], "two models in memory"
        model = Model()
        alive.append(weakref.ref(model))
        yield model

    device, threshold = Device(said.append), gc.get_threshold()
    gc.disable()
    try:
        for name in ("one", "one", "two", "one"):
            device.open(name, session)
        device.close()
    finally:
        gc.enable()
    assert len(alive) == 3 and said == ["one: loading", "two: loading", "one: loading"]
    assert not any(model() for model in alive) and gc.get_threshold() == threshold


def test_a_session_that_cannot_be_opened_leaves_the_device_free() -> None:
    @contextmanager
    def broken() -> Iterator[Model]:
        raise ValueError("no weights")
        yield

    @contextmanager
    def session() -> Iterator[str]:
        yield "open"

    device = Device()
    with pytest.raises(ValueError, match="no weights"):
        device.open("broken", broken)
    assert device.open("whole", session) == "open"


def test_tasks_of_a_model_share_one_load(cim: Cim, notes: Path) -> None:
    done = cim(*COMMAND)
    assert done.code == 0 and notes.read_text().split() == ["first", "second"]
    heads = [line.split() for line in done.out.splitlines() if line.startswith(("demo ", "miniscenes "))]
    assert heads == [["demo", "first", "second"], ["miniscenes", "first", "second"]]
    assert done.err.count("captioner first on engine noting: loading") == 1
    again = cim(*COMMAND, "--json")
    assert [row["scores"][0]["values"] for row in again.json] == [{"words": 2.0}] * 4
    assert again.err == "" and notes.read_text().split() == ["first", "second"]


def test_a_run_that_stops_does_not_stop_the_others(cim: Cim, notes: Path) -> None:
    stops = notes.with_suffix(".stops")
    stops.write_text("demo")
    broken = cim(*COMMAND, "--json")
    assert broken.code == 1 and broken.err.count("cim: ") == 2 and "first on demo: the fake stopped" in broken.err
    assert [sorted(row) for row in broken.json] == [
        ["failure", "model", "task"],
        ["model", "outcomes", "scores", "task"],
    ] * 2
    assert notes.read_text().split() == ["first", "first", "second", "second"], "a dead engine was used again"
    alone = cim(*COMMAND[:2], "first", "--task", "demo", *COMMAND[5:])
    assert (alone.code, alone.out) == (1, "") and alone.err.endswith("loading\ncim: the fake stopped\n")
    stops.unlink()
    whole = cim(*COMMAND, "--json")
    assert whole.code == 0 and all(row["scores"][0]["n"] == 3 for row in whole.json)
    for task in ("demo", "miniscenes"):
        manifest = json.loads((cim.results / task / "first" / "manifest.json").read_text())
        assert manifest["status"] == "complete"


def test_a_run_that_is_being_written_is_refused_before_anything_is_loaded(cim: Cim, notes: Path) -> None:
    with store.writing(cim.results / "miniscenes" / "second"):
        assert "another process is writing this run" in cim.refused(*COMMAND)
    assert not notes.exists() and not (cim.results / "demo" / "first" / "captions.jsonl").exists()
