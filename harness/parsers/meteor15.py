"""Statistics of METEOR 1.5 for a caption and its references, from one Java process that answers line by line.

One text is ``reference ||| ... ||| hypothesis`` in PTB tokens (``pair``); its value is the line that
``SCORE ||| text`` returns: 23 sums, of the reference with the best score (the first of equal ones),
whose order and use are in ``harness/metrics/meteor.py``. Protocol: ``meteor-1.5.jar:Meteor.scoreStdio``
and ``pycocoevalcap==1.2:meteor/meteor.py``. ``cim eval --metrics meteor``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness import java
from harness.parts import Parse, Parser

JAR = ("meteor/meteor-1.5.jar", "1e57b4c72c0830ebe68558f1c799a624e96cbc1b6045c9f6330e26dcff6eafc2")
OPTIONS = ("-l", "en", "-norm")
STATISTICS = 23
# 500 DOCCI captions on 2 shared cores, Java 17, medians: 13.6 s and 19.6 CPU seconds; with the default
# collector 17.9 and 21.0. Without the second compiler (-XX:TieredStopAtLevel=1) loading takes 4 s longer.
JVM_FLAGS = ("-Xmx2G", "-XX:+UseParallelGC", "-XX:ParallelGCThreads=2")
# Reading the paraphrase table takes 7-15 s, 40 s on a busy machine.
START_SECONDS = 180.0
TEXT_SECONDS = 60.0
CLOSE_SECONDS = 60.0


def pair(references: Sequence[str], hypothesis: str) -> str:
    """The text of one caption: token strings joined so that METEOR sees these references and no other.

    ``|||`` separates references, so it is taken out and the blanks it leaves are joined: from the
    hypothesis as in ``pycocoevalcap==1.2:meteor/meteor.py`` ``_stat``; there, a reference that holds it
    silently becomes two.
    """
    kept = [_without_bars(reference) if "|||" in reference else reference for reference in references]
    return " ||| ".join((*kept, _without_bars(hypothesis)))


def _without_bars(tokens: str) -> str:
    return tokens.replace("|||", "").replace("  ", " ")


@contextmanager
def session() -> Iterator[Parse]:
    """Start the JVM, which loads in the background, and yield the function from texts to their statistics.

    It ends with the session: by itself with exit status 0, or killed when it was never asked or the body raises.

    Raises:
        CimError: no Java, or no pycocoevalcap 1.2.
        OutageError: the JVM died or did not answer within ``START_SECONDS`` (later ``TEXT_SECONDS``).
    """
    jar = java.find_jar(*JAR)
    # Named, and found from the working folder: left to itself METEOR looks beside the jar by an address in which a
    # blank or a letter beyond ASCII is encoded twice.
    command = [*JVM_FLAGS, "-jar", jar.name, "-", "-", "-stdio", *OPTIONS, "-a", "data/paraphrase-en.gz"]
    with java.running(command, jar.parent, pipes=True, grace=CLOSE_SECONDS) as jvm:
        seconds, asked = START_SECONDS, False

        def parse(texts: Sequence[str]) -> Iterator[list[float]]:
            nonlocal seconds, asked
            # One question, one answer: METEOR works 8 ms on it, so asking ahead gains nothing that can
            # be measured, and a caller who stops half-way leaves no answer behind.
            for text in texts:
                asked = True
                statistics = _ask(jvm, text, seconds)
                seconds = TEXT_SECONDS
                yield statistics

        yield parse
        if not asked:  # it may still be loading, and would end only after that
            java.kill(jvm.process)


def _ask(jvm: java.Java, text: str, seconds: float) -> list[float]:
    answer = java.ask(jvm, f"SCORE ||| {java.one_line(text)}\n".encode(), seconds)
    if answer is None:
        raise java.outage(f"METEOR did not answer within {seconds:g} s", jvm)
    try:
        statistics = [float(number) for number in answer.split()]
    except ValueError:
        statistics = []
    if len(statistics) != STATISTICS:
        raise java.outage(f"METEOR answered {answer.decode(errors='replace').strip()!r}, not statistics", jvm)
    return statistics


PARSER = Parser(
    name="meteor15",
    settings={
        "scorer": f"METEOR 1.5 (jar {JAR[1][:12]}, paraphrase table c147ac7d2c91)",
        "options": " ".join(OPTIONS),
        "removed": "||| from every part",
        "blanked": java.BLANKED,
    },
    session=session,
    missing=java.missing_java,
)
