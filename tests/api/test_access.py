"""Who gets in, what a stranger learns, and what every answer carries."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from tests.api.harness import BASE_URL, UNKNOWN_ID, Api, create_foreign_job, sign_in, token_body
from towline.api.app import all_routes
from towline.api.openapi_examples import JOB, REQUESTS
from towline.api.routes.unbuilt import UNBUILT
from towline.api.wire.texts import TEXTS
from towline.domain.errors import AuthenticationFailed

PROJECT_CALLS = [
    ("POST", "jobs/batch-creation"),
    ("POST", "jobs"),
    ("POST", "jobs/batch-status"),
    ("POST", "jobs/batch-detail"),
    ("POST", "jobs/batch-progress"),
    ("POST", "jobs/batch-rpo-and-rto"),
    ("POST", "jobs/towline/switchover-verdict"),
    ("POST", "jobs/batch-connection"),
    ("PUT", "jobs/batch-modification"),
    ("PUT", "jobs/batch-select-objects"),
    ("POST", "jobs/batch-sync-policy"),
    ("POST", "jobs/batch-precheck"),
    ("POST", "jobs/batch-precheck-result"),
    ("POST", "jobs/batch-starting"),
    ("POST", "jobs/batch-pause-task"),
    ("POST", "jobs/batch-retry-task"),
    ("PUT", "jobs/batch-limit-speed"),
    ("DELETE", "jobs/batch-jobs"),
    ("PUT", "jobs/batch-modify-pwd"),
    ("POST", "jobs/batch-struct-process"),
    ("POST", "jobs/table/batch-struct-detail"),
    ("POST", "jobs/cluster/batch-connection"),
    ("POST", "jobs/batch-transformation"),
    ("POST", "jobs/batch-replace-definer"),
    ("PUT", "jobs/batch-update-user"),
    ("POST", "jobs/batch-get-params"),
    ("POST", "jobs/batch-set-smn"),
    ("POST", "jobs/disaster-recovery-monitoring-data"),
]
COMPARE_ID = "0b6b5bd4-8f3e-4bb5-9f0f-2a1f0c7f4a11"
# The least that calls with rules of their own want.
UNBUILT_BODIES: dict[str, dict[str, Any]] = {
    "jobs/batch-switchover": {"jobs": [UNKNOWN_ID], "is_pause_job": False},
    "jobs/create-compare-task": {"job_id": UNKNOWN_ID, "object_level_compare_type": "objects"},
    "jobs/query-compare-result": {"job_id": UNKNOWN_ID, "current_page": 1, "per_page": 10},
    "jobs/{job_id}/table/compare": {"type": "lines"},
    "jobs/{job_id}/compare/result/file": {"compare_type": "lines", "compare_job_id": COMPARE_ID},
}


@pytest.mark.parametrize(("method", "path"), PROJECT_CALLS)
async def test_every_call_wants_a_caller_its_project_and_json(api: Api, method: str, path: str) -> None:
    body = b'{"jobs": []}'
    answer = await api.client.request(method, api.project + path, content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "APIGW.0301")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    answer = await api.call(method, f"/v3/{'e' * 32}/{path}", body)
    assert (answer.status_code, answer.json()) == (
        403,
        {"error_code": "DRS.M00261", "error_msg": "Invalid project ID."},
    )
    answer = await api.call(method, path, body, **{"Content-Type": "text/plain"})
    assert answer.status_code == 415
    answer = await api.call(method, path, b"not json")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00007")
    answer = await api.call(method, path, {})
    assert answer.status_code == 400
    assert answer.json()["error_code"] in ("DRS.M00201", "DRS.M00202")
    answer = await api.call(method, path, {}, language="zh-cn")
    assert re.search("[\u4e00-\u9fff]", answer.json()["error_msg"])


@pytest.mark.parametrize(("method", "path"), UNBUILT)
async def test_documented_calls_that_are_not_built_say_so(api: Api, method: str, path: str) -> None:
    names = {"compare_job_id": COMPARE_ID, "compare_type": "TABLE"}
    job_id = await api.create_job()
    called = path.format(job_id=job_id, **names)
    body = json.loads(json.dumps(UNBUILT_BODIES.get(path, {})).replace(UNKNOWN_ID, job_id))
    answer = await api.call(method, called, body if method != "GET" else None)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00300"), answer.text
    assert re.search("not built yet|no virtual IP", answer.json()["error_msg"])
    assert (await api.client.request(method, api.project + called)).status_code == 401
    if "{job_id}" in path or path in UNBUILT_BODIES:
        unknown = path.format(job_id=UNKNOWN_ID, **names)
        answer = await api.call(method, unknown, UNBUILT_BODIES.get(path, {}) if method != "GET" else None)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M05003"), answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "jobs/batch-switchover", {}, "DRS.M00201"),
        ("POST", "jobs/batch-switchover", {"jobs": [UNKNOWN_ID], "is_pause_job": "maybe"}, "DRS.M00202"),
        ("POST", "jobs/create-compare-task", {}, "DRS.M00201"),
        (
            "POST",
            "jobs/create-compare-task",
            {"job_id": UNKNOWN_ID, "data_level_compare_info": {"conflict_policy": "keep", "compare_type": "rows"}},
            "DRS.M00202",
        ),
        ("POST", "jobs/query-compare-result", {"job_id": UNKNOWN_ID}, "DRS.M00201"),
        ("POST", "jobs/x/object/compare", {}, "DRS.M00202"),
        ("GET", f"jobs/{UNKNOWN_ID}/object/compare/SHAPE", None, "DRS.M00202"),
        ("GET", f"jobs/{UNKNOWN_ID}/table/compare?limit=1001", None, "DRS.M00202"),
        ("POST", f"jobs/{UNKNOWN_ID}/table/compare", {"type": "everything"}, "DRS.M00202"),
        ("DELETE", f"jobs/{UNKNOWN_ID}/compare/{UNKNOWN_ID}", {}, "DRS.M00202"),
        ("GET", f"jobs/{UNKNOWN_ID}/compare/{COMPARE_ID}/line-detail?type=both", None, "DRS.M00202"),
        ("POST", f"jobs/{UNKNOWN_ID}/compare/result/file", {"compare_type": "lines"}, "DRS.M00201"),
    ],
)
async def test_calls_that_are_not_built_keep_their_rules(
    api: Api, method: str, path: str, body: Any, code: str
) -> None:
    answer = await api.call(method, path, body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, code), answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", None),
        ("GET", "/v3", None),
        ("POST", "/v3/{project}/jobs/batch-nonsense", None),
        ("GET", "/v3/{project}/jobs", {"POST"}),
        ("POST", "/v3/{project}/jobs/batch-jobs", {"DELETE"}),
        ("PATCH", "/v3/{project}/jobs/batch-progress", {"POST"}),
        ("GET", "/v3/auth/tokens", {"POST", "DELETE"}),
        ("POST", "/v5/{project}/jobs", None),
        ("GET", "/drs/healthz", None),
    ],
)
async def test_unknown_path_or_method_is_an_unknown_call(
    api: Api, method: str, path: str, allowed: set[str] | None
) -> None:
    answer = await api.call(method, path.format(project=api.account.project_id))
    assert answer.status_code == (404 if allowed is None else 405)
    if allowed is not None:
        assert {word.strip() for word in answer.headers["Allow"].split(",")} - {"OPTIONS"} == allowed
    body = answer.json()
    assert body["error_code"] == "APIGW.0101"
    assert body["request_id"] == answer.headers["X-Request-Id"]


async def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    answers = [
        await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]}),
        await api.post("jobs/batch-progress", {}),
        await api.client.get("/nowhere"),
        await api.client.get("/healthz"),
        await api.client.post("/v3/auth/tokens", json={}),
    ]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in ids)


async def test_gateway_prefix_is_an_alias(api: Api) -> None:
    answer = await api.call("POST", "/drs" + api.project + "jobs/batch-progress", {"jobs": [UNKNOWN_ID]})
    assert answer.status_code == 200


async def test_body_over_12_mb_is_refused_before_anything_else(api: Api) -> None:
    body = b'{"jobs": ["' + b"x" * (12 * 1024 * 1024) + b'"]}'
    answer = await api.call("POST", "jobs/batch-progress", body, **{"X-Auth-Token": ""})
    assert answer.status_code == 413
    assert answer.json()["error_code"] == "APIGW.0201"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


async def test_large_body_under_the_limit_is_read(api: Api) -> None:
    body = b'{"x": "' + b"x" * (11 * 1024 * 1024) + b'", "jobs": ["%b"]}' % UNKNOWN_ID.encode()
    answer = await api.call("POST", "jobs/batch-progress", body)
    assert answer.status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_content_types(api: Api, content_type: str) -> None:
    answer = await api.call("POST", "jobs/batch-progress", {"jobs": [UNKNOWN_ID]}, **{"Content-Type": content_type})
    assert answer.status_code == 200


async def test_literal_project_placeholder_is_another_project(api: Api) -> None:
    """What an SDK without a project id sends."""
    answer = await api.call("POST", "/v3/%7Bproject_id%7D/jobs/batch-progress", {"jobs": [UNKNOWN_ID]})
    assert (answer.status_code, answer.json()["error_code"]) == (403, "DRS.M00261")


async def test_i7_defect_tells_nothing_and_logs_no_text(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("row value Secret-1-of-the-test")

    monkeypatch.setattr(api.jobs, "progress_lines", fail)
    answer = await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]})
    assert answer.status_code == 500
    assert answer.json() == {"error_code": "DRS.M00004", "error_msg": "Service is abnormal. Check logs."}
    logged = "".join(capsys.readouterr())
    assert answer.headers["X-Request-Id"] in logged
    assert "RuntimeError" in logged
    assert "Secret-1" not in logged


# --- tokens ------------------------------------------------------------------------------------------


async def test_token_answer_has_what_clients_read(api: Api) -> None:
    answer = await api.client.post("/v3/auth/tokens?nocatalog=true", json=token_body(api.account))
    assert answer.status_code == 201
    assert len(answer.headers["X-Subject-Token"]) > 32
    token = answer.json()["token"]
    assert token["issued_at"] == "2025-03-01T12:00:00.000000Z"
    assert token["expires_at"] == "2025-03-02T12:00:00.000000Z"
    assert token["methods"] == ["password"]
    assert token["catalog"] == []
    domain = token["user"]["domain"]
    assert domain["name"] == "acme"
    assert token["project"] == {"id": api.account.project_id, "name": "eu-de", "domain": domain}
    assert token["user"]["name"] == "operator"
    assert "domain" not in token
    assert token["roles"]
    assert api.account.password not in answer.text


@pytest.mark.parametrize("kind", ["id", "name", "name-in-domain", "domain-name", "domain-id", "none"])
async def test_scopes(api: Api, kind: str) -> None:
    body = token_body(api.account)
    domain_id = (await api.client.post("/v3/auth/tokens", json=body)).json()["token"]["user"]["domain"]["id"]
    scope = {
        "id": {"project": {"id": api.account.project_id}},
        "name": {"project": {"name": "eu-de"}},
        "name-in-domain": {"project": {"name": "eu-de", "domain": {"name": "acme"}}},
        "domain-name": {"domain": {"name": "acme"}},
        "domain-id": {"domain": {"id": domain_id}},
        "none": None,
    }[kind]
    body["auth"]["scope"] = scope
    answer = await api.client.post("/v3/auth/tokens", json=body)
    assert answer.status_code == 201
    token = answer.json()["token"]
    called = await api.call(
        "POST",
        "jobs/batch-progress",
        {"jobs": [UNKNOWN_ID]},
        **{"X-Auth-Token": answer.headers["X-Subject-Token"]},
    )
    if kind in ("id", "name", "name-in-domain"):
        assert token["project"]["id"] == api.account.project_id
        assert called.status_code == 200
    else:
        assert token["domain"] == {"id": domain_id, "name": "acme"}
        assert "project" not in token
        assert called.status_code == 403


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"name": "nobody"}, {"domain": {"name": "elsewhere"}}])
async def test_wrong_credentials(api: Api, changes: dict[str, Any]) -> None:
    answer = await api.client.post("/v3/auth/tokens", json=token_body(api.account, **changes))
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["code"], error["title"]) == (401, "Unauthorized")
    assert "wrong" in error["message"]
    assert "X-Subject-Token" not in answer.headers


async def test_scope_of_another_project_is_refused(api: Api) -> None:
    for scope in ({"project": {"name": "other"}}, {"project": {"id": "f" * 32}}, {"domain": {"name": "x"}}):
        body = token_body(api.account)
        body["auth"]["scope"] = scope
        assert (await api.client.post("/v3/auth/tokens", json=body)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"auth": None},
        {"auth": {"identity": {"methods": ["token"]}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "x"}}}}},
        {"auth": []},
        {"auth": {"identity": {"methods": "password"}}},
    ],
)
async def test_malformed_sign_in(api: Api, body: Any) -> None:
    answer = await api.client.post("/v3/auth/tokens", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400


async def test_guessing_is_slowed_down(api: Api) -> None:
    for _ in range(5):
        assert (await api.client.post("/v3/auth/tokens", json=token_body(api.account, password="x"))).status_code == 401
    blocked = await api.client.post("/v3/auth/tokens", json=token_body(api.account))
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (429, 429)
    api.clock.advance(61)
    assert (await api.client.post("/v3/auth/tokens", json=token_body(api.account))).status_code == 201


async def test_token_expires_after_a_day(api: Api) -> None:
    api.clock.advance(24 * 3600 - 1)
    assert (await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]})).status_code == 200
    api.clock.advance(2)
    answer = await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]})
    assert (answer.status_code, answer.json()["error_code"]) == (401, "APIGW.0301")
    api.token = await sign_in(api.client, api.account)
    assert (await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]})).status_code == 200


async def test_revoked_token_lets_nobody_in(api: Api) -> None:
    other = await sign_in(api.client, api.account)
    answer = await api.call("DELETE", "/v3/auth/tokens", **{"X-Subject-Token": other})
    assert (answer.status_code, answer.content) == (204, b"")
    answer = await api.call("POST", "jobs/batch-progress", {"jobs": [UNKNOWN_ID]}, **{"X-Auth-Token": other})
    assert (answer.status_code, answer.json()["error_code"]) == (401, "APIGW.0301")
    answer = await api.call("DELETE", "/v3/auth/tokens", **{"X-Subject-Token": other})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)
    assert (await api.call("DELETE", "/v3/auth/tokens")).status_code == 400
    assert (await api.client.delete("/v3/auth/tokens", headers={"X-Subject-Token": api.token})).status_code == 401
    assert (await api.call("DELETE", "/v3/auth/tokens", **{"X-Subject-Token": api.token})).status_code == 204
    assert (await api.call("GET", "/v3/projects")).status_code == 401


async def test_token_of_another_user_cannot_be_revoked(api: Api) -> None:
    stranger = replace(api.caller, user_id="f" * 32)
    with pytest.raises(AuthenticationFailed):
        await api.identity.revoke_token(stranger, api.token)
    assert (await api.call("GET", "/v3/projects")).status_code == 200


async def test_project_and_domain_look_ups(api: Api) -> None:
    for path in ("/v3/projects", "/v3/projects?name=eu-de", "/v3/auth/projects"):
        body = (await api.call("GET", path)).json()
        (project,) = body["projects"]
        assert (project["id"], project["name"]) == (api.account.project_id, "eu-de")
        assert project["is_domain"] is False
        assert project["enabled"] is True
        assert set(body["links"]) == {"self", "next", "previous"}
    assert (await api.call("GET", "/v3/projects?name=nowhere")).json()["projects"] == []
    (domain,) = (await api.call("GET", "/v3/auth/domains")).json()["domains"]
    assert domain["name"] == "acme"
    assert (await api.client.get("/v3/projects")).status_code == 401


# --- pages for machines ------------------------------------------------------------------------------


async def test_health_needs_no_caller(api: Api) -> None:
    answer = await api.client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


async def test_metrics_show_figures_and_no_secret(api: Api) -> None:
    job_id = await api.create_job()
    await create_foreign_job(api)
    await api.post("jobs/batch-progress", {"jobs": [job_id]})
    text = (await api.client.get("/metrics")).text
    assert 'towline_jobs{status="CONFIGURATION"} 2.0' in text
    assert f'towline_job_percent{{job_id="{job_id}"}} 0.0' in text
    assert f'towline_job_delay_seconds{{job_id="{job_id}"}}' not in text
    assert (
        'towline_http_requests_total{method="POST",route="/v3/{project_id}/jobs/batch-progress",status="200"} 1.0'
        in text
    )
    for secret in (api.account.password, api.account.secret_key, api.token, "Secret-1", "mover", "10.1.2.3"):
        assert secret not in text


async def test_invented_methods_and_paths_do_not_grow_the_metrics(api: Api) -> None:
    for number in range(5):
        await api.client.request(f"X{number}", f"/nowhere/{number}")
    text = (await api.client.get("/metrics")).text
    assert 'towline_http_requests_total{method="OTHER",route="unrouted",status="404"} 5.0' in text


def test_every_error_text_exists_in_both_languages() -> None:
    for code, text in TEXTS.items():
        assert re.fullmatch(r"(DRS\.(M\d{5}|KE\d{4}|\d{8})|APIGW\.\d{4})", code)
        assert re.search("[\u4e00-\u9fff]", text.zh), code
        assert text.en.isascii(), code
        assert text.en.count("%s") == text.zh.count("%s"), code


def test_base_url_has_a_port() -> None:
    """The signature tests need one: the port is part of the signed host."""
    assert httpx.URL(BASE_URL).port


# --- what belongs to others ---------------------------------------------------------------------------


async def test_a_job_of_another_project_is_no_more_than_one_that_never_was(api: Api) -> None:
    """The same answer after the same work: neither a word nor the time that it takes tells one from the other."""
    foreign = await create_foreign_job(api)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    for engine in api.store.database.engines:
        event.listen(engine.sync_engine, "before_cursor_execute", note)
    names = {"project_id": api.account.project_id, "type": "table", "resource_type": "sync", "compare_type": "TABLE"}
    names["compare_job_id"] = COMPARE_ID
    compared = 0
    for route in all_routes(api.jobs, api.identity):
        example = json.dumps(REQUESTS.get(f"{route.method} {route.path}", {}))
        if "{job_id}" not in route.path and JOB not in example:
            continue
        seen = []
        for job_id in (foreign, UNKNOWN_ID):
            statements.clear()
            query = "?type=overview" if route.method == "GET" else ""
            body = json.loads(example.replace(JOB, job_id)) if route.request is not None else None
            answer = await api.call(route.method, route.path.format(job_id=job_id, **names) + query, body)
            shown = {name: value for name, value in answer.json().items() if name != "request_id"}
            # Sorted, as some calls do the items of a list side by side.
            seen.append((answer.status_code, json.dumps(shown).replace(job_id, "an id"), sorted(statements)))
        assert seen[0] == seen[1], route
        assert '"error_code"' in seen[0][1], (route, seen[0])
        compared += 1
    assert compared > 50
