"""The evaluations of one training run: each a stored run, paired with that of step 0 by a sequential test.

A folder holds ``evaluations.jsonl``, one row per evaluation, and the runs ``<task>/step-<n>`` as ``cim eval`` stores
them, captions and values per image included: ``cim compare FOLDER/TASK/step-0 FOLDER/TASK/step-20`` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry, store
from harness.api.evaluation import evaluate
from harness.api.result import Result, load_run
from harness.errors import CimError
from harness.runs import form, sequential

NAME = "evaluations.jsonl"
TEST = {"difference": form.NUMBER, "p": form.NUMBER, "alpha": form.NUMBER}
VALUES = {"*": (*form.NUMBER, form.NONE)}
ROW = {"step": int, "n": int, "alpha": form.NUMBER, "values": VALUES, "tests": {"*": TEST}, "worse": [str], "run": str}
CIM = frozenset({"cim", "grc", "qir", "rr", "self_retrieval"})  # rewards of which metric ``cim`` is no judge


def names(metrics: str | Sequence[str], rewards: Sequence[str]) -> list[str]:
    """The metrics of a watch, checked.

    Raises:
        CimError: unknown, none with a direction, or one that is the reward.
    """
    parts = [metrics] if isinstance(metrics, str) else metrics
    chosen = [registry.named("metrics", name.strip()) for part in parts for name in part.split(",") if name.strip()]
    if not any(_tested(name) for name in chosen):
        hint = "metrics of which higher or lower is better"
        raise CimError(f"nothing to test in {', '.join(chosen) or 'no metrics'}", where="metrics", hint=hint)
    for name in chosen:
        base = name.partition("@")[0]
        if base in rewards or (base == "cim" and CIM & set(rewards)):
            raise CimError(f"{name} is the reward", where="metrics", hint="watch by metrics that are not trained on")
    return chosen


class Evaluations:
    """Evaluations of one training run in a folder; rows of an earlier process are read back.

    Args:
        looks: how many evaluations after step 0 are planned; None where that is not known.
        alpha: the highest chance that a run that does not get worse is called worse, over all looks and values.
    """

    def __init__(
        self,
        folder: Path,
        task: str,
        metrics: Sequence[str],
        *,
        looks: int | None = None,
        alpha: float = sequential.ALPHA,
    ) -> None:
        if not 0 < alpha < 1:
            raise CimError(f"alpha is {alpha}", hint="between 0 and 1, such as 0.05")
        self.folder, self.task, self.metrics, self._looks, self._alpha = folder, task, list(metrics), looks, alpha
        self.file = folder / NAME
        self._all = form.rows(self.file, ROW, "another folder for this training")
        self._start: Result | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the evaluations so far, without those of steps that a resumed training does again."""
        return [row for row in self._all if not row.get("superseded")]

    def row(self, step: int) -> dict[str, Any] | None:
        """The evaluation of a step, None if there is none."""
        return next((row for row in self.rows if row["step"] == step), None)

    def resume(self, step: int) -> None:
        """Training goes on after this step: later evaluations are of lost weights; what they spent stays spent."""
        if any(row["step"] > step for row in self.rows):
            self._all = [{**row, "superseded": True} if row["step"] > step else row for row in self._all]
            store.write_rows(self.file, self._all)

    def begin(self, captions: Mapping[str, str]) -> dict[str, Any]:
        """The evaluation of step 0; where it is stored, the start model must still say the same.

        Raises:
            CimError: the folder holds another training's evaluations.
        """
        stored = self.row(0)
        if stored is not None and dict(self._first().captions) != dict(captions):
            what = "holds evaluations of another start model, or of other images"
            raise CimError(what, where=str(self.folder), hint="another folder for this training")
        return stored or self.add(0, captions)

    def add(self, step: int, captions: Mapping[str, str]) -> dict[str, Any]:
        """Score the captions of a step, test them against step 0 and store both.

        Raises:
            CimError: captions or metrics do not fit the task, or a metric cannot be computed here.
        """
        result = evaluate(
            captions,
            self.task,
            self.metrics,
            results=self.folder,
            name=f"step-{step}",
            partial=True,
            draws=0,
            fresh=True,
            page=False,
        )
        return self.keep(step, result)

    def keep(self, step: int, result: Result) -> dict[str, Any]:
        """Test a stored result against that of step 0 and append its row."""
        for score in result.scores.values():
            if score.not_computed:
                raise CimError(f"{score.metric} not computed: {score.not_computed}", where=f"step {step}")
        alpha = 0.0 if step == 0 else self._share()
        tests = {} if step == 0 else _tests(self._first(), result, alpha)
        worse = [label for label, test in tests.items() if test["p"] <= test["alpha"]]
        row = {"step": step, "n": len(result.per_sample), "values": result.values, "alpha": alpha}
        row |= {"tests": tests, "worse": worse, "run": f"{result.run.task}/{result.run.model}"}
        self.folder.mkdir(parents=True, exist_ok=True)
        with store.Appender(self.file) as rows:
            rows.append(row)
        self._all.append(row)
        if step == 0:
            self._start = result
        return row

    def _share(self) -> float:
        spent = [float(row["alpha"]) for row in self._all if row["step"] > 0]
        return sequential.share(max(0.0, self._alpha - sum(spent)), len(spent) + 1, self._looks)

    def _first(self) -> Result:
        stored = self.row(0)
        if stored is None:
            raise CimError("step 0 was not evaluated", where=str(self.folder), hint="begin with the start model")
        self._start = self._start or load_run(self.folder / stored["run"])
        return self._start


def _tested(metric: str) -> dict[str, bool]:
    """Labels of a metric's main values that have a direction, and whether higher is better."""
    part = registry.metric(metric)
    return {
        part.label(value.name): value.higher_is_better
        for value in part.values
        if value.main and value.higher_is_better is not None
    }


def _tests(start: Result, now: Result, alpha: float) -> dict[str, dict[str, float]]:
    """Mean difference per image, one-sided p and the level of each value; the level is shared out over all values."""
    tests, before, after = dict[str, dict[str, float]](), start.per_sample, now.per_sample
    for metric in now.scores:
        if start[metric].signature != now[metric].signature or before.keys() != after.keys():
            what = f"{metric} of step 0 has other settings or images ({start[metric].signature})"
            raise CimError(what, where=now[metric].signature or metric, hint="another folder")
        for label, higher in _tested(metric).items():
            pairs = [(row.get(label), before[name].get(label)) for name, row in after.items()]
            known = [b - a for b, a in pairs if a is not None and b is not None]
            moved = np.array(known, dtype=float) * (1 if higher else -1)
            moved = moved[np.isfinite(moved)]
            difference = float(moved.mean()) * (1 if higher else -1) if len(moved) else 0.0
            tests[label] = {"difference": difference, "n": len(moved), "p": sequential.p_worse(moved)}
    return {label: {**test, "alpha": alpha / len(tests)} for label, test in tests.items()}


def line(row: Mapping[str, Any]) -> str:
    """One evaluation as a line for people."""
    tests, values = row["tests"], row["values"]
    shown = [f"{label} {values[label]:.2f} ({test['difference']:+.2f})" for label, test in tests.items()]
    shown = shown or [f"{label} {value:.2f}" for label, value in values.items()]
    said = f"worse than step 0: {', '.join(row['worse'])}" if row["worse"] else ""
    return "; ".join(filter(None, [f"step {row['step']}: {', '.join(shown)}", f"n = {row['n']}", said]))
