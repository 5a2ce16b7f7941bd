"""METEOR's JVM loads while captions are made: started once and only then, and gone however the command ends.

``pytest tests/test_meteor_ahead.py``
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness import java, records, registry
from harness.parsers import meteor15
from harness.parts import Parse
from tests.cli import Cim
from tests.conftest import ROOT
from tests.test_ptb import fake_java, gone, needs_java  # noqa: F401

# ``cim eval`` with an engine that says when it is asked for captions, and gives none.
HANGING = """
import sys, time
from dataclasses import replace
from harness import cli
from harness.engines import captions
def generate(model, requests):
    print("captioning", flush=True)
    time.sleep(600)
    yield
captions.ENGINE = replace(captions.ENGINE, generate=generate)
sys.exit(cli.main(["eval", "--model", "demo-terse", "--metrics", "meteor"]))
"""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What happens in order: METEOR's session is opened and asked, captions are made."""
    told = list[str]()

    @contextmanager
    def session() -> Iterator[Parse]:
        told.append("started")

        def parse(texts: Sequence[str]) -> Iterator[list[float]]:
            told.append("asked")
            yield from ([1.0] * meteor15.STATISTICS for _ in texts)

        yield parse

    fill = records.fill
    monkeypatch.setattr(records, "fill", lambda *given: told.append("captions") or fill(*given))
    monkeypatch.setattr(meteor15, "PARSER", replace(meteor15.PARSER, session=session))
    registry._load.cache_clear()
    yield told
    registry._load.cache_clear()


@needs_java
def test_it_starts_before_the_first_caption_and_once(cim: Cim, log: list[str]) -> None:
    assert cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", "meteor,length").code == 0
    assert log[:3] == ["started", "captions", "asked"] and log.count("started") == 1 and log.count("captions") == 2


@needs_java
def test_it_does_not_start_where_it_is_not_needed(cim: Cim, log: list[str]) -> None:
    """Another metric, another verb, captions that are there: their values come from the cache."""
    assert cim("eval", "--model", "demo-detailed", "--metrics", "length,bleu4").code == 0
    assert cim("caption", "--model", "demo-terse", "--metrics", "meteor").code == 0
    assert "started" not in log
    assert cim("eval", "--model", "demo-terse", "--metrics", "meteor").code == 0
    assert log.count("started") == 1 and log[-1] == "asked"
    log.clear()
    assert cim("eval", "--model", "demo-terse", "--metrics", "meteor").code == 0
    assert log == ["captions"]


def test_one_that_was_never_asked_is_not_waited_for(
    fake_java: Callable[[str], None],  # noqa: F811
    tmp_path: Path,
) -> None:
    fake_java(f"echo $$ > {tmp_path}/pid\nsleep 600")
    start = time.monotonic()
    with meteor15.PARSER.session():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
    assert time.monotonic() - start < 20 and gone(int((tmp_path / "pid").read_text()))


@needs_java
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_ended_while_captions_are_made_leaves_no_jvm(number: signal.Signals, tmp_path: Path) -> None:
    """Killed, it cannot end the JVM: that finds its standard input closed when it has loaded."""
    wrapper, pids = tmp_path / "bin" / "java", tmp_path / "pids"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\n[ "$1" = -version ] || echo $$ >> {pids}\nexec {java.find_java()} "$@"\n')
    wrapper.chmod(0o755)
    environment = {**os.environ, "JAVA_HOME": str(tmp_path), "CIM_RESULTS": str(tmp_path / "results")}
    running = subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    )
    assert running.stdout is not None and running.stdout.readline() == "captioning\n"
    (pid,) = map(int, pids.read_text().split())
    assert not gone(pid)
    running.send_signal(number)
    assert running.wait(30) != 0
    running.stdout.close()
    end = time.monotonic() + (90 if number == signal.SIGKILL else 5)
    while not gone(pid):
        assert time.monotonic() < end
        time.sleep(0.1)
