"""Recipes for other engines: their rewards against a live server, called as verl and ms-swift call them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.retrieval.scorer import CimScorer
from harness.train import reward_server
from tests.conftest import ROOT
from tests.test_cim_scorer import encode, four

RECIPES = ROOT / "recipes"


def load(path: str) -> Any:
    """A recipe's file as a module, loaded by its path as both engines do."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, RECIPES / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Live:
    """A running reward server on the small gallery."""

    def __init__(self) -> None:
        self.server, self.batcher = reward_server.server(CimScorer(four(), encode))
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.batcher.close()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    started = Live()
    yield started
    started.close()


def wanted(captions: list[str], ids: list[str]) -> Any:
    return CimScorer(four(), encode).score(captions, ids)


def test_verl_asks_caption_by_caption_with_keywords(live: Live) -> None:
    """``NaiveRewardManager.run_single``: keyword arguments, from many threads at once; reward_kwargs are merged in."""
    recipe = load("verl/cim_reward.py")
    captions, ids = ["q", "r"] * 12, [f"g:{number % 4}" for number in range(24)]

    def ask(at: int) -> dict[str, float]:
        extra = {"index": at, "source_id": ids[at], "num_turns": None, "rollout_reward_scores": {}}
        given = {"data_source": "cim", "solution_str": captions[at], "ground_truth": "", "extra_info": extra}
        scored: dict[str, float] = recipe.compute_score(**given, server=live.address, gallery=four().sha)
        return scored

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(ask, range(24)))
    alone = wanted(captions, ids)
    assert [answer["score"] for answer in answers] == pytest.approx(alone.reward)
    assert [answer["grc"] + answer["qir"] for answer in answers] == pytest.approx(alone.reward)
    assert {tuple(answer) for answer in answers} == {("score", "grc", "qir", "self_hit_1")}
    assert all(isinstance(value, float) for value in answers[0].values())


def test_older_verl_asks_for_a_batch(live: Live) -> None:
    """``BatchRewardManager.verify``: plural keyword arguments; scores come back in order, in one call of the scorer."""
    recipe = load("verl/cim_reward.py")
    ids = ["g:3", "g:0", "g:1"]
    extras = [{"source_id": name, "rollout_reward_scores": {}} for name in ids]
    answers = recipe.compute_scores(
        data_sources=["cim"] * 3,
        solution_strs=["q", "r", "q"],
        ground_truths=[None] * 3,
        extra_infos=extras,
        server=live.address,
    )
    assert [answer["score"] for answer in answers] == pytest.approx(wanted(["q", "r", "q"], ids).reward)
    assert live.batcher.calls == 1


def test_swift_asks_for_a_batch_with_columns(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """``compute_rewards_per_func``: completions by place, every column by name; the registry and the base are fakes."""
    fake: Any = types.ModuleType("swift.rewards")
    fake.ORM, fake.orms = type("ORM", (), {"__init__": lambda self, args=None, **_: None}), {"accuracy": object}
    monkeypatch.setitem(sys.modules, "swift", types.ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", fake)
    monkeypatch.setenv("CIM_SERVER", live.address)
    monkeypatch.setenv("CIM_GALLERY", four().sha)
    load("swift/cim_plugin.py")
    assert set(fake.orms) == {"accuracy", "cim", "cim_grc", "cim_qir"}
    ids = ["g:3", "g:0"]
    columns = {"source_id": ids, "messages": [[], []], "prompt_id": ["a", "b"], "is_truncated": [False, False]}
    for name, term in (("cim", "reward"), ("cim_grc", "grc"), ("cim_qir", "qir")):
        rewards = fake.orms[name](args=None)(["q", "r"], trainer_state=None, **columns)
        assert rewards == pytest.approx(getattr(wanted(["q", "r"], ids), term)), name


def test_special_tokens_never_reach_the_reward(live: Live) -> None:
    """The LLaVA trap: a response decoded with its end marker is worth what it is worth without."""
    client = load("reward_client.py")
    ids = ["g:0"] * 3
    marked = client.score(["q</s>", "<s> q <|im_end|>", "q<|endoftext|><pad>"], ids, live.address)
    assert marked["reward"] == pytest.approx(wanted(["q"], ["g:0"]).reward.tolist() * 3)
    assert client.clean("a <b> c < d </s>") == "a <b> c < d"


def test_refusals_and_a_server_that_is_gone_are_told(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    client = load("reward_client.py")
    monkeypatch.setattr(client, "PAUSE", 0.001)
    with pytest.raises(client.RewardError, match=r"refuses: .*are not in gallery arrays: 'g:9'"):
        client.score(["q"], ["g:9"], live.address)
    with pytest.raises(client.RewardError, match="this server scores with gallery"):
        client.score(["q"], ["g:0"], live.address, gallery="other")
    live.close()
    with pytest.raises(
        client.RewardError, match=r"no answer from .* in 4 tries .* python -m harness.train.reward_server"
    ):
        client.score(["q"], ["g:0"], live.address)


def test_rows_for_both_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The gallery's key, the image's path and the paper's prompt, after one image marker."""
    for name in ("cat", "dog"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"A {name}.")
    prepare = load("prepare.py")
    for form in ("verl", "swift"):
        assert prepare.main([form, str(tmp_path / f"{form}.jsonl"), "folder", str(tmp_path)]) == 0
    verl, swift = (
        [json.loads(line) for line in (tmp_path / f"{form}.jsonl").read_text().splitlines()]
        for form in ("verl", "swift")
    )
    key = f"{tmp_path.name}:dog.png"
    assert verl[1]["extra_info"] == {"index": 1, "source_id": key} and swift[1]["source_id"] == key
    assert verl[1]["images"] == [{"image": str(tmp_path / "dog.png")}] and swift[1]["images"] == [
        str(tmp_path / "dog.png")
    ]
    asked = verl[0]["prompt"][0]["content"]
    assert asked == swift[0]["messages"][0]["content"] and asked.startswith("<image>") and asked.count("<image>") == 1
    assert prepare.main(["verl", str(tmp_path / "no.jsonl"), "docci", str(tmp_path / "no")]) == 2
    assert "is not there" in capsys.readouterr().err


def test_what_was_never_run_says_so_first_and_scripts_are_well_formed() -> None:
    run = {"reward_client.py", "prepare.py"}
    for path in sorted(path for path in RECIPES.rglob("*") if path.suffix in (".py", ".sh", ".md")):
        first = path.read_text(encoding="utf-8").split("\n")[0]
        assert path.name in run or first.removeprefix("# ").startswith("Never run"), path
        if path.suffix == ".sh":
            subprocess.run(["bash", "-n", str(path)], check=True)
    shipped = [path for path in RECIPES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    table = (RECIPES / "README.md").read_text(encoding="utf-8")
    assert all(f"{path.relative_to(RECIPES)}`" in table for path in shipped if path.name != "README.md")
