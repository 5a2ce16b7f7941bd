"""Nothing is lost: kills, torn lines, full disks, changed settings, two writers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import BusyError, CimError, OutageError
from harness.runs import records
from tests import chat_server, mock_engine
from tests.cli import Cim, captions_file, process
from tests.conftest import ROOT

CLOCK = ("started", "ended", "usage")


def files(folder: Path) -> dict[str, Any]:
    """Every file of a run: rows sorted by id, clock fields left out."""
    contents: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
            contents[path.name] = sorted(rows, key=lambda row: str(row["sample_id"]))
        elif path.suffix == ".json":
            contents[path.name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in CLOCK}
        else:
            contents[path.name] = path.read_bytes()
    return contents


def _mock(results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.mock_engine", str(results)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def test_a_run_killed_at_any_step_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """SIGKILL before each caption and before each file takes its place, and again soon after; then the same command."""
    done = _mock(tmp_path)
    assert done.returncode == 0, done
    expected = files(tmp_path / "whole" / "demo" / "mock")
    assert len(expected["captions.jsonl"]) == 12 and expected["scores.json"]["scores"][0]["n_failed"] == 1
    left = {number: int(count) for number, count in map(str.split, done.stdout.splitlines())}
    assert set(left.values()) == set(range(13)) and list(left.values()).count(12) >= 5, left
    for number in left:
        assert files(tmp_path / number / "demo" / "mock") == expected, number


KILLED = """
import os, sys
def at(event, arguments, last=sys.argv.pop(1)):
    if event in ("open", "os.rename") and str(arguments[event == "os.rename"]).endswith(last):
        os.kill(os.getpid(), 9)
sys.addaudithook(at)
from harness.command import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_cim_eval_killed_before_each_of_its_files(cim: Cim, tmp_path: Path) -> None:
    """The whole command with its Java processes, killed between start-up and the last file."""
    arguments = ("eval", "--model", "demo-detailed", "--metrics", "bleu4,cider,length,rouge_l")
    assert cim(*arguments, "--results", tmp_path / "whole").code == 0
    (parses,) = {path.name for path in (tmp_path / "whole" / ".cache" / "parses").glob("*.jsonl")}
    for last in ("manifest.json", parses, "per_sample.jsonl", "scores.json"):
        command = [sys.executable, "-c", KILLED, last, *arguments, "--results", str(cim.results)]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    assert cim(*arguments).code == 0
    assert files(cim.results / "demo" / "demo-detailed") == files(tmp_path / "whole" / "demo" / "demo-detailed")


SLOW = '''
"""A fake that takes its time."""
import time

from harness.parts import Engine
from harness.types import Completion


def _generate(model, requests):
    for request in requests:
        time.sleep(0.03)
        yield Completion(request.sample_id, f"A red ring of {model.name}, {request.sample_id}.")


ENGINE = Engine("slow", _generate)
'''


def test_captioner_and_judge_killed_among_several_runs(tmp_path: Path) -> None:
    """SIGKILL when the second model's captions, and when the first judge's replies arrive; the same command goes on."""
    for kind in ("engines", "models"):
        (tmp_path / "parts" / kind).mkdir(parents=True)
    (tmp_path / "parts" / "engines" / "slow.py").write_text(SLOW)
    for name in ("one", "two"):
        (tmp_path / "parts" / "models" / f"{name}.toml").write_text('about = "A fake."\nengine = "slow"\n')
    given = ("eval", "--model", "one,two", "--task", "miniscenes", "--limit", "12", "--judge", "served")
    with chat_server.serving() as server:
        server.pause = 0.05
        server.toml(tmp_path / "parts" / "models", "served", table="concurrency = 1\n")

        def begin(results: Path) -> subprocess.Popen[str]:
            environment = {"CIM_PATH": str(tmp_path / "parts"), "NO_PROXY": "127.0.0.1"}
            return process(*given, "--metrics", "length,relation_qa", results=results, **environment)

        assert begin(tmp_path / "whole").wait() == 0
        killed = tmp_path / "killed"
        for name, file in (("two", "captions.jsonl"), ("one", "replies.relation_qa.served.jsonl")):
            running, rows = begin(killed), killed / "miniscenes" / name / file
            while running.poll() is None and len(store.read_rows(rows)) < 3:
                time.sleep(0.002)
            running.send_signal(signal.SIGKILL)
            assert running.wait() == -signal.SIGKILL and 3 <= len(store.read_rows(rows)) < 12
        assert begin(killed).wait() == 0
    for name in ("one", "two"):
        assert files(killed / "miniscenes" / name) == files(tmp_path / "whole" / "miniscenes" / name)


