"""`/openapi.json`: made from the table of routes and the structs that read and write their bodies.

Format: OpenAPI Specification 3.1.0.  Members of requests are optional in the schema where the server itself names
what is missing (DRS.M00201); text may be sent as a number.  Refusals of whole calls have one of few shapes, by who
refuses: the service, the gateway in front of it, or the identity service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from towline.api.openapi_examples import ANSWERS, JOB, PROJECT, REQUESTS
from towline.api.routing import Route
from towline.api.wire.details import DetailsRefusal
from towline.api.wire.errors import ErrorBody, GatewayErrorBody, IdentityErrorBody
from towline.api.wire.fields import Text

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_REF: Final = "#/components/schemas/{name}"
_REFUSALS: Final = (ErrorBody, GatewayErrorBody, IdentityErrorBody, DetailsRefusal)
_PATH_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "project_id": {"type": "string", "pattern": "^[0-9a-f]{32}$", "example": PROJECT},
    "job_id": {"type": "string", "pattern": "^[0-9a-z]{8}(-[0-9a-z]{4}){3}-[0-9a-z]{12}$", "example": JOB},
}


def render_openapi(routes: Sequence[Route], *, version: str) -> bytes:
    """The document as JSON, for exactly these routes."""
    types = [kind for route in routes for kind in (route.request, route.answer) if kind is not None]
    schemas, components = _schemas([*types, *_REFUSALS])
    refusal = {"anyOf": [schemas[kind] for kind in _REFUSALS]}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, refusal)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Towline",
                "version": version,
                "description": "Replication and migration of live databases: the DRS v3 job API.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{"token": []}, {"signature": []}],
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": _SECURITY},
        }
    )


_SECURITY: Final = {
    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "From POST /v3/auth/tokens."},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "SDK-HMAC-SHA256 Access=..., SignedHeaders=..., Signature=...; made by the public SDKs.",
    },
}


def _schemas(types: Iterable[Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(unique, schema_hook=_schema_of, ref_template=_REF)
    return dict(zip(unique, schemas, strict=True)), components


def _schema_of(kind: type) -> dict[str, Any]:
    if kind is Text:
        return {"type": ["string", "integer"]}
    raise NotImplementedError(kind.__name__)


def _operation(route: Route, schemas: dict[Any, Any], refusal: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": _summary(route),
        "parameters": [
            *map(_path_parameter, _PARAMETER.findall(route.path)),
            *map(_query, route.queries),
            *map(_header, route.headers),
            _LANGUAGE,
        ],
        "responses": {"4XX": _body(refusal, "Refused as a whole; nothing was changed.")},
    }
    if route.is_built:
        done: dict[str, Any] = {"description": "Done; there is nothing to say."}
        if route.answer is not None:
            done = _body(schemas[route.answer], "Done; a list has one result per item, in request order.")
            done["content"]["application/json"]["example"] = ANSWERS[route.answer]
        operation["responses"] = {
            str(route.status): done,
            **operation["responses"],
            "503": _body(refusal, "The store cannot be reached; try again."),
        }
    if route.request is not None:
        content = {"schema": schemas[route.request], "example": REQUESTS[f"{route.method} {route.path}"]}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if route.is_open:
        operation["security"] = []
    elif "{project_id}" in route.path:
        operation["x-towline-role"] = route.needed_role.value
    return operation


def _operation_id(route: Route) -> str:
    words = _PARAMETER.sub("", route.path.replace("{project_id}", "")).replace("-", "_").strip("/").split("/")
    return "_".join([route.method.lower(), *filter(None, words), *_PARAMETER.findall(route.path)[1:]])


def _summary(route: Route) -> str:
    if not route.is_built:
        return "Not built yet: refused with DRS.M00300."
    text = (route.handle.__doc__ or route.handle.__name__.replace("_", " ").capitalize()).strip()
    return text.splitlines()[0]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS.get(name, {"type": "string"})}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}


_LANGUAGE: Final[dict[str, Any]] = {
    "name": "X-Language",
    "in": "header",
    "required": False,
    "description": "Language of messages.",
    "schema": {"type": "string", "enum": ["en-us", "zh-cn"]},
}


def _body(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
