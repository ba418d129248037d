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
        return decode_json(text.encode() if isinstance(text, str) else text, ModelSpec)
    except msgspec.DecodeError as error:
        problems = problems_in(text) or (Problem("", str(error)),)
        head = f"{where}: this is not a model specification that this version reads"
        raise refusal(PackageError, head, problems) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ModelSpec, generated from the types."""
    schema = msgspec.json.schema(ModelSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ModelSpec", **schema}
