"""What judging costs: estimated before, counted after, priced only by what the model's TOML says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import registry
from harness.resources import data
from tests import chat_server
from tests.cli import Cim, captions_file

PRICE = '[price]\ninput = 0.5\noutput = 2.0\ncurrency = "EUR"\n'
COMMON = ("--task", "miniscenes", "--metrics", "relation_qa", "--partial", "--judge", "priced", "--json")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[chat_server.Server]:
    """A FAKE server that counts 7 prompt and 5 reply tokens a call, with a price."""
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with chat_server.serving() as serving:
        serving.toml(tmp_path / "models", "priced", more='revision = "1"\n', table=f"retries = 0\n{PRICE}")
        yield serving


@pytest.fixture
def run(tmp_path: Path) -> Path:
    samples = data.samples(registry.task("miniscenes"))[:12]
    return captions_file(tmp_path / "run.jsonl", {sample.id: sample.references[0] for sample in samples})


def test_costs_before_and_after(cim: Cim, run: Path, server: chat_server.Server) -> None:
    before = cim("eval", "--model", run, *COMMON, "--dry-run").json["judge"]
    assert not server.bodies and not cim.results.exists()
    assert (before["calls"], before["reply_tokens_at_most"], before["reply_tokens"]) == (12, 12 * 64, None)
    assert before["seconds"] is None and before["currency"] == "EUR"
    assert before["price"] == pytest.approx((0.5 * before["prompt_tokens"] + 2 * 12 * 64) / 1e6)
    assert cim("eval", "--model", run, *COMMON).code == 0
    letters = sum(len(body["messages"][-1]["content"]) for body in server.bodies)
    assert before["prompt_tokens"] == letters // 4
    used = cim("judge", "--model", run, *COMMON).json["usage"]
    assert (used["calls"], used["prompt_tokens"], used["reply_tokens"], used["uncounted"]) == (12, 84, 60, 0)
    assert used["price"] == pytest.approx((0.5 * 84 + 2 * 60) / 1e6) and used["seconds"] > 0
    assert cim("judge", "--model", run, *COMMON, "--dry-run").json["judge"]["calls"] == 0
    copy = Path(run.rename(run.with_name("copy.jsonl")))
    assert cim("caption", "--model", copy, *COMMON).code == 0
    assert cim("judge", "--model", copy, *COMMON, "--dry-run").json["judge"]["calls"] == 0  # shared replies
    assert cim("eval", "--model", copy, *COMMON).code == 0
    used = cim("judge", "--model", copy, *COMMON).json["usage"]
    assert (used["calls"], used["shared"], used["price"]) == (0, 12, 0)
    texts = {row["sample_id"]: f"{row['caption']} ." for row in map(json.loads, copy.read_text().splitlines())}
    other = captions_file(copy.with_name("other.jsonl"), texts)
    plan = cim("eval", "--model", other, *COMMON, "--dry-run").json["judge"]
    assert plan["calls"] == 12 and plan["reply_tokens"] == 60 and plan["seconds"] is not None  # as in earlier calls


def test_what_an_outage_had_used_is_kept(cim: Cim, run: Path, server: chat_server.Server) -> None:
    server.pause = 0.05
    server.always = lambda body: "500" if len(server.bodies) > 5 else ""
    models = Path(run.parent / "models" / "priced.toml")
    models.write_text(models.read_text().replace("timeout = 1.5", "timeout = 1.5\nconcurrency = 1"))
    assert cim("eval", "--model", run, *COMMON).code == 1
    manifest = json.loads((cim.results / "miniscenes" / "run" / "manifest.json").read_text())
    assert manifest["usage"]["priced"]["calls"] == 5
    server.always = lambda body: ""
    assert cim("eval", "--model", run, *COMMON).code == 0
    used = cim("judge", "--model", run, *COMMON).json["usage"]
    assert (used["calls"], used["prompt_tokens"]) == (12, 84)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PRICE.replace("output = 2.0\n", ""), "key 'price.output' is missing"),
        (PRICE.replace("0.5", "-1"), "key 'price.input' must be 0 or more"),
        (PRICE.replace('"EUR"', '"euro"'), "key 'price.currency' must match"),
    ],
)
def test_a_price_is_whole(cim: Cim, run: Path, server: chat_server.Server, text: str, said: str) -> None:
    path = run.parent / "models" / "priced.toml"
    path.write_text(path.read_text().replace(PRICE, text))
    assert said in cim.refused("eval", "--model", run, *COMMON)


def test_no_price_ships_with_the_project() -> None:
    """Prices change and nobody here can look them up: they are the user's to write."""
    assert [name for name in registry.names("models") if "[price]" in registry.model_file(name).read_text()] == []
