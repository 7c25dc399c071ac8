"""Opens a store with its keys: the one thing that the rest of Towline holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from towline.domain.errors import SetupError, StoreNotReady
from towline.service.ports import Clock
from towline.store.accounts import SqlAccountStore
from towline.store.database import Database, open_database
from towline.store.identity import SqlIdentityStore
from towline.store.jobs import SqlJobStore
from towline.store.keyring import ensure_keyring, load_keyring
from towline.store.outside import SqlOutsideStore
from towline.store.work import SqlWorkStore

SERVER_POOL_SIZE = 5
# There may be many workers, and a PostgreSQL server has a hundred sessions by default.
WORKER_POOL_SIZE = 2


@dataclass(frozen=True, slots=True)
class Store:
    """What we remember between restarts, by the parts that use it."""

    database: Database
    jobs: SqlJobStore
    identities: SqlIdentityStore
    accounts: SqlAccountStore
    work: SqlWorkStore
    outside: SqlOutsideStore


@asynccontextmanager
async def opened_store(
    url: str,
    data_dir: Path,
    *,
    clock: Clock,
    may_create: bool = False,
    checks_schema: bool = True,
    pool_size: int = SERVER_POOL_SIZE,
) -> AsyncIterator[Store]:
    """The store, with tables of this code's version; closed at the end of the block.

    `may_create` makes what is missing: folder, key file, tables.  `checks_schema` False is for workers, whose
    server has checked already.

    Raises:
        StoreNotReady, KeyMissing: nothing has been made here yet, or the key file is gone.
        StoreTooNew: a newer Towline has written the store.
        SetupError: what is missing cannot be made there.
        StoreUnavailable: it cannot be reached.
    """
    database = open_database(url, pool_size=pool_size)
    try:
        if database.is_sqlite:
            _require_file(url, may_create=may_create)
            if checks_schema:
                await database.ensure_wal()
        if checks_schema:
            # Only here: a worker, whose server has checked, need not load what upgrades tables.
            from towline.store.schema import ensure_schema

            await ensure_schema(database, may_create=may_create)
        # After the tables, so that a mistyped URL leaves no key behind.
        with _making(data_dir):
            keyring = ensure_keyring(data_dir) if may_create else load_keyring(data_dir)
        yield Store(
            database=database,
            jobs=SqlJobStore(database, keyring, clock),
            identities=SqlIdentityStore(database, keyring),
            accounts=SqlAccountStore(database),
            work=SqlWorkStore(database, keyring, clock),
            outside=SqlOutsideStore(database, clock),
        )
    finally:
        await database.close()


def _require_file(url: str, *, may_create: bool) -> None:
    """SQLite would make an empty store of a mistyped path, readable by everybody."""
    path = Path(make_url(url).database or "")
    if may_create:
        with _making(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
    elif not path.exists():
        raise StoreNotReady(f"there is no store {path}")


@contextmanager
def _making(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} cannot be made: {error.strerror}",
            remedy="Give another --data-dir or --store, or make the folder one that Towline's user may write to.",
        ) from error
