"""What the JSON Schema of ``pylat/1`` says, for tests: of a document, and to the tables of docs/recording.md.

As a program it writes these tables anew: python -m tests.recording_schema
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from latency.recording import json_schema

Json = dict[str, Any]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recording.md"
_BEGIN, _END = "<!-- keys of {} -->\n", "\n<!-- end -->\n"


def objects(schema: Json) -> dict[str, Json]:
    """The schema's objects with keys of their own, by name; ``file`` is the whole."""
    return {"file": schema, **{name: it for name, it in schema["$defs"].items() if "properties" in it}}


def closed(schema: Json) -> Json:
    """The same where no object may have keys but those that the schema names."""
    strict = deepcopy(schema)
    for each in _dicts(strict):
        if "properties" in each:
            each["additionalProperties"] = False
    return strict


def _dicts(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        if "$ref" not in value:
            yield value
        for each in value.values():
            yield from _dicts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _dicts(each)


def wrong(document: object, schema: Json | None = None) -> list[str]:
    """What is wrong with a document, a line for each, beginning with where; by default unknown keys are wrong too."""
    validator = Draft202012Validator(closed(json_schema()) if schema is None else schema)
    return [f"{it.json_path}: {it.message:.200}" for it in validator.iter_errors(document)]


# -- the tables of the page ------------------------------------------------------------------------


def table(definition: Json) -> str:
    """The keys of an object as a table in Markdown."""
    required = definition.get("required", ())
    rows = [
        f"| `{key}` | {_type(it)} | {'always' if key in required else ''} | {it['description']} |"
        for key, it in definition["properties"].items()
    ]
    return "\n".join(["", "| key | value | there | what it is |", "|---|---|---|---|", *rows, ""])


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"count": "whole number", "amount": "number"}.get(name, f"[{name}](#{name})")
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "enum" in schema:
        return ", ".join(f"`{it}`" for it in schema["enum"])
    if schema["type"] == "array":
        item = _type(schema["items"]) if schema["items"] else ""
        return f"list of {item if '[' in item else item + 's'}" if item else "list"
    if schema["type"] == "object":
        values = [*schema.get("properties", {}).values(), schema.get("additionalProperties")]
        return f"{', '.join(f'`{it}`' for it in schema.get('properties', ())) or 'name'}: {_type(values[0])}"
    return {"string": "text", "boolean": "`true`, `false`", "integer": "whole number"}.get(
        schema["type"], schema["type"]
    )


def with_tables(page: str) -> str:
    """The page, with its tables as the schema has them.

    Raises:
        ValueError: an object of the schema has no place for its table on the page.
    """
    for name, definition in objects(json_schema()).items():
        before, begin, rest = page.partition(_BEGIN.format(name))
        _, end, after = rest.partition(_END)
        if not begin or not end:
            raise ValueError(f"no place for the keys of {name}")
        page = before + begin + table(definition) + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
