"""The reference page of the docs, made from `/openapi.json`: `make reference`. Pure.

Each call has its members, those of objects inside listed under their place. A test holds the page to the code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

_MAX_DEPTH: Final = 4
_HEAD: Final = """# Reference of the HTTP API

Made from `/openapi.json` (`make reference`); what the calls mean is in [api.md](api.md). `[]` after a name is a list,
`{}` a map. Text may be sent as a number. A refusal has `error_code` and `error_msg`, with the HTTP status and codes of
[api.md](api.md#who-may-call).
"""


def render_reference(openapi: bytes) -> str:
    """Markdown, call by call in the order of their paths."""
    document = json.loads(openapi)
    schemas = document["components"]["schemas"]
    parts = [_HEAD]
    for path, methods in sorted(document["paths"].items()):
        for method, operation in sorted(methods.items()):
            parts.append(_render_call(f"{method.upper()} {path}", operation, schemas))
    return "\n".join(parts)


def _render_call(call: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    lines = [f"## {call}", "", operation["summary"]]
    done = [status for status in operation["responses"] if status.isdigit() and status != "503"]
    role = operation.get("x-towline-role", "none: it is how one signs in" if "security" in operation else "any")
    lines += ["", f"Role: {role}. Done: {', '.join(done) or 'never, it is refused'}."]
    queries = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
    if queries:
        lines += ["", f"Query: {', '.join(f'`{name}`' for name in queries)}."]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        lines += ["", "Body:", "", *_members(body["schema"], schemas)]
        if "example" in body:
            lines += ["", "```json", json.dumps(body["example"], indent=1), "```"]
    for status in done:
        content = operation["responses"][status].get("content", {}).get("application/json")
        if content:
            lines += ["", "Answer:", "", *_members(content["schema"], schemas)]
    return "\n".join(lines) + "\n"


def _members(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    return list(_walk(schema, schemas, depth=0)) or ["- nothing"]


def _walk(schema: Mapping[str, Any], schemas: Mapping[str, Any], *, depth: int) -> Iterator[str]:
    found = _resolve(schema, schemas)
    for name, member in found.get("properties", {}).items():
        inner, mark = _inside(member, schemas)
        yield f"{'  ' * depth}- `{name}{mark}` {_type_of(inner)}".rstrip()
        if depth < _MAX_DEPTH:
            yield from _walk(inner, schemas, depth=depth + 1)


def _inside(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The schema of what a member holds, past lists and maps, and the mark for these."""
    found, mark = _resolve(schema, schemas), ""
    while True:
        if found.get("type") == "array":
            found, mark = _resolve(found.get("items") or {}, schemas), mark + "[]"
        elif isinstance(found.get("additionalProperties"), dict):
            found, mark = _resolve(found["additionalProperties"], schemas), mark + "{}"
        else:
            return found, mark


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
        return found
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    return _resolve(kinds[0], schemas) if len(kinds) == 1 else schema


def _type_of(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(sorted({_type_of(kind) for kind in schema["anyOf"]} - {"null", ""}))
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return "text" if "string" in kind else " or ".join(each for each in kind if each != "null")
    return {"string": "text", "object": ""}.get(kind, str(kind))


def main() -> None:
    from towline.api.app import all_routes
    from towline.api.openapi import render_openapi

    # Routes only hold their services; nothing is called.
    nothing: Any = None
    sys.stdout.write(render_reference(render_openapi(all_routes(nothing, nothing), version="")))


if __name__ == "__main__":
    main()
