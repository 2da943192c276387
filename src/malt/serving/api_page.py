"""The API as a page that needs no network and runs no scripts: what the OpenAPI document says, to be read."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
padding: 0 1rem } code, pre { font: 14px/1.5 ui-monospace, monospace } pre { overflow-x: auto; white-space: pre-wrap }
h2 { margin-top: 2.5rem; border-top: 1px solid #8886; padding-top: 1rem } table { border-collapse: collapse; width: 100% }
td { padding: .25rem .75rem .25rem 0; vertical-align: top; border-top: 1px solid #8883 } summary { cursor: pointer }"""
Document = Mapping[str, Any]


def api_page(document: Document) -> str:
    """An OpenAPI document as HTML."""
    about = document["info"]
    lines = [f"<h1>{escape(about['title'])} {escape(about['version'])}</h1>"]
    lines += [f"<p>{_prose(part)}</p>" for part in about.get("description", "").strip().split("\n\n")]
    lines.append('<p>The same as a document: <a href="/openapi.json">/openapi.json</a></p>')
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += _operation(document, path, method, operation)
    body = "\n".join(lines)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(about['title'])} API</title><style>{STYLE}</style>\n{body}\n</html>\n"
    )


def _operation(document: Document, path: str, method: str, operation: Document) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{_prose(operation.get('description', ''))}</p>"
    rows = [
        (each["name"], each.get("schema", {}), each.get("required", False)) for each in operation.get("parameters", [])
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        rows += _fields(_resolved(document, content["schema"]))
    if rows:
        yield "<table>" + "".join(_row(*row) for row in {row[0]: row for row in rows}.values()) + "</table>"
    yield f"<details><summary>Answers: {', '.join(operation['responses'])}</summary>"
    for status, answer in operation["responses"].items():
        media: Document = next(iter(answer.get("content", {}).values()), dict[str, Any]())
        schema = media.get("schema", {})
        fields = {name: _kind(each) for name, each, _ in _fields(_resolved(document, schema))}
        yield f"<p>{status}: {_prose(answer.get('description', ''))}</p>"
        if fields:
            yield f"<pre>{escape(json.dumps(fields, indent=2))}</pre>"
    yield "</details>"


def _fields(schema: Document) -> list[tuple[str, Document, bool]]:
    needed = schema.get("required", [])
    return [(name, each, name in needed) for name, each in schema.get("properties", {}).items()]


def _row(name: str, schema: Document, is_needed: bool) -> str:
    mark = " (needed)" if is_needed else ""
    return f"<tr><td><code>{escape(name)}</code>{mark}<td>{escape(_kind(schema))}<td>{_prose(schema.get('description', ''))}"


def _kind(schema: Document) -> str:
    kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return " or ".join(
        " | ".join(map(str, each["enum"]))
        if "enum" in each
        else each.get("type") or each.get("$ref", "").split("/")[-1]
        for each in kinds
    )


def _resolved(document: Document, schema: Document) -> Document:
    reference = schema.get("$ref", "").split("/")[-1]
    found: Document = document["components"]["schemas"].get(reference, schema) if reference else schema
    return found


def _prose(text: str) -> str:
    """A text whose `code` is code."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
