"""A chat template is a program of whoever made the checkpoint: it is tried where it can be stopped before it is used.

transformers renders it in jinja2's sandbox, which keeps it from files and from Python, not from a loop without end or
from all memory. So it renders one message in a process of its own, with a bound on time, memory and length. What a
template does only for some captions is not seen by this.
"""

from __future__ import annotations

import functools
import json
import resource
import signal
import subprocess
import sys

from harness.errors import CimError

SECONDS = 10  # of CPU time; templates take milliseconds
WALL = 120.0  # seconds, on a machine that does other things, too
MEMORY = 4 << 30  # bytes of address space
LONGEST = 1 << 20  # letters of a prompt of one short message
TOO_MUCH = 3  # exit status


@functools.lru_cache(maxsize=16)
def refuse_endless(template: str, arguments: str, where: str) -> None:
    """CimError where a template does not come to an end within the bounds; other faults are told when it is used.

    Args:
        arguments: JSON of what else transformers' ``render_jinja_template`` is given.
    """
    command = [sys.executable, "-m", "harness.engines._template", str(SECONDS)]
    content = json.dumps({**json.loads(arguments), "chat_template": template}).encode()
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=WALL)
    except subprocess.TimeoutExpired:
        endless = True
    else:
        endless = done.returncode in (TOO_MUCH, -signal.SIGXCPU, -signal.SIGKILL)
        if done.returncode and not endless:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
            raise CimError(f"its chat template cannot be tried in a process of its own ({said})", where=where)
    if endless:
        what = f"its chat template needs over {SECONDS} s, {MEMORY >> 30} GB or {LONGEST} letters for one message"
        raise CimError(what, where=where, hint="take the checkpoint's own chat_template.jinja")


def main() -> int:
    """Render what is on standard input under the bounds; ``TOO_MUCH`` where it is too much."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    arguments = json.load(sys.stdin)
    end = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 1 + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (end, end + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        texts, _ = render_jinja_template(**arguments)
    except MemoryError:
        return TOO_MUCH
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return 0
    return TOO_MUCH if len(texts[0]) > LONGEST else 0


if __name__ == "__main__":
    sys.exit(main())
