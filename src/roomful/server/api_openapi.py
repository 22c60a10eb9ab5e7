"""The OpenAPI document of the server API, made from the table of methods and their structs."""

from __future__ import annotations

from typing import Any

import msgspec

from roomful.server.api_methods import METHODS, Method
from roomful.server.api_words import Error

REF = "#/components/schemas/{name}"

STATUSES = {
    "400": "The body is no JSON; with error mode `transport`, also: bad request (107), not available (108).",
    "401": "No key, or a wrong one (101).",
    "404": "The API is closed, or has no such method (104); with error mode `transport`, also: unknown channel (102).",
    "405": "Not a POST (107).",
    "408": "The body takes too long (107).",
    "413": "The body is too large (107).",
    "415": "The body is compressed (107).",
    "416": "With error mode `transport`: unrecoverable position (112).",
    "500": "With error mode `transport`: every other error.",
}
"""What else may come than 200."""

ERROR_MODE: dict[str, Any] = {
    "name": "X-Centrifugo-Error-Mode",
    "in": "header",
    "required": False,
    "description": "`transport`: errors are told by the HTTP status, and are the whole body.",
    "schema": {"type": "string", "enum": ["transport"]},
}


def document(version: str, root_path: str = "") -> dict[str, Any]:
    """OpenAPI 3.1, ready for JSON. version: of the server. root_path: where it is mounted, "" for nowhere."""
    types: list[Any] = [*(kind for method in METHODS.values() for kind in (method.request, method.result)), Error]
    _, schemas = msgspec.json.schema_components(types, ref_template=REF)
    failed = {"type": "object", "properties": {"error": _ref(Error)}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Roomful server API", "version": version},
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "security": [{"key": []}, {"authorization": []}],
        "paths": {f"/api/{name}": {"post": _operation(name, method)} for name, method in METHODS.items()},
        "components": {
            "schemas": {**schemas, "Failed": failed},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "authorization": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`apikey`, a space, and the key.",
                },
            },
        },
    }


def _operation(name: str, method: Method) -> dict[str, Any]:
    result = _ref(method.result)
    if method.wrapped:
        result = {"type": "object", "properties": {"result": result}, "required": ["result"]}
    either = {"anyOf": [result, {"$ref": REF.format(name="Failed")}]}
    failure = {"anyOf": [{"$ref": REF.format(name="Failed")}, _ref(Error)]}
    return {
        "operationId": name,
        "summary": (method.request.__doc__ or "").strip(),
        "parameters": [ERROR_MODE],
        "requestBody": {"required": True, "content": _json(_ref(method.request))},
        "responses": {
            "200": {"description": (method.result.__doc__ or "").strip(), "content": _json(either)},
            **{status: {"description": text, "content": _json(failure)} for status, text in STATUSES.items()},
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(kind: type) -> dict[str, Any]:
    return {"$ref": REF.format(name=kind.__name__)}
