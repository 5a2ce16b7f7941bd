"""Files that a user exports from the Hugging Face hub as JSON lines, because nobody else may pass them on.

No sum of them is known here; the bytes that are there name the data of a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.types import DataFile, Sample


def export(name: str, dataset: str, split: str, columns: Sequence[str]) -> DataFile:
    """The file that a command makes of some columns of a data set."""
    script = f"d = l('{dataset}', split='{split}'); d.select_columns({list(columns)}).to_json('{name}')"
    command = f'python -c "from datasets import load_dataset as l; {script}"'
    return DataFile(name, 0, "", by_hand=f"accept its terms, `pip install datasets`, and there `{command}`")


def samples(folder: Path, file: DataFile, sample: Callable[[Mapping[str, Any]], Sample]) -> list[Sample]:
    """A sample of each line; CimError with file and line for one that is none."""
    built = list[Sample]()
    with (folder / file.name).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                built.append(sample(json.loads(line)))
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                what, where = f"no row of it ({type(error).__name__}: {error})", f"{folder / file.name}:{number}"
                raise CimError(what, where=where, hint=file.by_hand) from error
    return built
