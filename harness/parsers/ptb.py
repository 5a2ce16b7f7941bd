"""Penn Treebank tokens of captions: Stanford CoreNLP 3.4.1, lower-cased, without punctuation tokens.

Same strings as ``pycocoevalcap==1.2:tokenizer/ptbtokenizer.py`` gives for a caption alone. There, the
captions of one call are the lines of one file, and a line's last tokens depend on what follows: "etc."
before a capital becomes "etc ." and a smiley at the end of the file is no token. A stored parse belongs
to its text, so here each text is a file of its own, all of them read by one JVM (``-ioFileList``).
``cim eval --metrics meteor,bleu4``
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.parts import Parse, Parser, Values
from harness.resources import java

JAR = ("tokenizer/stanford-corenlp-3.4.1.jar", "2fcb91bb7a111f93d71e264f4ee0e3afd19ba0dde6d21b38605088df9e940399")
OPTIONS = ("-preserveLines", "-lowerCase")
# 1,000 captions, Java 17: 0.5 instead of 1.1-1.3 CPU seconds; they end before the second compiler pays.
JVM_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
MEMORY, PREFIX, LOCK = Path("/dev/shm"), "cim-ptb-", "lock"
START_SECONDS = 120.0
TEXT_SECONDS = 0.1

# pycocoevalcap==1.2:tokenizer/ptbtokenizer.py PUNCTUATIONS. The brackets never match, as lower-casing
# comes first: "-lrb-" and its like stay in the text, there as here.
PUNCTUATION = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)


def tokenize(texts: Sequence[str]) -> Iterator[str]:
    """The tokens of each text joined by single blanks, in order; one JVM start per call, none without texts.

    Raises:
        CimError: no Java, or no pycocoevalcap 1.2.
        OutageError: the JVM failed, took too long, or did not give one line per text.
    """
    if not texts:
        return
    jar = java.find_jar(*JAR)
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=_memory(texts)) as name, _held(Path(name)) as folder:
        for i, text in enumerate(texts):
            (folder / f"{i}").write_bytes(java.one_line(text).encode())
        # Pairs of input and output file, split at blanks: names relative to the folder, which may have some.
        (folder / "files").write_text("".join(f"{i} {i}.out\n" for i in range(len(texts))), encoding="ascii")
        lines = _run(jar, folder, len(texts))
    yield from map(without_punctuation, lines)


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """The folder, with a locked file in it for as long as this process lives."""
    waiting = folder / f"{LOCK}.new"
    with waiting.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        waiting.rename(folder / LOCK)  # nobody finds it before it is locked
        yield folder


def _remove_abandoned() -> None:
    """Remove folders in memory whose process was killed."""
    for lock in MEMORY.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as stream:  # another user's, or gone, or in use
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)


def _memory(texts: Sequence[str]) -> str | None:
    """Folder kept in memory, if there is one with room: small files cost a disk several times the tokenising."""
    room = 16 * sum(len(text) + 4096 for text in texts)
    return str(MEMORY) if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > room else None


def _run(jar: Path, folder: Path, count: int) -> list[str]:
    """Tokenise every file named in ``folder/files``: the one line of each, in order."""
    command = [*JVM_FLAGS, "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", *OPTIONS, "-ioFileList", "files"]
    seconds = START_SECONDS + TEXT_SECONDS * count
    with java.running(command, folder) as jvm:
        try:
            jvm.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise java.outage(f"the PTB tokenizer did not end within {seconds:g} s", jvm) from None
        if jvm.process.returncode:
            raise java.outage("the PTB tokenizer failed", jvm)
        outputs = [folder / f"{i}.out" for i in range(count)]
        lines = [line for path in outputs if path.is_file() for line in path.read_bytes().decode().split("\n")]
        if len(lines) != count:
            raise java.outage(f"the PTB tokenizer gave {len(lines)} lines for {count} texts", jvm)
    return lines


def without_punctuation(line: str) -> str:
    """A line of tokens without its punctuation tokens, cut as pycocoevalcap does."""
    return " ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION)


@contextmanager
def session(_: Values | None = None) -> Iterator[Parse]:
    """Yields ``tokenize``, which starts a JVM per call, as the tokenizer writes its output at its end."""
    yield tokenize


PARSER = Parser(
    name="ptb",
    settings=lambda: {
        "tokenizer": f"PTBTokenizer, CoreNLP 3.4.1 (jar {JAR[1][:12]})",
        "options": f"{' '.join(OPTIONS)}, each text alone",
        "removed": "punctuation as pycocoevalcap 1.2",
        "blanked": java.BLANKED,
    },
    session=session,
    missing=java.missing_java,
)
