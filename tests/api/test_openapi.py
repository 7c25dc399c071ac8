"""`/openapi.json` describes the calls that are served, and the server answers as it describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.api.generated import count_generated, run_generated
from tests.api.harness import Api, endpoint_body
from tests.api.serving import served
from towline.api.app import all_routes, create_app
from towline.api.openapi import render_openapi
from towline.api.openapi_examples import JOB
from towline.api.reference import render_reference
from towline.api.routes.unbuilt import UNBUILT
from towline.service.ports import Outlets

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


async def test_schemas_are_valid_and_every_body_has_an_example_that_fits(api: Api) -> None:
    document = await read_document(api)
    for call, operation in operations(document).items():
        bodies = [*operation["responses"].items(), ("request", operation.get("requestBody", {}))]
        for name, body in bodies:
            for content in body.get("content", {}).values():
                schema = {**content["schema"], "components": document["components"]}
                jsonschema_rs.meta.validate(schema)
                if name not in ("4XX", "503"):
                    assert "example" in content, (call, name)
                    jsonschema_rs.validate(schema, content["example"])


async def test_requests_that_are_shown_can_be_sent(api: Api) -> None:
    """Only the state of the job, or what this server does not have, may stand in the way."""
    document = await read_document(api)
    outlets = Outlets(topics=frozenset({"ops"}), log_groups=frozenset({"files"}))
    app = create_app(api.jobs, api.identity, clock=api.clock, version="0", outlets=outlets)
    api.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://towline.test")  # type: ignore[arg-type]
    job_id = await api.create_job(
        source_endpoint=endpoint_body(db_name="shop"), target_endpoint=endpoint_body(db_name="shop")
    )
    names = {"project_id": api.account.project_id, "job_id": job_id, "type": "table", "resource_type": "sync"}
    names["compare_job_id"] = "0b6b5bd4-8f3e-4bb5-9f0f-2a1f0c7f4a11"
    for call, operation in operations(document).items():
        if "requestBody" not in operation or call == "POST /v3/auth/tokens":
            continue
        method, path = call.split(" ")
        body = json.dumps(operation["requestBody"]["content"]["application/json"]["example"]).replace(JOB, job_id)
        answer = await api.call(method, path.format(**names), json.loads(body))
        if "200" in operation["responses"] or "202" in operation["responses"]:
            assert answer.status_code < 300 or answer.json()["error_code"] == "DRS.M00304", (call, answer.text)
            for item in answer.json().get("results", []):
                assert item.get("error_code") in (None, "DRS.M00304", "DRS.M00277"), (call, item)
        else:
            assert answer.json()["error_code"] == "DRS.M00300", (call, answer.text)


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
