"""Stored runs as leaderboards read them: what is found, ranks that say who is told apart, groups never mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from harness import store
from harness.runs import stats, stored_run
from harness.runs.stored_run import StoredRun
from leaderboards import standings
from tests import synthetic_runs


def read(results: Path, task: str | None = None) -> list[StoredRun]:
    told: list[str] = []
    runs = stored_run.load_all(results, told.append, task)
    assert told == []
    return runs


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    synthetic_runs.make(results, models=3, n=60, tasks=("docci500",))
    return results


def test_runs_are_found_by_task_and_name_and_faults_are_told(three: Path, tmp_path: Path) -> None:
    assert [(run.task, run.model) for run in read(three)] == [("docci500", f"system-0{at}") for at in range(3)]
    for left_out in ("train/arm", ".cache/x", "published/y", "baseline/z", "docci500/broken"):
        folder = tmp_path / left_out
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    told: list[str] = []
    assert stored_run.load_all(tmp_path, told.append) == []
    assert len(told) == 1 and "docci500/broken" in told[0]


def test_values_and_intervals_are_those_of_the_score_files(three: Path) -> None:
    for group in standings.groups(read(three)):
        for standing in group.standings:
            row = standing.run.scores[group.metric]
            assert standing.point == pytest.approx(row["values"][group.value], abs=1e-9)
            assert standing.ci95 == pytest.approx(tuple(row["ci95"][group.value]), abs=1e-9)


def test_intervals_are_those_of_the_score_files_whatever_the_order_of_samples(three: Path, tmp_path: Path) -> None:
    """Tasks do not list their samples by id; resamples draw rows in the order that is stored."""
    shutil.copytree(three, tmp_path, dirs_exist_ok=True)
    for run in sorted((tmp_path / "docci500").iterdir()):
        for name in ("per_sample.jsonl", "statistics.jsonl"):
            store.write_rows(run / name, store.read_rows(run / name)[::-1])
    (group,) = [group for group in standings.groups(read(tmp_path)) if group.metric == "capture"]
    for standing in group.standings:
        column = standing.run.column(synthetic_runs.registry.metric("capture"))
        backwards = stats.Column(column.statistics[::-1], column.aggregate)
        assert standing.ci95 == pytest.approx(tuple(stats.interval(stats.bootstrap([backwards])[0])[0]), abs=1e-9)
        assert standing.ci95 != pytest.approx(tuple(stats.interval(stats.bootstrap([column])[0])[0]), abs=1e-9)


def test_ranks_join_whom_the_paired_test_does_not_tell_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    base = generator.normal(50, 10, 200)
    metric = synthetic_runs.registry.metric("capture")
    systems = {"best": base + 8, "twin": base + generator.normal(0, 5, 200), "other": base, "worst": base - 8}
    for name, values in systems.items():
        noisy = values + generator.normal(0, 2, 200)
        column = stats.Column(noisy[:, None], metric.aggregate)
        synthetic_runs.write(tmp_path / "docci500" / name, "docci500", {"capture": column})
    (group,) = standings.groups(read(tmp_path))
    ranks = {standing.run.model: standing.rank for standing in group.standings}
    assert ranks == {"best": (1, 1), "twin": (2, 3), "other": (2, 3), "worst": (4, 4)}


def test_equal_systems_share_the_rank_and_one_system_has_the_first(tmp_path: Path) -> None:
    metric = synthetic_runs.registry.metric("capture")
    column = stats.Column(np.full((20, 1), 50.0), metric.aggregate)
    for name in ("a", "b"):
        synthetic_runs.write(tmp_path / "docci500" / name, "docci500", {"capture": column})
    (group,) = standings.groups(read(tmp_path))
    assert [standing.rank for standing in group.standings] == [(1, 2), (1, 2)]
    (alone,) = standings.groups(read(tmp_path)[:1])
    assert [standing.rank for standing in alone.standings] == [(1, 1)]


def test_runs_of_other_signatures_or_samples_stand_apart(three: Path, tmp_path: Path) -> None:
    synthetic_runs.make(tmp_path, models=3, n=60, tasks=("docci500",))
    path = tmp_path / "docci500" / "system-01" / "scores.json"
    document = store.read_document(path) or {}
    for row in document["scores"]:
        row["signature"] += "|extra:1"
    store.write_document(path, document)
    synthetic_runs.make(tmp_path / "fewer", models=1, n=40, tasks=("docci500",))
    (tmp_path / "fewer" / "docci500" / "system-00").rename(tmp_path / "docci500" / "fewer")
    matching = [g for g in standings.groups(read(tmp_path)) if g.metric == "capture"]
    assert [[standing.run.model for standing in group.standings] for group in matching] == [
        ["system-02", "system-00"],
        ["fewer"],
        ["system-01"],
    ]


def test_thousand_models_would_still_be_told_apart() -> None:
    """The floor of resampled p values would be lifted over 5 % by Holm's correction; a clear difference is not."""
    generator = np.random.default_rng(2)
    clear = 5 + generator.normal(0, 0.5, 10_000)
    assert standings.bootstrap_p(clear, 5.0) < 1e-9
    none = generator.normal(0, 0.5, 10_000)
    assert standings.bootstrap_p(none, 0.1) > 0.5
    assert standings.bootstrap_p(np.zeros(100), 0.0) == 1.0
