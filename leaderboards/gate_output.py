"""Output of the gate: a table, Markdown for a job's summary, JUnit XML, annotations of GitHub Actions, JSON.

Texts from runs are escaped in each format; no output contains times. Annotations follow GitHub's rules for
workflow commands: %, CR and LF are %25, %0D, %0A in a message, and : and , are %3A and %2C in a property
(``actions/toolkit:packages/core/src/command.ts``). Written by ``cim check``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

from harness import registry
from harness.errors import one_line
from harness.runs import compare
from leaderboards.gate import BETTER, CANNOT_FAIL, FAILED, NOT_GATED, Gate, Row, task_of
from leaderboards.markdown import escaped, table_lines

HEADER = ("value", "baseline", "run", "difference", "95 % interval", "p (Holm)", "margin", "verdict")
SUITE = "cim gate"


def title(gate: Gate) -> str:
    """Run, baseline, task, number of images and margin."""
    points = f"{gate.points:g} point{'' if gate.points == 1 else 's'}"
    names = f"{gate.run.model} against baseline {gate.baseline.model} on {task_of(gate.run)}"
    return one_line(f"{names}: {gate.n} images, margin {points}")


def outcome(gate: Gate) -> str:
    """Passed or failed, and why."""
    rule = "both significant (Holm-corrected p < 0.05) and larger than its margin"
    better = [row.comparison.label for row in gate.rows if row.verdict == BETTER]
    more = f"; better: {', '.join(better)}" if better else ""
    silent = [f"{row.comparison.label} {row.verdict}" for row in gate.silent]
    more += f"; {len(silent)} of {len(gate.rows)} values guard nothing: {', '.join(silent)}" if silent else ""
    if not gate.failures:
        return f"passed: no drop is {rule}{more}"
    return f"failed: {len(gate.failures)} of {len(gate.rows)} values show a drop that is {rule}{more}"


def _cells(row: Row) -> tuple[str, ...]:
    test, digits = row.test, _digits(row)
    return (
        row.comparison.label,
        f"{test.a:.{digits}f}",
        f"{test.b:.{digits}f}",
        f"{test.difference:+.{digits}f}",
        f"{test.ci95[0]:.{digits}f} .. {test.ci95[1]:.{digits}f}",
        f"{row.comparison.holm_permutation:.4f}",
        "-" if row.margin is None else f"{row.margin:.{digits}f}",
        row.verdict,
    )


def _digits(row: Row) -> int:
    return registry.metric(row.comparison.metric).value(row.comparison.value).decimals


def text(gate: Gate) -> str:
    """The table as plain text, notes and outcome below it."""
    rows = [HEADER, *map(_cells, gate.rows)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.ljust(width) if at in (0, len(HEADER) - 1) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = [one_line(note) for note in gate.notes]
    return "\n".join([title(gate), *lines, *notes, outcome(gate)])


def _sentence(row: Row) -> str:
    test, digits = row.test, _digits(row)
    margin = "none" if row.margin is None else f"{row.margin:.{digits}f}"
    interval = f"95 % interval {test.ci95[0]:.{digits}f} .. {test.ci95[1]:.{digits}f}"
    p = f"p {row.comparison.holm_permutation:.4f} (Holm; {test.p_permutation:.4f} alone)"
    return (
        f"{row.comparison.label}: baseline {test.a:.{digits}f}, run {test.b:.{digits}f}, "
        f"difference {test.difference:+.{digits}f}, {interval}, {p}, margin {margin}: {row.verdict}"
    )


def markdown(gate: Gate) -> str:
    """A summary for a job's page; failed values in bold."""
    lines = [f"### Regression gate: {escaped(title(gate))}", "", escaped(outcome(gate)), ""]
    cells = [[escaped(cell) for cell in _cells(row)] for row in gate.rows]
    bold = [[f"**{c}**" for c in of] if row.verdict == FAILED else of for row, of in zip(gate.rows, cells, strict=True)]
    lines += [*table_lines(HEADER, bold), "", *(f"* {escaped(note)}" for note in gate.notes)]
    return "\n".join(lines).rstrip() + "\n"


