"""The scores of one run in memory: values, intervals, rows per sample; printed as text, or data frames on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError, one_line
from harness.pages.text import aligned
from harness.resources import paths
from harness.runs import stored_run
from harness.runs.stored_run import StoredRun
from harness.types import Score

HEADER = ("metric", "value", "95 % confidence interval", "n", "failed")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    """The scores of one set of captions; ``print`` shows value, 95 % confidence interval, n and signature per metric.

    ``captions`` are texts by sample id, None for a failed one; ``details`` what metrics keep for a report, by sample id
    and metric; ``folder`` is where the run is stored, None where it is not. Labels of values are ``cider`` for a metric
    with one value, ``capture f1`` for one with several.
    """

    run: StoredRun
    captions: Mapping[str, str | None]
    details: Mapping[str, Mapping[str, Any]]
    folder: Path | None = None

    @property
    def scores(self) -> dict[str, Score]:
        """The score of each metric, by name, those that could not be computed included."""
        return {name: _score(row) for name, row in self.run.scores.items()}

    @property
    def values(self) -> dict[str, float]:
        """Every computed value by its label."""
        return {
            _label(score, name): value
            for score in self.scores.values()
            for name, value in score.values.items()
            if value is not None
        }

    @property
    def per_sample(self) -> dict[str, dict[str, float]]:
        """Values of each sample: sample id to label to value, in the order of the samples."""
        scores = [score for score in self.scores.values() if not score.not_computed]
        return {
            sample_id: {
                _label(score, name): value for score in scores for name, value in row.get(score.metric, {}).items()
            }
            for sample_id, row in self.run.per_sample.items()
        }

    @property
    def outcomes(self) -> dict[str, Any]:
        """The account of the captions: counts, ``notes`` and ``warnings``; empty for a run scored before it existed."""
        account = self.run.document.get("outcomes")
        return account if isinstance(account, dict) else {}

    def __getitem__(self, metric: str) -> Score:
        """The score of a metric: ``values``, ``ci95``, ``n``, ``n_failed``, ``signature``, ``not_computed``.

        Raises:
            CimError: the run has no such metric.
        """
        if metric not in self.run.scores:
            raise CimError(f"no metric {metric!r} in this result", hint=f"it has {', '.join(self.run.scores)}")
        return _score(self.run.scores[metric])

    def frame(self) -> Any:
        """A pandas data frame with one row per value.

        Raises:
            CimError: pandas is not installed.
        """
        rows = [
            {
                "metric": score.metric,
                "value": name,
                "score": value,
                "ci95_low": score.ci95[name][0],
                "ci95_high": score.ci95[name][1],
                "n": score.n,
                "n_failed": score.n_failed,
                "signature": score.signature,
                "not_computed": score.not_computed,
            }
            for score in self.scores.values()
            for name, value in score.values.items()
        ]
        return data_frame(rows)

    def per_sample_frame(self) -> Any:
        """A pandas data frame with one row per sample, indexed by sample id: caption and every value.

        Raises:
            CimError: pandas is not installed.
        """
        rows = [{"sample_id": name, "caption": self.captions.get(name), **row} for name, row in self.per_sample.items()]
        return data_frame(rows).set_index("sample_id")

    def __str__(self) -> str:
        scores = list(self.scores.values())
        rows = [HEADER, *(row for score in scores if not score.not_computed for row in _shown(score))]
        reasons = [f"{score.metric} not computed: {score.not_computed}" for score in scores if score.not_computed]
        signatures = [score.signature for score in scores if score.signature]
        title = f"{self.run.model} on {self.run.task}"
        notes = (str(line) for name in ("notes", "warnings") for line in self.outcomes.get(name, ()))
        return "\n".join([one_line(title), *aligned(rows), *map(one_line, (*notes, *reasons, *signatures))])

    def __repr__(self) -> str:
        return str(self)


def load_run(path: str | Path, *, task: str | None = None, results: str | Path | None = None) -> Result:
    """Read a stored run; nothing is computed.

    Args:
        path: the run's folder, or its name under the results folder.
        task: the benchmark, where several runs have that name.
        results: the results folder; ``$CIM_RESULTS``, else ``results/`` if None.

    Raises:
        CimError: no scored run here, or its files are damaged.
    """
    return of_stored(stored_run.load(stored_run.find(str(path), paths.results_root(results), task)))


def of_stored(run: StoredRun) -> Result:
    """A stored run with all its rows read."""
    return Result(run, {name: row.text for name, row in run.files.completions().items()}, run.details, run.files.folder)


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A pandas data frame of rows; CimError where pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise CimError("data frames need pandas", hint="pip install cim-harness[report]") from error
    return pandas.DataFrame(rows)


def _score(row: Mapping[str, Any]) -> Score:
    return Score(
        row["metric"],
        row["values"],
        {name: (bounds[0], bounds[1]) for name, bounds in row["ci95"].items()},
        row["n"],
        row["n_failed"],
        row["signature"],
        row["controls"],
        row.get("counts", {}),
        row.get("not_computed"),
        row.get("outage", False),
    )


def _label(score: Score, name: str) -> str:
    """As ``Metric.label``; a stored run may hold a metric that is not installed here."""
    return score.metric if name == "score" or len(score.values) == 1 else f"{score.metric} {name}"


def _shown(score: Score) -> list[tuple[str, ...]]:
    known = score.metric.partition("@")[0] in registry.names("metrics")
    rows = list[tuple[str, ...]]()
    for name, value in score.values.items():
        digits = registry.metric(score.metric).value(name).decimals if known else 2
        low, high = score.ci95[name]
        around = "-" if low is None or high is None else f"{low:.{digits}f} .. {high:.{digits}f}"
        number = "-" if value is None else f"{value:.{digits}f}"
        rows.append((one_line(_label(score, name)), number, around, str(score.n), str(score.n_failed)))
    return rows
