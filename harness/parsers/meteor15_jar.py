"""Statistics of METEOR 1.5 by the original jar of pycocoevalcap 1.2, for metric ``meteor@jar``; needs Java.

The text and its value are those of parser ``meteor15``: the jar's answer to ``SCORE ||| text`` with ``-l en -norm``.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.parsers import meteor15
from harness.parts import Parse, Parser, Values
from harness.resources import java

JVM = ("-Xmx2G",)
START_SECONDS, TEXT_SECONDS = 300, 1.0


def _statistics(texts: Sequence[str]) -> Iterator[list[float]]:
    """One list of 23 numbers per text.

    Raises:
        OutageError: the JVM failed, took too long, or did not answer every text.
    """
    if not texts:
        return
    jar = java.find_jar(*meteor15.JAR)
    command = [*JVM, "-jar", jar.name, "-", "-", "-stdio", *meteor15.OPTIONS]
    with tempfile.TemporaryDirectory(prefix="cim-meteor-") as name:
        asked, answers = Path(name) / "asked", Path(name) / "answers"
        asked.write_text("".join(f"SCORE ||| {java.one_line(text)}\n" for text in texts), encoding="utf-8")
        with asked.open("rb") as source, answers.open("wb") as sink:
            seconds = START_SECONDS + TEXT_SECONDS * len(texts)
            with java.running(command, jar.parent, source, sink) as jvm:
                try:
                    jvm.process.wait(seconds)
                except subprocess.TimeoutExpired:
                    raise java.outage(f"METEOR's jar did not end within {seconds:g} s", jvm) from None
                lines = answers.read_text(encoding="utf-8").splitlines()
                if jvm.process.returncode or len(lines) != len(texts):
                    raise java.outage(f"METEOR's jar gave {len(lines)} lines for {len(texts)} texts", jvm)
    yield from ([float(number) for number in line.split()] for line in lines)


@contextmanager
def _session(_: Values | None = None) -> Iterator[Parse]:
    yield _statistics


PARSER = Parser(
    name="meteor15_jar",
    settings=lambda: {**meteor15.shared_settings(), "scorer": f"meteor-1.5.jar {meteor15.JAR[1][:12]}"},
    session=_session,
    missing=java.missing_java,
)