def refused_markdown(reason: str) -> str:
    """The summary of a comparison that was refused."""
    return f"### Regression gate: refused\n\n{escaped(reason)}\n"


def junit(gate: Gate) -> bytes:
    """JUnit XML, one test case per value; values that are not gated or cannot fail count as skipped."""
    left_out = sum(row.verdict in (NOT_GATED, CANNOT_FAIL) for row in gate.rows)
    suite, root = _suite(len(gate.rows), failures=len(gate.failures), skipped=left_out)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("comparison", title(gate)), ("outcome", outcome(gate)), *(("note", n) for n in gate.notes)):
        ElementTree.SubElement(properties, "property", name=name, value=one_line(value))
    for row in gate.rows:
        case = _case(suite, one_line(f"{task_of(gate.run)}.{gate.baseline.model}"), row.comparison.label)
        if row.verdict == FAILED:
            failure = ElementTree.SubElement(case, "failure", type="regression", message=_sentence(row))
            failure.text = _sentence(row)
        elif row.verdict == NOT_GATED:
            ElementTree.SubElement(case, "skipped", message=f"reported, not gated: {_sentence(row)}")
        elif row.verdict == CANNOT_FAIL:
            ElementTree.SubElement(case, "skipped", message=f"could not have failed: {_sentence(row)}")
        else:
            ElementTree.SubElement(case, "system-out").text = _sentence(row)
    return _bytes(root)


def refused_junit(reason: str) -> bytes:
    """JUnit XML of a refused comparison: one test case with an error, which replaces any earlier file."""
    suite, root = _suite(1, errors=1)
    error = ElementTree.SubElement(_case(suite, SUITE, "comparison"), "error", type="refused", message=one_line(reason))
    error.text = one_line(reason)
    return _bytes(root)


def _suite(tests: int, failures: int = 0, errors: int = 0, skipped: int = 0) -> tuple[ElementTree.Element, ...]:
    counts = {"tests": tests, "failures": failures, "errors": errors, "skipped": skipped}
    root = ElementTree.Element("testsuites")
    return ElementTree.SubElement(root, "testsuite", {"name": SUITE, **{k: str(n) for k, n in counts.items()}}), root


def _case(suite: ElementTree.Element, owner: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=owner, name=name)


def _bytes(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def annotation(kind: str, heading: str, message: str) -> str:
    """One workflow command: ``error``, ``warning`` or ``notice`` with a title."""
    named, content = (text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A") for text in (heading, message))
    return f"::{kind} title={named.replace(':', '%3A').replace(',', '%2C')}::{content}"


def workflow_commands(gate: Gate) -> Iterator[str]:
    """One error per failed value, largest drop in margins first (GitHub shows ten); then gains and notes."""
    for row in sorted(gate.failures, key=lambda row: -abs(row.test.difference) / (row.margin or 1e-9)):
        yield annotation("error", f"regression: {row.comparison.label}", _sentence(row))
    for row in gate.rows:
        if row.verdict == BETTER:
            yield annotation("notice", f"better: {row.comparison.label}", _sentence(row))
    for note in gate.notes:
        yield annotation("warning" if note.startswith("failed captions") else "notice", SUITE, one_line(note))
    yield annotation("notice", SUITE, f"{title(gate)}: {outcome(gate)}")


def as_json(gate: Gate) -> dict[str, Any]:
    """What ``check --json`` prints."""
    both = zip(compare.records([row.comparison for row in gate.rows]), gate.rows, strict=True)
    comparisons = [{**fields, "margin": row.margin, "verdict": row.verdict} for fields, row in both]
    return {
        "run": gate.run.model,
        "baseline": gate.baseline.model,
        "task": task_of(gate.run),
        "n": gate.n,
        "margin": gate.points,
        "passed": not gate.failures,
        "guard_nothing": [row.comparison.label for row in gate.silent],
        "comparisons": comparisons,
        "notes": list(gate.notes),
    }
