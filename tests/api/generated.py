"""Generated requests against a real server: what `/openapi.json` promises, held against what comes back.

As a program (`make fuzz-api`) it sends at least 20,000 requests to a server of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from tests.api.harness import job_body
from tests.api.serving import Served, served

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
_GENERATED = re.compile(r"(\d+) generated")


def read_token(server: Served) -> str:
    user = {"name": server.user_name, "password": server.password, "domain": {"name": server.domain_name}}
    order = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"id": server.project_id}},
        }
    }
    request = urllib.request.Request(f"{server.url}/v3/auth/tokens", json.dumps(order).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        token: str = answer.headers["X-Subject-Token"]
    return token


def create_job(server: Served) -> str:
    """A job for calls that have an id in their path: behind an unknown one little can be reached."""
    body = json.dumps({"jobs": [job_body(name="generated")]}).encode()
    request = urllib.request.Request(f"{server.url}/v3/{server.project_id}/jobs/batch-creation", body, method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("X-Auth-Token", read_token(server))
    with urllib.request.urlopen(request) as answer:
        job_id: str = json.load(answer)["results"][0]["id"]
    return job_id


def run_generated(server: Served, folder: Path, *, examples: int, phases: str, paths: str = ".") -> tuple[int, str]:
    """Exit code and output: 0 when every answer was as documented.

    `examples` per operation in the fuzzing phase; `paths`: a regular expression for those to call.
    """
    config = folder / "schemathesis.toml"
    # Other projects are refused before anything is looked at; the token's own is what is worth the requests.
    job_id = create_job(server)
    config.write_text(f'[parameters]\n"path.project_id" = "{server.project_id}"\n"path.job_id" = "{job_id}"\n')
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(config)),
            *("run", f"{server.url}/openapi.json"),
            *("--header", f"X-Auth-Token: {read_token(server)}"),
            *("--checks", ",".join(CHECKS)),
            *("--phases", phases),
            *("--include-path-regex", paths),
            *("--max-examples", str(examples)),
            *("--suppress-health-check", "all"),
            *("--generation-database", "none"),
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def count_generated(output: str) -> int:
    found = _GENERATED.search(output.replace(",", ""))
    return int(found.group(1)) if found else 0


def main() -> None:
    with tempfile.TemporaryDirectory() as name, served(Path(name) / "towline") as server:
        code, output = run_generated(server, Path(name), examples=450, phases="examples,coverage,fuzzing")
    sys.stdout.write(output)
    count = count_generated(output)
    if count < 20_000:
        raise SystemExit(f"only {count} requests were generated")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
