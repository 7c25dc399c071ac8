"""Messages and histories that leave the server, received by real servers; and what workers measure."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message as Mail
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.harness import Api, failure
from towline.api.app import create_app
from towline.api.wire.attributes import AlarmRequest, read_alarm
from towline.api.wire.errors import ApiError
from towline.api.wire.fields import convert
from towline.domain.jobs import JobStatus
from towline.domain.nodes import NodeSample
from towline.domain.progress import Phase, Progress
from towline.outbound.courier import SIGNATURE_HEADER, OutsideCourier
from towline.outbound.log_sinks import OutsideLogSink
from towline.outside_config import LogGroupConfig, OutsideConfig, SmtpConfig, TopicConfig
from towline.service.duties import Duties
from towline.service.ports import Outlets

OUTLETS = Outlets(frozenset({"ops", "hung"}), frozenset({"files", "collector"}), has_mail=True)


class HttpReceiver(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _HttpCalls)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _HttpCalls(BaseHTTPRequestHandler):
    server: HttpReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.server.may_answer.wait(30)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None: ...


class MailReceiver(socketserver.ThreadingTCPServer):
    """Takes mail as RFC 5321 says, as far as a sender without extensions goes."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Mail]] = []
        super().__init__(("127.0.0.1", 0), _MailSession)


class _MailSession(socketserver.StreamRequestHandler):
    server: MailReceiver

    def handle(self) -> None:
        recipients: list[str] = []
        self.say("220 test")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"RCPT":
                recipients.append(line.decode().strip().partition(":")[2].strip("<>"))
            if verb == b"DATA":
                self.say("354 go on")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text)
                self.server.mails.append((recipients, message_from_bytes(b"".join(lines))))
            self.say("221 bye" if verb == b"QUIT" else "250 ok")
            if verb == b"QUIT":
                return

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def running(server: socketserver.BaseServer) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    yield from running(HttpReceiver())


@pytest.fixture
def hung() -> Iterator[HttpReceiver]:
    for server in running(HttpReceiver()):
        server.may_answer.clear()
        yield server
        server.may_answer.set()


@pytest.fixture
def mailbox() -> Iterator[MailReceiver]:
    yield from running(MailReceiver())


def duties_of(api: Api, config: OutsideConfig, *, owner: str = "one") -> Duties:
    courier, sink = OutsideCourier(config.smtp, config.topics), OutsideLogSink(config.log_groups)
    return Duties(api.store.outside, courier, sink, clock=api.clock, owner=owner)


@pytest.fixture
async def outward(api: Api) -> Api:
    """The application of a server that has receivers in its configuration."""
    app = create_app(api.jobs, api.identity, clock=api.clock, version="0", outlets=OUTLETS)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    api.client = httpx.AsyncClient(transport=transport, base_url="http://towline.test")
    return api


def alarm_body(job_id: str, **info: Any) -> dict[str, Any]:
    job = {"job_id": job_id, "status": "CONFIGURATION", "engine_type": "postgresql"}
    return {"jobs": [job], "alarm_notify_info": info}


# --- messages ---------------------------------------------------------------------------------------


async def test_a_failed_job_is_told_once_by_mail_and_webhook(
    outward: Api, receiver: HttpReceiver, mailbox: MailReceiver
) -> None:
    api = outward
    job_id = await api.create_job()
    mail = {"protocol": "email", "endpoints": ["ops@example.org", "boss@example.org"]}
    body = alarm_body(job_id, subscriptions=[mail], topic_urn="urn:smn:eu-de:1:ops", delay_time=30)
    answer = await api.post("jobs/batch-set-smn", body)
    assert answer.json()["results"] == [{"id": job_id, "status": "success"}], answer.text
    config = OutsideConfig(
        smtp=SmtpConfig(host="127.0.0.1", port=mailbox.server_address[1], sender="towline@example.org"),
        topics={"ops": TopicConfig(webhook=receiver.url + "/hook", secret="shared")},
    )
    duties = duties_of(api, config)
    await duties.do_round()
    assert (receiver.requests, mailbox.mails) == ([], [])
    await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure())
    receiver.status = 500
    await duties.do_round()
    receiver.status = 200
    await duties.do_round()
    assert len(receiver.requests) == 1, "what was refused waits a while"
    api.clock.advance(16)
    for _ in range(2):
        await duties.do_round()
    assert len(receiver.requests) == 2
    assert len(mailbox.mails) == 1, "who has a message does not get it again because another receiver does not"
    path, headers, sent = receiver.requests[-1]
    told = json.loads(sent)
    assert (path, told["job_id"], told["kind"], told["state"]) == ("/hook", job_id, "failed", "raised")
    assert "WAL_LEVEL_NOT_LOGICAL" in told["text"]
    signature = hmac.new(b"shared", sent, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE_HEADER] == f"sha256={signature}"
    recipients, first = mailbox.mails[-1]
    assert recipients == ["ops@example.org", "boss@example.org"]
    assert first["Subject"] == "[Towline] move-shop: failed raised"
    # Another server of the store, after the first one has gone.
    successor = duties_of(api, config, owner="two")
    await api.bring_to(job_id, JobStatus.STARTING, failure=None)
    await successor.do_round()
    assert len(receiver.requests) == 2, "one server at a time"
    api.clock.advance(31)
    await successor.do_round()
    assert json.loads(receiver.requests[-1][2])["state"] == "over"
    assert await api.store.outside.load_alarms() == {}


