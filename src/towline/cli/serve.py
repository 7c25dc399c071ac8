"""`towline serve`: API, supervisor and workers on this machine.

Theory of operation.  One process runs the HTTP server and the supervisor on one event loop; each running job
has a child process.  The first SIGINT or SIGTERM closes the door to new requests and asks the workers to stop
at their next safe point; jobs keep their status, and whoever serves the store next goes on with them.  A
second signal kills the workers, which is as safe as a crash.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn
import uvloop

from towline import __version__
from towline.api.app import create_app
from towline.bootstrap import WORKER_COMMAND, DatabaseProbes
from towline.cli.options import DataDirOption, StoreOption, ending_on_error
from towline.clock import SystemClock
from towline.domain.errors import SetupError
from towline.logs import configure_logs
from towline.outbound.courier import OutsideCourier
from towline.outbound.keystone import KeystoneValidator
from towline.outbound.log_sinks import OutsideLogSink
from towline.outside_config import OutsideConfig
from towline.service.duties import Duties
from towline.service.foreign_tokens import ForeignTokens
from towline.service.identity import IdentityService
from towline.service.jobs import JobService
from towline.service.ports import Outlets
from towline.settings import DEFAULT_LISTEN, Settings, read_settings
from towline.store.opening import Store, opened_store
from towline.worker.runner import ChildProcessRunner
from towline.worker.supervisor import LEASE_TTL_S, Supervisor, SupervisorSettings

log = structlog.get_logger(__name__)

_HTTP_GRACE_S = 5


def serve(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help=f"Left out: $TOWLINE_LISTEN or {DEFAULT_LISTEN}."),
    ] = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    max_workers: Annotated[int | None, typer.Option(min=1, help="Jobs that run at the same time; others wait.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file; the API then speaks HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with the certificate's key.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file: Keystone, mail, webhooks, where logs go; left out: $TOWLINE_CONFIG."),
    ] = None,
) -> None:
    """Serve the API and run the jobs of the store until Ctrl-C."""
    with ending_on_error():
        settings = read_settings(
            os.environ,
            store=store,
            data_dir=data_dir,
            listen=listen,
            log_level=log_level,
            max_workers=max_workers,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            config=config,
        )
        configure_logs(settings.log_level)
        uvloop.run(run_server(settings))


async def run_server(settings: Settings) -> None:
    """Serve until a signal asks to stop.

    Raises:
        SetupError: the address cannot be listened on, or the store is not ready.
    """
    stop = asyncio.Event()
    clock = SystemClock()
    async with opened_store(settings.store_url, settings.data_dir, clock=clock) as store:
        probes = DatabaseProbes()
        supervisor = _supervise(settings, store, probes, clock)
        jobs = JobService(
            store.jobs, probes, clock=clock, on_change=supervisor.poke, max_jobs=settings.max_jobs, zone=settings.zone
        )
        identity = IdentityService(store.identities, clock=clock, foreign=_foreign_tokens(settings, store, clock))
        app = create_app(jobs, identity, clock=clock, version=__version__, outlets=_outlets(settings.outside))
        duties = _duties(settings.outside, store, clock, owner=supervisor.owner)
        server = _Server(_load_http_config(settings, app))
        listener = _listen(settings)
        _spare_the_collector()
        with _asked_by_signals(stop, supervisor):
            supervising = asyncio.create_task(supervisor.run(stop), name="supervisor")
            telling = asyncio.create_task(duties.run(stop), name="duties")
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
            announcing = asyncio.create_task(_announce(server, listener, settings))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({supervising, serving, telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                log.info("server_stopping")
                stop.set()
                server.should_exit = True
                announcing.cancel()
                results = await asyncio.gather(serving, supervising, telling, stopping, return_exceptions=True)
                await jobs.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _foreign_tokens(settings: Settings, store: Store, clock: SystemClock) -> ForeignTokens | None:
    keystone = settings.outside.keystone
    return None if keystone is None else ForeignTokens(KeystoneValidator(keystone), store.accounts, clock=clock)


def _outlets(outside: OutsideConfig) -> Outlets:
    return Outlets(frozenset(outside.topics), frozenset(outside.log_groups), outside.smtp is not None)


def _duties(outside: OutsideConfig, store: Store, clock: SystemClock, *, owner: str) -> Duties:
    courier, sink = OutsideCourier(outside.smtp, outside.topics), OutsideLogSink(outside.log_groups)
    return Duties(store.outside, courier, sink, clock=clock, owner=owner)


def _supervise(settings: Settings, store: Store, probes: DatabaseProbes, clock: SystemClock) -> Supervisor:
    runner = ChildProcessRunner(
        WORKER_COMMAND,
        store_url=settings.store_url,
        data_dir=str(settings.data_dir),
        ttl_s=LEASE_TTL_S,
        log_level=settings.log_level,
        writes_heartbeat=settings.writes_heartbeat,
    )
    supervision = SupervisorSettings(
        work_root=settings.data_dir / "work",
        max_workers=settings.max_workers,
        ttl_s=LEASE_TTL_S,
        zone=settings.zone,
    )
    return Supervisor(store.work, runner, probes, clock=clock, settings=supervision)


def _spare_the_collector() -> None:
    """What was made until here stays; and an answer with a thousand records is no reason to look for cycles in it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class _Server(uvicorn.Server):
    """Signals are ours: the workers have to stop too."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http_config(settings: Settings, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http="httptools",
        lifespan="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_HTTP_GRACE_S,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def _load_http_config(settings: Settings, app: object) -> uvicorn.Config:
    config = _http_config(settings, app)
    try:
        config.load()
    except OSError as error:  # also what the TLS library says of files that are no certificate
        raise SetupError(
            f"cannot serve TLS with {settings.tls_certificate} and {settings.tls_key}: {error.strerror or error}",
            remedy="Give PEM files of a certificate and its key that Towline's user may read.",
        ) from error
    return config


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    address = (settings.listen_host, settings.listen_port)
    try:
        return socket.create_server(address, family=family, backlog=512, reuse_port=False)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else "the name is not known"
        raise SetupError(
            f"cannot listen on {settings.listen_host}:{settings.listen_port}: {why}",
            remedy="Choose another address with --listen, or stop what listens there.",
        ) from error


async def _announce(server: uvicorn.Server, listener: socket.socket, settings: Settings) -> None:
    """Say where the server is, once it answers; scripts wait for this line."""
    while not server.started:
        await asyncio.sleep(0.02)
    scheme = "https" if settings.tls_certificate else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"towline serves {scheme}://{shown}:{port}\n")
    sys.stdout.flush()


@contextmanager
def _asked_by_signals(stop: asyncio.Event, supervisor: Supervisor) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill_workers()
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        with suppress(RuntimeError):
            for number in numbers:
                loop.remove_signal_handler(number)
