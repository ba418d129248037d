"""Strict reading of a model specification from a file of its own, and its JSON Schema."""

from __future__ import annotations

from typing import Any

import msgspec

from brain_edge.errors import PackageError
from brain_edge.machine.json import decode_json
from brain_edge.spec import ModelSpec
from brain_edge.spec.problems import Problem, problems_in, refusal


def spec_from_json(text: bytes | str, where: str) -> ModelSpec:
    """Read a specification strictly, and refuse all its faults at once.

    Args:
        text: JSON of the specification.
        where: file name for messages.

    Raises:
        PackageError: unknown operation, field or version, a value out of range, or parts that do not fit together. The
            message has the first fault, and a note each further one.
    """
    try:
        return decode_json(without_remarks(text), ModelSpec)
    except msgspec.DecodeError as error:
        problems = problems_in(without_remarks(text)) or (Problem("", str(error)),)
        head = f"{where}: this is not a model specification that this version reads"
        raise refusal(PackageError, head, problems) from error


def without_remarks(text: bytes | str) -> bytes:
    """Return a JSON text without the fields whose name begins with $, such as `$schema` and `$comment`.

    A text that is no JSON is returned as it is.
    """
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if b'"$' not in content:
        return content
    try:
        return msgspec.json.encode(_plain(decode_json(content, object)))
    except msgspec.DecodeError:
        return content


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if not name.startswith("$")}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a specification file, generated from the types; $ begins a remark."""
    schema = msgspec.json.schema(ModelSpec)
    for part in schema["$defs"].values():
        if part.get("additionalProperties") is False:
            part["patternProperties"] = {r"^\$": {}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ModelSpec", **schema}
