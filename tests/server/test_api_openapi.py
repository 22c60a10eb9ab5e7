from __future__ import annotations

import json
from typing import Any

import pytest

from roomful.server.api_methods import METHODS
from roomful.server.api_openapi import document


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_it_describes_every_method_and_refers_to_nothing_that_isnt_there() -> None:
    made = json.loads(json.dumps(document("Roomful 1.2.3")))
    assert made["info"]["version"] == "Roomful 1.2.3"
    assert list(made["paths"]) == [f"/api/{name}" for name in METHODS]
    schemas = made["components"]["schemas"]
    assert references(made) == {f"#/components/schemas/{name}" for name in schemas}
    for name in METHODS:
        operation = made["paths"][f"/api/{name}"]["post"]
        assert operation["summary"], f"{name} has no docstring"
        assert operation["responses"]["200"]["description"], f"{name} has no docstring for its result"


@pytest.mark.parametrize(("root", "servers"), [("", None), ("/realtime", [{"url": "/realtime"}])])
def test_it_says_where_it_is_mounted(root: str, servers: object) -> None:
    assert document("x", root).get("servers") == servers


def test_requests_say_what_has_to_be_there_and_that_nothing_else_may() -> None:
    schemas = document("x")["components"]["schemas"]
    for name, required in {
        "PublishRequest": ["channel"],
        "BroadcastRequest": ["channels"],
        "DisconnectRequest": ["user"],
        "SubscribeRequest": ["user", "channel"],
        "BatchRequest": ["commands"],
    }.items():
        assert schemas[name]["required"] == required
    requests = [schemas[method.request.__name__] for method in METHODS.values()]
    assert all(schema["additionalProperties"] is False for schema in requests)
