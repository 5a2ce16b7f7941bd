"""One exception tree; each error is one line: where, what, and what to do next.

::

    CimError                 exit 2   bad input, or something this machine lacks
    ├── SettingsError        exit 2   the stored run was made with other settings
    ├── BusyError            exit 2   another process is writing the same run
    ├── OutageError          exit 1   an engine, a parser or a judge stopped answering
    └── GateError            exit 1   a check that was asked for has failed
"""


class CimError(Exception):
    """A user's mistake or a missing resource, told in one line.

    Args:
        what: what is wrong.
        where: file and line, sample id or option; empty when ``what`` says it.
        hint: what to do next.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        line = f"{where}: {what}" if where else what
        super().__init__(" ".join(f"{line}; {hint}".split()) if hint else " ".join(line.split()))


class SettingsError(CimError):
    """The stored run was made with other settings."""


class BusyError(CimError):
    """Another process is writing the same run."""


class OutageError(CimError):
    """An engine, a parser or a judge stopped answering; the same command resumes."""

    exit_code = 1


class GateError(CimError):
    """A check that was asked for has failed."""

    exit_code = 1
