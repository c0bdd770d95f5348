"""The OpenAPI document as one page of HTML: no script, nothing fetched from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--get:#0a7d4f;--post:#1d5fbf;--delete:#b3261e}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:2rem 1rem 6rem}
code,pre,.path{font:13px/1.5 ui-monospace,monospace}
h1{margin:0 0 .2rem}h2{margin:2.5rem 0 .8rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
details{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0;background:var(--soft)}
summary{cursor:pointer;padding:.5rem .8rem;display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
details>div{padding:.2rem .9rem .9rem;border-top:1px solid var(--line)}
.verb{font-weight:700;min-width:4rem;text-transform:uppercase;font-size:12px}
.get{color:var(--get)}.post{color:var(--post)}.delete{color:var(--delete)}
.said{margin-left:auto;opacity:.75}
table{border-collapse:collapse;width:100%;margin:.4rem 0}
td,th{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;font-size:13px;opacity:.8}
.req{color:var(--delete);font-size:12px}
"""


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{escape(info['description'])} "
        "Endpoints that need it take the token as <code>Authorization: Bearer TOKEN</code>. "
        "The same for machines: <a href='/openapi.json'>/openapi.json</a>.</p>"
        f"<h2>Endpoints</h2>{''.join(_operations(document))}"
        f"<h2>Models</h2>{''.join(_models(document))}</body></html>"
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield (
                f'<details><summary><span class="verb {escape(method)}">{escape(method)}</span>'
                f'<span class="path">{escape(path)}</span>'
                f'<span class="said">{escape(operation.get("summary", ""))}</span></summary>'
                f"<div>{''.join(_operation(operation))}</div></details>"
            )


def _operation(operation: dict[str, Any]) -> Iterator[str]:
    if operation.get("description"):
        yield f"<p>{escape(operation['description'])}</p>"
    if not operation["security"]:
        yield "<p>Needs no token.</p>"
    parameters = [
        (
            f"<code>{escape(parameter['name'])}</code>{_required(parameter.get('required', False))}",
            f"{escape(parameter['in'])}, {_type(parameter['schema'])}",
            escape(parameter.get("description", "")),
        )
        for parameter in operation["parameters"]
    ]
    if parameters:
        yield _table(("parameter", "type", ""), parameters)
    if "requestBody" in operation:
        [(kind, said)] = operation["requestBody"]["content"].items()
        yield f"<h4>Body</h4>{_fields(said['schema']) if said else f'<p>{escape(kind)}</p>'}"
    yield _table(("status", "body", ""), [_response(*answer) for answer in operation["responses"].items()])


def _response(status: str, response: dict[str, Any]) -> tuple[str, str, str]:
    content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
    return f"<code>{escape(status)}</code>", _type(content.get("schema", {})), escape(response["description"])


def _models(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield (
            f'<details id="{escape(name)}"><summary><span class="path">{escape(name)}</span>'
            f'<span class="said">{escape(_first_line(schema))}</span></summary>'
            f"<div>{_fields(schema)}</div></details>"
        )


def _fields(schema: dict[str, Any]) -> str:
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>"
    required = set(schema.get("required", []))
    return _table(
        ("field", "type", ""),
        [
            (
                f"<code>{escape(name)}</code>{_required(name in required)}",
                _type(field),
                escape(field.get("description", "")),
            )
            for name, field in schema["properties"].items()
        ],
    )


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = re.sub(r".*/", "", schema["$ref"])
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_type(one) for one in schema[union])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("title" if "properties" in schema else "type", "")))


def _required(required: bool) -> str:
    return ' <span class="req">required</span>' if required else ""


def _first_line(schema: dict[str, Any]) -> str:
    lines: list[str] = schema.get("description", "").splitlines()
    return lines[0] if lines else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{cells}</table>"
