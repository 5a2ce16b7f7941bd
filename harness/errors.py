"""One exception tree; each error is one line: where, what, and what to do next.

::

    CimError                 exit 2   bad input, or something this machine lacks
    ├── SettingsError        exit 2   the stored run was made with other settings
    ├── BusyError            exit 2   another process is writing the same run
    ├── ImageError           exit 2   an image cannot be read
    ├── OutageError          exit 1   an engine, a parser or a judge stopped answering
    └── AlarmError           exit 1   a guard stopped a training run
"""


def one_line(text: str) -> str:
    """The text on one line, characters that a terminal would obey or turn around shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


class CimError(Exception):
    """A user's mistake or a missing resource, reported in one line.

    Args:
        what: what is wrong.
        where: file and line, sample id or option; empty when ``what`` says it.
        hint: what to do next.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        line = f"{where}: {what}" if where else what
        super().__init__(one_line(f"{line}; {hint}" if hint else line))


class SettingsError(CimError):
    """The stored run was made with other settings."""


class BusyError(CimError):
    """Another process is writing the same run."""


class ImageError(CimError):
    """An image cannot be read; ``where`` is its file or archive member, ``reason`` says why in a few words."""

    def __init__(self, what: str, reason: str, *, where: str) -> None:
        self.reason = one_line(reason)
        super().__init__(f"{what} ({reason})", where=where)


class OutageError(CimError):
    """An engine, a parser or a judge stopped answering; the same command resumes."""

    exit_code = 1


class AlarmError(CimError):
    """A guard stopped a training run; ``name`` is the alarm."""

    exit_code = 1

    def __init__(self, name: str, what: str, *, hint: str = "") -> None:
        self.name = name
        super().__init__(f"alarm {name}: {what}", hint=hint)