def test_each_row_is_on_disk_before_the_next_is_asked_for(tmp_path: Path) -> None:
    with store.Appender(tmp_path / "rows.jsonl") as rows:
        for number in range(5):
            rows.append({"number": number})
            assert len(store.read_rows(tmp_path / "rows.jsonl")) == number + 1


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_cut_off_last_line_is_dropped_wherever_it_was_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.jsonl"
    with store.Appender(path) as rows:
        rows.append({"sample_id": "a", "caption": "one"})
        rows.append({"sample_id": "b", "caption": "zwei ümläüte 😀"})
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert [row["sample_id"] for row in store.read_rows(path)] == ["a"]
    with store.Appender(path) as rows:
        rows.append({"sample_id": "b", "caption": "zwei ümläüte 😀"})
    assert path.read_bytes() == content


def test_a_long_cut_off_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a":1}\n{"caption":"' + b"x" * 200_000)
    with store.Appender(path) as rows:
        rows.append({"b": 2})
    assert path.read_bytes() == b'{"a":1}\n' + store.seal({"b": 2}) + b"\n"


def test_a_damaged_row_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"sample_id":"a","caption":"x"}\n{"sample_id":\n{"sample_id":"c","caption":"x"}\n')
    with pytest.raises(CimError, match=r"captions.jsonl:2: is not JSON"):
        records.read(tmp_path)
    path.write_text('{"sample_id":"a","caption":"x"}\n{"sample_id":"a","caption":"x"}\n')
    with pytest.raises(CimError, match=r"captions.jsonl:2: sample_id 'a' stands a second time"):
        records.read(tmp_path)


def test_a_full_disk_leaves_whole_rows_only(tmp_path: Path) -> None:
    """A file size limit stands for a full disk: the row that does not fit is not there at all."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from harness import store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (130, {resource.RLIM_INFINITY}))\n"
        "path = Path(sys.argv[1])\n"
        "try:\n"
        "    with store.Appender(path / 'rows.jsonl') as rows:\n"
        "        for number in range(9): rows.append({'number': number, 'text': 'x' * 20})\n"
        "except OSError as error: print(error.errno)\n"
        "try: store.write_document(path / 'document.json', {'text': 'x' * 500})\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["27", "27"]
    assert (tmp_path / "rows.jsonl").read_bytes().endswith(b"}\n")
    assert [row["number"] for row in store.read_rows(tmp_path / "rows.jsonl")] == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_full_disk_is_one_line_for_the_user(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "harness", "eval", "--model", "demo-terse", "--metrics", "length"]
    environment = {**os.environ, "CIM_RESULTS": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 2 and "File too large" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_changed_settings_are_refused_by_name(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", {f"demo_{i:02d}": "a" for i in range(1, 13)})
    assert cim("eval", "--model", path, "--metrics", "length").code == 0
    before = files(cim.results / "demo" / "x")
    assert "samples.limit: None / 5" in cim.refused("eval", "--model", path, "--metrics", "length", "--limit", "5")
    captions_file(path, {f"demo_{i:02d}": "b c" for i in range(1, 13)})
    line = cim.refused("eval", "--model", path, "--metrics", "length")
    assert "model.sha256" in line and "--fresh" in line and "samples" not in line
    assert files(cim.results / "demo" / "x") == before
    result = cim("eval", "--model", path, "--metrics", "length", "--fresh", "--json")
    assert result.json["scores"][0]["values"] == {"words": 2}
    assert cim("eval", "--model", path, "--metrics", "length").code == 0


def test_a_refused_fresh_run_keeps_what_is_stored(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", {f"demo_{i:02d}": "a" for i in range(1, 13)})
    cim("eval", "--model", path, "--metrics", "length")
    before = files(cim.results / "demo" / "x")
    captions_file(path, {"demo_01": "a"})
    cim.refused("eval", "--model", path, "--metrics", "length", "--fresh")
    cim.refused("eval", "--model", path, "--metrics", "lenght", "--fresh", "--partial")
    assert files(cim.results / "demo" / "x") == before


def test_fresh_never_discards_what_it_reads(cim: Cim, tmp_path: Path) -> None:
    """A run named by its own name, and a captions file that lies inside the run's folder."""
    captions = {f"demo_{i:02d}": "a" for i in range(1, 13)}
    cim("eval", "--model", captions_file(tmp_path / "x.jsonl", captions), "--metrics", "length")
    before = files(cim.results / "demo" / "x")
    assert "would discard" in cim.refused("eval", "--model", "x", "--metrics", "length", "--fresh")
    assert "would discard" in cim.refused(
        "eval", "--model", cim.results / "demo" / "x", "--metrics", "length", "--fresh"
    )
    assert files(cim.results / "demo" / "x") == before
    inside = captions_file(cim.results / "demo" / "mine" / "mine.jsonl", captions)
    assert "would discard" in cim.refused("eval", "--model", inside, "--metrics", "length", "--fresh")
    assert inside.exists()


@pytest.mark.parametrize("kept", range(5))
def test_a_killed_fresh_run_adopts_nothing(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Whatever --fresh had removed when it was killed, old captions never pass for new ones."""
    path = captions_file(tmp_path / "x.jsonl", {f"demo_{i:02d}": "old old" for i in range(1, 13)})
    cim("eval", "--model", path, "--metrics", "length")
    captions_file(path, {f"demo_{i:02d}": "new new new" for i in range(1, 13)})
    unlink, removed = Path.unlink, list[str]()

    def killed(self: Path, missing_ok: bool = False) -> None:
        if len(removed) == kept:
            raise KeyboardInterrupt
        removed.append(self.name)
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        assert cim("eval", "--model", path, "--metrics", "length", "--fresh").code in (0, 130)
    again = cim("eval", "--model", path, "--metrics", "length", "--json")
    assert again.code == 2 or again.json["scores"][0]["values"] == {"words": 3}
    whole = cim("eval", "--model", path, "--metrics", "length", "--fresh", "--json")
    assert whole.json["scores"][0]["values"] == {"words": 3}


def test_captions_without_a_manifest_are_refused(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse", "--metrics", "length")
    (cim.results / "demo" / "demo-terse" / "manifest.json").unlink()
    assert "captions without a manifest" in cim.refused("eval", "--model", "demo-terse", "--metrics", "length")


def test_scores_of_other_captions_are_not_kept(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", {f"demo_{i:02d}": "a" for i in range(1, 13)})
    cim("eval", "--model", path, "--metrics", "length,bleu4_char")
    captions_file(path, {f"demo_{i:02d}": "b c" for i in range(1, 13)})
    folder = cim.results / "demo" / "x"
    stored = {name: (folder / name).read_bytes() for name in ("scores.json", "per_sample.jsonl")}
    cim("caption", "--model", path, "--fresh")
    for name, content in stored.items():
        (folder / name).write_bytes(content)
    cim("score", "--model", path, "--metrics", "length")
    assert [row["metric"] for row in json.loads((folder / "scores.json").read_text())["scores"]] == ["length"]
    assert set(json.loads((folder / "per_sample.jsonl").read_text().split("\n")[0])) == {"sample_id", "length"}


def test_two_writers_are_refused(cim: Cim) -> None:
    folder = cim.results / "demo" / "demo-terse"
    with store.writing(folder):
        assert "another process is writing this run" in cim.refused(
            "eval", "--model", "demo-terse", "--metrics", "length"
        )
        with pytest.raises(BusyError), store.writing(folder):
            pass
    assert cim("eval", "--model", "demo-terse", "--metrics", "length").code == 0


def test_two_real_processes_on_one_run(tmp_path: Path) -> None:
    with store.writing(tmp_path / "whole" / "demo" / "mock"):
        assert "BusyError" in _mock(tmp_path).stderr
    assert not records.read(tmp_path / "whole" / "demo" / "mock")


def test_an_engine_that_stops_is_an_outage_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace
    from itertools import islice

    from harness import registry
    from harness.stages import caption

    monkeypatch.setattr(registry, "engine", registry.engine)
    planned = mock_engine.plan(tmp_path)
    short = replace(mock_engine.ENGINE, generate=lambda m, r: islice(mock_engine.ENGINE.generate(m, r), 4))
    monkeypatch.setattr(registry, "engine", lambda _: short)
    with pytest.raises(OutageError, match="engine mock gave 4 of 12 caption texts; the same command goes on"):
        caption.caption(planned)
    assert len(records.read(planned.folder)) == 4
    monkeypatch.setattr(registry, "engine", lambda _: mock_engine.ENGINE)
    assert caption.caption(planned) == 8


def test_another_model_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from harness import registry
    from harness.stages import caption

    monkeypatch.setattr(registry, "engine", registry.engine)
    caption.caption(mock_engine.plan(tmp_path))
    other = replace(mock_engine.MODEL, settings={"engine": "mock", "seed": 1})
    with pytest.raises(CimError, match=r"model.seed: 0 / 1"):
        mock_engine.plan(tmp_path, other)
    mock_engine.plan(tmp_path, other, fresh=True)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_lose_what_they_would_say_and_nothing_else(tmp_path: Path, closed: str) -> None:
    command = f'exec "$@" {closed}'
    words = ["sh", "-c", command, "sh", sys.executable, "-m", "harness", "eval", "--model", "demo-terse"]
    variables = {**os.environ, "CIM_RESULTS": str(tmp_path)}
    done = subprocess.run([*words, "--metrics", "length", "--json"], cwd=ROOT, env=variables, capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert bool(done.stdout) == ("1>" not in closed)
    names = {path.name for path in (tmp_path / "demo" / "demo-terse").iterdir()}
    assert {"captions.jsonl", "scores.json", "report.html"} <= names


def test_folders_of_a_killed_tokenizer_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.parsers import ptb

    monkeypatch.setattr(ptb, "MEMORY", tmp_path)
    for name in ("cim-ptb-killed", "cim-ptb-working"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ptb.LOCK).touch()
    with ptb._held(tmp_path / "cim-ptb-working"):
        ptb._remove_abandoned()
        assert [path.name for path in tmp_path.iterdir()] == ["cim-ptb-working"]