async def test_the_update_of_version_5_names_the_same_receivers(outward: Api, receiver: HttpReceiver) -> None:
    api = outward
    job_id = await api.create_job()
    wish = {"alarm_to_user": True, "topic_urn": "urn:smn:eu-de:1:ops", "delay_time": 30}
    path = f"/v5/{api.account.project_id}/jobs/{job_id}"
    answer = await api.put(path, {"job": {"type": "notify", "params": {"alarm_notify": wish}}})
    assert answer.status_code == 200, answer.text
    await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure())
    await duties_of(api, OutsideConfig(topics={"ops": TopicConfig(webhook=receiver.url + "/hook")})).do_round()
    assert [json.loads(sent)["kind"] for _, _, sent in receiver.requests] == ["failed"]


async def test_a_receiver_that_hangs_holds_up_nobody_else(
    outward: Api, receiver: HttpReceiver, mailbox: MailReceiver, hung: HttpReceiver
) -> None:
    api = outward
    mail = {"protocol": "email", "endpoints": ["ops@example.org"]}
    for name in ("first", "second"):
        job_id = await api.create_job(name=name)
        await api.post("jobs/batch-set-smn", alarm_body(job_id, subscriptions=[mail], topic_urn="hung"))
        await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure())
    job_id = await api.create_job(name="third")
    await api.post("jobs/batch-set-smn", alarm_body(job_id, topic_urn="ops"))
    await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure())
    topics = {"hung": TopicConfig(webhook=hung.url, timeout_s=60), "ops": TopicConfig(webhook=receiver.url)}
    smtp = SmtpConfig(host="127.0.0.1", port=mailbox.server_address[1], sender="towline@example.org")
    config = OutsideConfig(smtp=smtp, topics=topics)
    duties = duties_of(api, config)
    sending = asyncio.create_task(duties.do_round())
    async with asyncio.timeout(20):
        while not (len(mailbox.mails) == 2 and len(receiver.requests) == 1 and hung.requests):
            await asyncio.sleep(0.01)
    assert not sending.done()
    # The duty ends while the receiver hangs: what has not been sent is the successor's.
    api.clock.advance(31)
    successor = duties_of(api, OutsideConfig(), owner="two")
    await successor.do_round()
    hung.may_answer.set()
    await sending
    assert len(hung.requests) == 1
    told = await api.store.outside.load_alarms()
    assert sorted(told.values()) == [False, True, True]


async def test_a_message_that_is_never_taken_holds_up_no_other(outward: Api, receiver: HttpReceiver) -> None:
    api = outward
    duties = duties_of(api, OutsideConfig(topics={"ops": TopicConfig(webhook=receiver.url)}))
    receiver.status = 400
    for name in ("refused", "taken"):
        job_id = await api.create_job(name=name)
        await api.post("jobs/batch-set-smn", alarm_body(job_id, topic_urn="ops"))
        await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure())
        await duties.do_round()
    api.clock.advance(16)
    receiver.status = 200
    await duties.do_round()
    names = [json.loads(body)["job_name"] for _, _, body in receiver.requests]
    assert names == ["refused", "taken", "refused"]


