"""``cim judge --label``: people answer a judge's questions, on a page of this machine or in a sheet."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command import judge_arguments
from harness.errors import CimError

if TYPE_CHECKING:
    from harness.calibration.questions import Labelling
    from harness.labelling.session import Session
    from harness.stages.evaluate import Work

LONGEST_NAME = 40


def label_verb(args: argparse.Namespace, works: Sequence[Work]) -> int:
    """Label the questions of one run; prints how many are answered, and how far labellers agree."""
    from harness.calibration import labels, questions
    from harness.labelling import session as sessions
    from harness.labelling import sheet

    if len(works) > 1:
        raise CimError("several runs", hint="label one run at a time: one --model and one --task")
    if args.fresh or args.dry_run:
        raise CimError("--fresh and --dry-run do not go with --label or --labels")
    name = args.labeller.strip()
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise CimError(f"--labeller {name[:LONGEST_NAME]!r}", hint=f"a name of 1 to {LONGEST_NAME} letters")
    (work,) = works
    of = questions.labelling(work.run, work.metrics, args.label or judge_arguments.LABELS)
    report: dict[str, Any] = {"task": work.run.task.name, "model": work.run.model.name, "judge": of.answering}
    with labels.writing(work.run.folder, of.judge, of.answering, name) as writer:
        session = sessions.begin(of.questions, of.labels, writer)
        if args.labels:
            report["read"] = sheet.read(Path(args.labels), session)
        elif args.out:
            report["written"] = sheet.write(Path(args.out), session)
        else:
            _page(session, of)
    _finish(args, of, report | {"labeller": name, "answered": session.done, "questions": len(session.questions)})
    return 0


def _page(session: Session, of: Labelling) -> None:
    """Serve the page until it is stopped there, or by Ctrl-C."""
    from harness.calibration import questions
    from harness.labelling import server

    with server.serving(session, lambda question: questions.picture(of.run, question.sample)) as address:
        print(f"label here: {address} (Ctrl-C stops; answers are stored at once)", file=sys.stderr, flush=True)
        try:
            session.finished.wait()
        except KeyboardInterrupt:
            print(file=sys.stderr)


def _finish(args: argparse.Namespace, of: Labelling, report: dict[str, Any]) -> None:
    from harness.calibration import questions
    from harness.command import terminal
    from harness.stages import agreement

    draws = {} if args.draws is None else {"draws": args.draws}
    if kappas := questions.kappas(of, **draws):
        report["agreement"] = agreement.as_rows(kappas)
    if args.json:
        print(json.dumps(report, indent=1))
        return
    if kappas:
        terminal.show(terminal.agreement_table("agreement", kappas))
    named, folder = f"{report['model']} on {report['task']}", of.run.folder
    if "written" in report:
        print(f"{named}: {report['written']} questions in {args.out}; fill in column answer, then --labels {args.out}")
        return
    print(
        f"{named}: {report['answered']} of {report['questions']} questions answered by {report['labeller']}; stored in "
        f"{folder}; corrected values: cim score --model {folder}"
    )
