"""Where ids and texts stand in a row: keys, or paths of keys and numbers with dots, named or guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

IDS = (
    "sample_id",
    "image_id",
    "id",
    "img_id",
    "cocoid",
    "image",
    "image_path",
    "file_name",
    "filename",
    "image_name",
    "image/key",
    "custom_id",
)
IMAGES = ("image", "image_path", "img_path", "file_name", "filename", "image_name", "image.path")
ROW_NUMBERS = ("doc_id", "index")  # what stands in the logs of other harnesses where no image is named
LONGEST_NAME = 500  # characters; more under ``image`` is a picture in base64, as in VLMEvalKit's data sets
LONG_TEXT = 8  # words from which a text in a column of an unknown name is taken for a caption
PROMPTS = ("prompt", "question", "instruction", "query", "input", "source", "url")  # long texts that are none


@dataclass(frozen=True, slots=True)
class Kind:
    """What texts a file holds: their name, the usual keys of texts and of systems, the options that name keys."""

    name: str
    texts: tuple[str, ...]
    systems: tuple[str, ...]
    options: str
    example: str


# The paths are those of OpenAI's Batch API, of evalscope's predictions and reviews
# (modelscope/evalscope:evalscope/api/evaluator/cache.py@fde259d2) and of lmms-eval's samples
# (EvolvingLMMs-Lab/lmms-eval:lmms_eval/loggers/evaluation_tracker.py@75571cfe).
CAPTIONS = Kind(
    name="caption",
    texts=(
        "caption",
        "prediction",
        "pred",
        "generated_text",
        "text",
        "filtered_resps",
        "answer",
        "output",
        "response",
        "completion",
        "captions",
        "resps",
        "response.body.choices.0.message.content",
        "model_output.choices.0.message.content",
        "sample_score.score.prediction",
        "human_judgement",
    ),
    systems=("system", "model", "model_name", "captioner"),
    options="--id-key, --caption-key",
    example='one JSON object per line: {"sample_id": "...", "caption": "..."}',
)
REFERENCES = Kind(
    name="reference",
    texts=(
        "references",
        "reference",
        "refs",
        "reference_captions",
        "ground_truth",
        "gts",
        "gt",
        "gt_caption",
        "captions",
        "caption",
        "sentences",
        "annotations_captions",
        "target",
        "answer",
        "answers",
        "description",
        "text",
    ),
    systems=(),
    options="--reference-id-key, --reference-key",
    example='one JSON object per line: {"sample_id": "...", "references": ["...", "..."]}',
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one file; ``id`` is empty where ids stand outside the rows, ``system`` and ``image`` where none is.

    ``by_column``: each key of texts is one system's, and a row may lack some of them.
    """

    id: str
    texts: tuple[str, ...]
    system: str = ""
    image: str = ""
    by_column: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """Keys that were named on the command line; ``texts`` may hold several with commas."""

    id: str | None = None
    texts: str | None = None
    system: str | None = None


ABSENT = object()


def value(row: Any, key: str) -> Any:
    """What stands under a key, or under a path of keys and numbers with dots; ``ABSENT`` where nothing does."""
    if isinstance(row, dict) and key in row:
        return row[key]
    for part in key.split(".") if "." in key else ("",):
        if isinstance(row, dict) and part in row:
            row = row[part]
        elif isinstance(row, list) and part.isdecimal() and int(part) < len(row):
            row = row[int(part)]
        else:
            return ABSENT
    return row


def guess(first: Any, kind: Kind, named: Named, *, outside: bool) -> Keys:
    """The keys that were named, else the first usual ones under which a file's first row holds such a thing.

    Args:
        outside: ids stand outside the rows, as the keys of an object do.
    """
    ids = "" if outside else named.id or _first(first, _id_keys(first), is_name) or IDS[0]
    image, system = _first(first, IMAGES, is_file), named.system or _first(first, kind.systems, is_name)
    if named.texts:
        texts = _several(first, named.texts)
        return Keys(ids, texts, system, image, by_column=kind is CAPTIONS and len(texts) > 1)
    if usual := _first(first, kind.texts, lambda text: bool(strings(text))):
        return Keys(ids, (usual,), system, image)
    columns = _long_texts(first, {ids, *PROMPTS, *(REFERENCES.texts if kind is CAPTIONS else ())})
    if len(columns) > 1 and kind is CAPTIONS:
        return Keys(ids, columns, "", image, by_column=True)
    return Keys(ids, columns if len(columns) == 1 else kind.texts[:1], system, image)


def strings(texts: Any) -> list[Any]:
    """The texts of a value: itself, the entries of a list, or of a list of objects what stands under a usual key.

    A message in parts (``[{"type": "text", "text": ...}, ...]``) is one text, of its parts of type ``text``.
    Empty for anything else; what is returned is not checked to be text.
    """
    while isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], list):
        texts = texts[0]
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, list):
        return []
    if texts and all(isinstance(part, dict) and "type" in part for part in texts):
        return ["".join(str(part.get("text", "")) for part in texts if part["type"] == "text")]
    return [_inner(text) if isinstance(text, dict) else text for text in texts]


def _inner(row: dict[str, Any]) -> Any:
    return next((row[key] for key in ("caption", "raw", "text", "sentence") if key in row), row)


def is_name(name: Any) -> bool:
    """Can it be an id, and is it no picture in base64?"""
    return type(name) is int or (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME)


def is_file(name: Any) -> bool:
    """Can it be the name of a file?"""
    return isinstance(name, str) and is_name(name)


def _first(row: Any, names: Iterable[str], fits: Callable[[Any], bool]) -> str:
    """The first of these keys whose value fits, else the first that is there, else nothing."""
    there = [name for name in names if value(row, name) is not ABSENT]
    return next((name for name in there if fits(value(row, name))), [*there, ""][0])


def _id_keys(row: Any) -> list[str]:
    """Usual keys of ids, then what stands for them in other harnesses' logs.

    lmms-eval writes the image's id beside the prediction that a metric was given, as ``coco_CIDEr.image_id``
    (lmms_eval/tasks/coco_cap/utils.py@75571cfe), older versions the whole ``doc``; evalscope writes the sample's
    ``metadata``; else there is only the number of the row.
    """
    fields = row if isinstance(row, dict) else {}
    logged = [f"{key}.image_id" for key, field in fields.items() if isinstance(field, dict) and "pred" in field]
    nested = [f"{key}.{name}" for key in ("doc", "metadata", "sample_score.sample_metadata") for name in IDS]
    return [*IDS, *logged, *nested, *ROW_NUMBERS]


def _several(row: Any, keys: str) -> tuple[str, ...]:
    if value(row, keys) is not ABSENT:
        return (keys,)
    return tuple(key.strip() for key in keys.split(",") if key.strip()) or (keys,)


def _long_texts(row: Any, others: set[str]) -> tuple[str, ...]:
    fields = row.items() if isinstance(row, dict) else ()
    return tuple(
        key for key, text in fields if key not in others and isinstance(text, str) and len(text.split()) >= LONG_TEXT
    )