async def test_a_job_that_falls_behind_its_limits_is_told(outward: Api, receiver: HttpReceiver) -> None:
    api = outward
    job_id = await api.create_job()
    await api.post("jobs/batch-set-smn", alarm_body(job_id, topic_urn="ops", delay_time=30, rpo_delay=3600))
    duties = duties_of(api, OutsideConfig(topics={"ops": TopicConfig(webhook=receiver.url)}))
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, Progress(api.clock.us, Phase.STREAM, percent=100, proven_source_time_us=api.clock.us))
    await duties.do_round()
    assert receiver.requests == []
    api.clock.advance(31)
    await duties.do_round()
    (told,) = [json.loads(body) for _, _, body in receiver.requests]
    assert (told["kind"], told["text"]) == ("delay", "The target is 31 s behind; the limit is 30 s.")


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({"subscriptions": [{"protocol": "sms", "endpoints": ["+49"]}]}, "DRS.M00300"),
        ({"subscriptions": [{"protocol": "email", "endpoints": ["not an address"]}]}, "DRS.M00202"),
        ({"topic_urn": "urn:smn:eu-de:1:nobody"}, "DRS.M00202"),
        ({"delay_time": 3601}, "DRS.M00202"),
    ],
)
async def test_receivers_that_cannot_be_reached_are_refused(outward: Api, info: dict[str, Any], code: str) -> None:
    job_id = await outward.create_job()
    answer = await outward.post("jobs/batch-set-smn", alarm_body(job_id, **info))
    assert (answer.status_code, answer.json()["error_code"]) == (400, code), answer.text
    assert not (await outward.stored_job(job_id)).attributes.get("alarm_notify")


@pytest.mark.parametrize(
    ("address", "is_good"),
    [
        *(("ops@example.org", True), ("first.last+tag@mail.example.org", True), ("root@localhost", True)),
        *(("o'neil@xn--bcher-kva.example", True), (f"{'a' * 64}@example.org", True)),
        *((".ops@example.org", False), ("o..ps@example.org", False), ("ops@-example.org", False)),
        *(("ops@example..org", False), ("ops@example.org.", False), ("ops@exa_mple.org", False)),
        *(("ops@exam ple.org", False), ("ops\x7f@example.org", False), ("öps@example.org", False)),
        *((f"{'a' * 65}@example.org", False), ("ops@example.org\n", False), ("a@b@c", False), ("ops", False)),
        (f"a@{'b.' * 130}c", False),
    ],
)
def test_addresses_that_no_mail_server_takes_are_refused(address: str, is_good: bool) -> None:
    alarm = convert({"subscriptions": [{"protocol": "email", "endpoints": [address]}]}, AlarmRequest, where="request")
    if is_good:
        assert (read_alarm(alarm) or {})["subscriptions"][0]["endpoints"] == [address]
    else:
        with pytest.raises(ApiError, match="endpoints"):
            read_alarm(alarm)


async def test_mail_wants_a_mail_server(api: Api) -> None:
    mail = {"protocol": "email", "endpoints": ["a@b"]}
    answer = await api.post("jobs/batch-set-smn", alarm_body(await api.create_job(), subscriptions=[mail]))
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00305")


# --- histories --------------------------------------------------------------------------------------


async def switch_log(api: Api, job_id: str, group: str) -> None:
    wish = {"job": {"log_group_id": group, "log_stream_id": "shop", "lts_enabled": True}}
    answer = await api.put(f"jobs/{job_id}/lts-log-switch", wish)
    assert (answer.status_code, answer.json()) == (200, {}), answer.text
    assert (await api.call("GET", f"jobs/{job_id}/lts-log-switch")).json() == wish


async def test_a_history_goes_to_a_file_from_its_beginning(outward: Api, tmp_path: Path) -> None:
    api = outward
    job_id = await api.create_job()
    await api.create_job(name="not-asked-for")
    await switch_log(api, job_id, "files")
    duties = duties_of(api, OutsideConfig(log_groups={"files": LogGroupConfig(folder=str(tmp_path / "logs"))}))
    for _ in range(2):
        await duties.do_round()
    file = tmp_path / "logs" / "shop.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["message"] for line in lines] == ["created as move-shop", "history goes to files"]
    assert {line["job_id"] for line in lines} == {job_id}
    await api.put(f"jobs/{job_id}/lts-log-switch", {"job": {"lts_enabled": False}})
    await duties.do_round()
    assert len(file.read_text().splitlines()) == 2


