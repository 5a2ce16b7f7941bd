"""What a machine may lack: room, file handles, memory, open streams, the right to write, a clock that goes forward."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.torture import runner, trouble
from tests.torture.commands import Command
from tests.torture.workspace import Workspace

CAPABILITIES = 0x20080522  # version 3 of linux/capability.h


def handles(space: Workspace, command: Command, draw: random.Random) -> runner.Ended:
    """10 to 40 file handles."""
    few = draw.randint(10, 40)
    return space.run(command, before=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (few, few)))


def memory(space: Workspace, command: Command, draw: random.Random) -> runner.Ended:
    """A few megabytes more than the process has mapped when it starts."""

    def limit() -> None:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = mapped + draw.choice((1, 4, 16, 64, 256)) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return space.run(command, before=limit)


def streams(space: Workspace, command: Command, draw: random.Random) -> runner.Ended:
    """Standard streams closed: input, output, errors, or several; a process of its own, as a shell starts it."""
    closed = draw.choice(((2,), (1,), (1, 2), (0,), (0, 1, 2)))
    shell = 'exec "$@" ' + " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    words = ["sh", "-c", shell, "sh", sys.executable, "-m", "harness", *command.words(space.root)]
    environment = {**os.environ, **space.environment()}
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    unread = "(closed)" if done.returncode and not {1, 2}.isdisjoint(closed) else ""  # what nobody can read
    return runner.Ended(done.returncode, done.stdout + unread, done.stderr)


def clock(space: Workspace, command: Command, draw: random.Random) -> runner.Ended:
    """The time of day goes backwards, an hour at every look."""
    start = time.time()
    moments = (start - 3600.0 * number for number in range(10**9))

    def set_back() -> None:
        time.time = lambda: next(moments)

    return space.run(command, before=set_back)


def full(space: Workspace, command: Command, draw: random.Random) -> runner.Ended:
    """A disk with 0 to 500 kB left: a file system of its own where one can be mounted, else a limit on every file."""
    room = draw.choice((0, 4, 16, 64, 200, 500)) * 1024
    if not mounted(space):

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

        return space.run(command, before=limit)
    stuffing, free = space.root / "stuffing", os.statvfs(space.root)
    with stuffing.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, free.f_bavail * free.f_frsize - room))
    try:
        return space.run(command)
    finally:
        stuffing.unlink()


def mounted(space: Workspace) -> bool:
    """Is the workspace a file system of its own? ``mount`` makes it one."""
    return space.root.is_mount()


def mount(space: Workspace) -> bool:
    """Make the workspace a file system in memory of its own, of 24 MB; False where that is not allowed."""
    shutil.rmtree(space.root, ignore_errors=True)
    space.root.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(space.root)]
    return os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0


def unmount(space: Workspace) -> None:
    """Undo ``mount``."""
    if mounted(space):
        subprocess.run(["umount", "-l", str(space.root)], check=True)


def without_privileges() -> None:
    """Give up all capabilities of this process: modes of files then hold for root as for their owner."""
    header, none = struct.pack("Ii", CAPABILITIES, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def read_only(space: Workspace, command: Command, draw: random.Random) -> runner.Ended:
    """Folders that may be read and not written: all, or the first that the command writes to."""
    places = [space.root] if draw.random() < 0.5 else [*space.root.glob(command.files[0])] or [space.root / "results"]
    folders = [path for place in places if place.exists() for path in (place, *place.rglob("*"))]
    modes = {path: path.stat().st_mode for path in folders if not path.is_symlink()}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        return space.run(command, before=without_privileges)
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


LIMITS: dict[str, Callable[[Workspace, Command, random.Random], runner.Ended]] = {
    "handles": handles,
    "memory": memory,
    "streams": streams,
    "clock": clock,
    "disk": full,
    "readonly": read_only,
}


def lack(
    space: Workspace, command: Command, right: trouble.Undisturbed, draw: random.Random, part: str
) -> tuple[str, str]:
    """One case of one of ``LIMITS``."""

    def meet() -> runner.Ended:
        space.restore(command.name)
        return LIMITS[part](space, command, draw)

    return trouble.outcome(space, command, right, meet)
