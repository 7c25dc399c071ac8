"""`/openapi.json` describes the calls that are served, and the server answers as it describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.api.generated import count_generated, run_generated
from tests.api.harness import Api
from tests.api.serving import served
from towline.api.app import all_routes
from towline.api.openapi import EXAMPLES, render_openapi
from towline.api.reference import render_reference
from towline.api.routes.unbuilt import UNBUILT

# All of them take a minute: `make fuzz-api`.
PATHS = "jobs/batch-(creation|status|detail|progress|starting|struct-process)$|/action$"


async def read_document(api: Api) -> dict[str, Any]:
    response = await api.client.get("/openapi.json")
    assert response.status_code == 200
    document: dict[str, Any] = json.loads(response.content)
    return document


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_served_call_is_described_and_nothing_else(api: Api) -> None:
    document = await read_document(api)
    described = operations(document)
    assert "POST /v3/{project_id}/jobs/batch-progress" in described
    for method, path in UNBUILT:
        operation = described[f"{method} /v3/{{project_id}}/{path}"]
        assert list(operation["responses"]) == ["4XX"], "a call that is not built promises nothing"
    for call, operation in described.items():
        method, path = call.split(" ", 1)
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                value = api.account.project_id if parameter["name"] == "project_id" else "x"
                path = path.replace(f"{{{parameter['name']}}}", value)
        response = await api.call(method, path)
        assert response.json().get("error_code") != "APIGW.0101", f"{call} is not served"
    assert len({operation["operationId"] for operation in described.values()}) == len(described)


async def test_schemas_are_valid_and_examples_fit_them(api: Api) -> None:
    document = await read_document(api)
    described = operations(document)
    for call, example in EXAMPLES.items():
        content = described[call]["requestBody"]["content"]["application/json"]
        assert content["example"] == example
        schema = {**content["schema"], "components": document["components"]}
        jsonschema_rs.meta.validate(schema)
        jsonschema_rs.validate(schema, example)
    creation = await api.post("jobs/batch-creation", EXAMPLES["POST /v3/{project_id}/jobs/batch-creation"])
    assert creation.status_code == 202, creation.text


@pytest.mark.timeout(180)
def test_generated_requests_get_only_documented_answers(tmp_path: Path) -> None:
    with served(tmp_path / "towline") as server:
        code, output = run_generated(server, tmp_path, examples=8, phases="fuzzing", paths=PATHS)
    assert code == 0, output[-6000:]
    assert count_generated(output) >= 40


async def test_reference_page_is_that_of_the_code(api: Api) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    assert page == render_reference(render_openapi(all_routes(api.jobs, api.identity), version="")), "make reference"
    assert "## POST /v3/{project_id}/jobs/batch-progress" in page