async def test_a_dead_collector_holds_up_no_other_history(outward: Api, receiver: HttpReceiver, tmp_path: Path) -> None:
    api = outward
    job_id = await api.create_job(name="long-history")
    lease = await api.store.work.take_lease(job_id, "a worker", ttl_s=10)
    assert lease is not None
    await api.store.work.add_events(lease, "structure", [f"line {number}" for number in range(600)])
    await switch_log(api, job_id, "collector")
    await switch_log(api, await api.create_job(name="other"), "files")
    receiver.status = 503
    groups = {"files": LogGroupConfig(folder=str(tmp_path)), "collector": LogGroupConfig(otlp=receiver.url)}
    await duties_of(api, OutsideConfig(log_groups=groups)).do_round()
    assert len((tmp_path / "shop.jsonl").read_text().splitlines()) == 2


async def test_a_history_goes_to_a_collector_and_waits_for_it(outward: Api, receiver: HttpReceiver) -> None:
    api = outward
    job_id = await api.create_job()
    await switch_log(api, job_id, "collector")
    group = LogGroupConfig(otlp=receiver.url, headers={"Authorization": "Bearer key"})
    duties = duties_of(api, OutsideConfig(log_groups={"collector": group}))
    receiver.status = 503
    await duties.do_round()
    receiver.status = 200
    api.clock.advance(16)
    await duties.do_round()
    (_, _, refused), (path, headers, taken) = receiver.requests
    assert refused == taken
    assert (path, headers["Authorization"]) == ("/v1/logs", "Bearer key")
    (resource,) = json.loads(taken)["resourceLogs"]
    records = resource["scopeLogs"][0]["logRecords"]
    assert records[0]["body"]["stringValue"] == "created as move-shop"
    assert {"key": "log.stream", "value": {"stringValue": "shop"}} in resource["resource"]["attributes"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"log_group_id": "nobody"}, "DRS.M00202"),
        ({"log_stream_id": "../../etc"}, "DRS.M00202"),
        ({"log_stream_id": None}, "DRS.M00201"),
        ({"lts_enabled": None}, "DRS.M00201"),
    ],
)
async def test_a_log_goes_only_where_the_configuration_says(outward: Api, change: dict[str, Any], code: str) -> None:
    job_id = await outward.create_job()
    wish = {"log_group_id": "files", "log_stream_id": "shop", "lts_enabled": True, **change}
    answer = await outward.put(f"jobs/{job_id}/lts-log-switch", {"job": wish})
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)


# --- what workers measure ---------------------------------------------------------------------------


async def test_monitoring_shows_what_was_measured_and_leaves_the_rest_out(api: Api) -> None:
    job_id = await api.create_job()

    async def read() -> dict[str, Any]:
        answer = await api.post("jobs/disaster-recovery-monitoring-data", {"jobs": [job_id]})
        return answer.json()["results"][0]["data_guard_minitor"]

    assert await read() == {}
    await api.bring_to(job_id, JobStatus.STREAMING)
    now_us = api.clock.us
    await api.report(
        job_id,
        Progress(
            now_us,
            Phase.STREAM,
            percent=100,
            rows_copied=10,
            changes_applied=5,
            bytes_copied=3 * 1024 * 1024,
            apply_rows_per_s=7.0,
            apply_bytes_per_s=1024 * 1024.0,
            proven_source_time_us=now_us - 3_000_000,
            applied_position="0/1",
        ),
    )
    lease = await api.store.work.take_lease(job_id, "a worker", ttl_s=10)
    assert lease is not None
    await api.store.work.save_sample(lease, NodeSample(now_us, 12.5, 100, 384, 50, 20.5))
    seen = await read()
    assert (seen["cpuUsed_percent"], seen["mem_used_inMB"], seen["node_mem_inMB"]) == ("12.5", "100", 384)
    assert (seen["trans_inMB"], seen["trans_lines"], seen["dst_rps"]) == ("3.00", "15", "7")
    assert (seen["dst_offset"], seen["migration_bytes_per_second"], seen["bandwidth"]) == ("0/1", 1024 * 1024, "1.00")
    assert seen["sr_delay"] + seen["dst_delay"] == 3
    assert "src_offset" not in seen
    api.clock.advance(60)
    seen = await read()
    assert "cpuUsed_percent" not in seen, "nobody knows what a silent worker uses"
    assert "dst_rps" not in seen
