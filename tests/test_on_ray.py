"""``--on ray``: two machines of a made-up cluster, one worker killed, one machine lost; the files of one process."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.miniscenes import draw
from tests.cli import Cim, process
from tests.conftest import ROOT

IMAGES, ROWS = 2000, 8000
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


class Machines:
    """A cluster of two nodes of one CPU on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        self.address = str(self.cluster.address)
        self.second = self.cluster.add_node(**NODE)

    def lose_one(self) -> None:
        """Take the second node away, with all that runs there."""
        self.cluster.remove_node(self.second)
        self.second = None

    def make_whole(self) -> None:
        """Put a lost node back."""
        self.second = self.second or self.cluster.add_node(**NODE)


@pytest.fixture(scope="module")
def started() -> Iterator[Machines]:
    pytest.importorskip("ray", reason="ray is not installed: make setup-ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
        machines = Machines()
        yield machines
        machines.cluster.shutdown()


@pytest.fixture
def machines(started: Machines) -> Machines:
    started.make_whole()
    return started


def actors(folder: Path) -> list[int]:
    """Processes of actors that answer for a command with results in this folder; Ray names them after their class."""
    listing = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 1) for line in listing.splitlines()]
    workers = [pid for pid, command in lines if command.startswith("ray::MapWorker")]
    return [int(pid) for pid in workers if os.fsencode(folder) in _environment(pid)]


def _environment(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:  # it has ended
        return b""


def wait_until(reached: Callable[[], bool], running: subprocess.Popen[str], what: str) -> None:
    end = time.monotonic() + 300
    while not reached():
        assert running.poll() is None, (what, running.communicate())
        assert time.monotonic() < end, what
        time.sleep(0.05)


def harm(machines: Machines, running: subprocess.Popen[str], folder: Path, progress: Callable[[], int]) -> None:
    """Kill one of two actors at work, and take a machine away once the others have gone on."""
    wait_until(lambda: progress() >= 1 and len(actors(folder)) == 2, running, "two actors and first results")
    os.kill(actors(folder)[0], signal.SIGKILL)
    reached = progress()
    wait_until(lambda: progress() > reached, running, "results after the kill")
    machines.lose_one()
    assert running.poll() is None, "the command had ended before the machine was lost"
    _, wrong = running.communicate(timeout=500)
    assert running.returncode == 0 and "an actor died" in wrong, wrong


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_captions_are_those_of_one_process(machines: Machines, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(IMAGES):
        (images / f"{number:04d}.png").write_bytes(draw.picture(f"train_{number:06d}"))
    options = ("--images", images, "--task", "many", "--prompt", "describe the scene .")
    command = ("caption", "--model", "mini-base", *options)
    alone = process(*command, results=tmp_path / "alone")
    assert alone.wait() == 0, alone.communicate()
    running = process(*command, "--on", "ray", "--ray-address", machines.address, results=tmp_path / "ray")
    files = [tmp_path / place / "many" / "mini-base" / "captions.jsonl" for place in ("alone", "ray")]
    harm(machines, running, tmp_path, lambda: lines(files[1]))
    assert lines(files[0]) == IMAGES and files[1].read_bytes() == files[0].read_bytes()


def test_a_gallery_is_that_of_one_process(machines: Machines, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    encoders = ["--text-encoder", "miniscenes_text", "--image-encoder", "miniscenes_image"]
    options = ["--from", "miniscenes", str(ROWS), *encoders, "--dedupe", "--drop-near"]
    alone = process("gallery", "build", f"{tmp_path}/alone", *options, results=tmp_path)
    assert alone.wait() == 0, alone.communicate()
    on_ray = ["--on", "ray", "--ray-address", machines.address]
    running = process("gallery", "build", f"{tmp_path}/ray", *options, *on_ray, results=tmp_path)
    harm(machines, running, tmp_path, lambda: len(list((tmp_path / "ray" / "parts").glob("*.ids.jsonl"))))
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("alone", "ray")
    ]
    assert digests[0] == digests[1] and len(digests[0]) >= 4


def test_an_actor_that_always_dies_ends_the_command(machines: Machines, tmp_path: Path) -> None:
    """Exit 1, one line, and the same command goes on once the cause is gone."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for path in (ROOT / "tasks" / "miniscenes" / "weights" / "mini-base").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    model = tmp_path / "mortal.toml"
    model.write_text(f'about = "fake"\nengine = "mortal"\ncheckpoint = "{folder}"\ntasks = ["miniscenes"]\n')
    (folder / "all").touch()
    command = ["caption", "--model", model, "--limit", "8", "--on", "ray", "--ray-address", machines.address]
    fakes = {"CIM_PATH": str(ROOT / "tests" / "fakes")}
    running = process(*command, results=tmp_path, **fakes)
    _, wrong = running.communicate()
    last = wrong.splitlines()[-1]
    assert running.returncode == 1 and "actors died 3 times" in last and "the same command goes on" in last, wrong
    assert "Traceback" not in wrong
    (folder / "all").unlink()
    (folder / "died").touch()
    running = process(*command, results=tmp_path, **fakes)
    assert running.wait() == 0 and lines(tmp_path / "miniscenes" / "mortal" / "captions.jsonl") == 8


CAPTION = ["caption", "--model", "mini-base", "--task", "miniscenes"]


def test_parses_are_those_of_one_process(machines: Machines, tmp_path: Path) -> None:
    """The cache's rows of all references, in the same order."""
    outputs = list[dict[str, bytes]]()
    for name, options in (("alone", []), ("ray", ["--on", "ray", "--ray-address", machines.address])):
        command = ["parse", "--model", "mini-base", "--task", "miniscenes", "--limit", "9", "--metrics", "bleu4"]
        running = process(*command, *options, results=tmp_path / name)
        assert running.wait() == 0, running.communicate()
        cache = tmp_path / name / ".cache" / "parses"
        outputs.append({path.name: path.read_bytes() for path in cache.iterdir()})
    assert outputs[0] == outputs[1] and outputs[0]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--on", "ray", "--workers", "2"], "--actors N"),
        (["--on", "ray", "--shard", "0/2"], "Ray hands out the work itself"),
        (["--actors", "2"], "--actors without --on ray"),
    ],
)
def test_options_that_contradict_are_refused(cim: Cim, options: list[str], line: str) -> None:
    assert line in cim.refused(*CAPTION, *options)


def test_without_ray_the_line_says_what_installs_it(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    assert "make setup-ray" in cim.refused(*CAPTION, "--on", "ray")


def test_an_address_that_does_not_answer_is_one_line(cim: Cim) -> None:
    pytest.importorskip("ray", reason="ray is not installed: make setup-ray")
    line = cim.refused(*CAPTION, "--limit", "2", "--on", "ray", "--ray-address", "127.0.0.1:1")
    assert "--ray-address 127.0.0.1:1: no Ray cluster answers" in line


def test_dry_run_says_where(cim: Cim) -> None:
    plan = cim(*CAPTION, "--on", "ray", "--actors", "3", "--dry-run", "--json").json
    assert plan["on"] == "ray at a local cluster, started and stopped: at most 3 actors, a GPU each if there are any"
