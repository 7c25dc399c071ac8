"""The application of the demo: writes to every kind of table of the source, all the time.

Theory of operation: a few tasks share a pool of connections; each does one transaction after the other, at
a given pace altogether.  What a transaction does is drawn by chance from `OPERATIONS`, in proportion to
their weights.  A failure of one transaction (a lock that a TRUNCATE could not have) is its own affair; a
lost server ends the writer with the error. `stop` lets transactions in flight end and returns the time
after the last one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import asyncpg

from towline.cli.demo_data import ShopSize
from towline.engine.tasks import end_tasks

TASKS = 3
Connection = asyncpg.pool.PoolConnectionProxy


@dataclass(frozen=True, slots=True)
class Shop:
    """What the operations need to pick rows by chance."""

    size: ShopSize
    accounts: int

    def account(self) -> int:
        return random.randint(1, self.accounts)

    def customer(self) -> int:
        return random.randint(1, self.size.customers)

    def purchase(self) -> int:
        return random.randint(1, self.size.purchases)

    def sku(self) -> str:
        return f"sku-{random.randint(1, self.size.products)}"

    def stock(self) -> tuple[str, int]:
        return random.choice(("north", "south")), random.randint(1, 500)


Operation = Callable[[Connection, Shop], Awaitable[object]]


class Writer:
    """Writes until it is stopped."""

    def __init__(self, pool: asyncpg.Pool, shop: Shop, *, per_s: float) -> None:
        self._pool = pool
        self._shop = shop
        self._interval_s = TASKS / per_s
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.transactions = 0
        self.refused = 0

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write()) for _ in range(TASKS)]

    def raise_if_failed(self) -> None:
        """Raises what ended a task early, if anything did."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def stop(self) -> int:
        """End in order. Returns a time, in microseconds, after which nothing was written."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)
        return time.time_ns() // 1000

    async def cancel(self) -> None:
        await end_tasks(*self._tasks)

    async def _write(self) -> None:
        due_s = time.monotonic()
        while not self._is_stopping:
            (operation,) = random.choices(_OPERATIONS, _WEIGHTS)
            async with self._pool.acquire() as connection:
                try:
                    async with connection.transaction():
                        await operation(connection, self._shop)
                    self.transactions += 1
                except (
                    asyncpg.LockNotAvailableError,
                    asyncpg.DeadlockDetectedError,
                    asyncpg.IntegrityConstraintViolationError,
                ):
                    self.refused += 1  # another transaction was first, as in any application
            due_s += self._interval_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))


# --- what a transaction may do --------------------------------------------------------------------


async def pay(connection: Connection, shop: Shop) -> None:
    """What pgbench does: three balances and a line of history, a table without a key."""
    account, amount = shop.account(), random.randint(-5000, 5000)
    branch = (account - 1) // 100_000 + 1
    teller = (branch - 1) * 10 + random.randint(1, 10)
    await connection.execute(
        """WITH a AS (UPDATE public.pgbench_accounts SET abalance = abalance + $2 WHERE aid = $1),
                t AS (UPDATE public.pgbench_tellers SET tbalance = tbalance + $2 WHERE tid = $3),
                b AS (UPDATE public.pgbench_branches SET bbalance = bbalance + $2 WHERE bid = $4)
           INSERT INTO public.pgbench_history (tid, bid, aid, delta, mtime) VALUES ($3, $4, $1, $2, now())""",
        account,
        amount,
        teller,
        branch,
    )


async def order(connection: Connection, shop: Shop) -> None:
    """A purchase with lines, then its total: insert and update of one row in one transaction."""
    row = await connection.fetchrow(
        "INSERT INTO shop.purchase (ordered_at, customer_id) VALUES (now(), $1) RETURNING id, ordered_at",
        shop.customer(),
    )
    assert row is not None
    await connection.execute(
        """INSERT INTO shop.purchase_line (purchase_id, ordered_at, line, sku, quantity, price)
           SELECT $1, $2, n, sku, n, price
           FROM (SELECT sku, price, row_number() OVER () AS n FROM shop.product WHERE sku = ANY ($3))
           chosen""",
        row["id"],
        row["ordered_at"],
        [shop.sku(), shop.sku(), shop.sku()],
    )
    await connection.execute(
        """UPDATE shop.purchase SET total = coalesce(
               (SELECT sum(amount) FROM shop.purchase_line WHERE purchase_id = $1), 0)
           WHERE id = $1 AND ordered_at = $2""",
        row["id"],
        row["ordered_at"],
    )


async def ship(connection: Connection, shop: Shop) -> None:
    await connection.execute(
        "UPDATE shop.purchase SET state = 'shipped', note = 'shipped' WHERE id = $1", shop.purchase()
    )


async def cancel_purchase(connection: Connection, shop: Shop) -> None:
    """A delete that takes the lines along through the foreign key."""
    await connection.execute("DELETE FROM shop.purchase WHERE id = $1", shop.purchase())


async def move_purchase(connection: Connection, shop: Shop) -> None:
    """A row that goes from one partition to another: a delete and an insert for whoever follows."""
    purchase_id = shop.purchase()
    await connection.execute("DELETE FROM shop.purchase_line WHERE purchase_id = $1", purchase_id)
    await connection.execute(
        "UPDATE shop.purchase SET ordered_at = ordered_at + interval '1 year' WHERE id = $1", purchase_id
    )


async def know_customer(connection: Connection, shop: Shop) -> None:
    """JSON, an array and a composite value; the generated column follows the name by itself."""
    await connection.execute(
        """UPDATE shop.customer SET profile = profile || jsonb_build_object('seen', $2::text),
               tags = array_append(tags[1:4], 'seen "' || $2 || '"'), home.city = $2,
               name = 'Customer ' || $2 WHERE id = $1""",
        shop.customer(),
        uuid4().hex[:8],
    )


async def meet_customer(connection: Connection, shop: Shop) -> None:
    """Comes and goes within one transaction, half of the time."""
    customer = await connection.fetchval(
        "INSERT INTO shop.customer (email, name) VALUES ($1, 'Newcomer') RETURNING id",
        f"{uuid4().hex}@example.org",
    )
    if random.random() < 0.5:
        await connection.execute("DELETE FROM shop.customer WHERE id = $1", customer)


async def price(connection: Connection, shop: Shop) -> None:
    """The long description of the row is not touched, so it is not in the stream either."""
    await connection.execute("UPDATE shop.product SET price = price + 0.01 WHERE sku = $1", shop.sku())


async def describe(connection: Connection, shop: Shop) -> None:
    """A value of up to 60 kB, stored out of line."""
    await connection.execute(
        "UPDATE shop.product SET description = repeat($2, $3), photo = decode(md5($2), 'hex') WHERE sku = $1",
        shop.sku(),
        uuid4().hex,
        random.randint(0, 2000),
    )


async def rename_product(connection: Connection, shop: Shop) -> None:
    """A change of the key, followed by the lines that refer to it, and back."""
    sku = shop.sku()
    await connection.execute("UPDATE shop.product SET sku = $2 WHERE sku = $1", sku, f"{sku}-{uuid4().hex[:6]}")
    if random.random() < 0.7:
        await connection.execute(
            "UPDATE shop.product SET sku = $1 WHERE sku LIKE $1 || '-%' AND NOT EXISTS "
            "(SELECT 1 FROM shop.product WHERE sku = $1)",
            sku,
        )


async def take_stock(connection: Connection, shop: Shop) -> None:
    """Fires the trigger that writes a history."""
    await connection.execute(
        "UPDATE shop.stock SET amount = amount + $3 WHERE warehouse = $1 AND slot = $2",
        *shop.stock(),
        random.randint(-3, 3),
    )


async def swap_slots(connection: Connection, shop: Shop) -> None:
    """Two rows exchange their keys: only the order of the steps makes it possible."""
    warehouse, first = shop.stock()
    second = first % 500 + 1
    for old, new in ((first, -first), (second, first), (-first, second)):
        await connection.execute(
            "UPDATE shop.stock SET slot = $3 WHERE warehouse = $1 AND slot = $2", warehouse, old, new
        )


async def note_event(connection: Connection, shop: Shop) -> None:
    await connection.execute(
        """INSERT INTO shop.event
           VALUES (clock_timestamp(), 'written', jsonb_build_object('customer', $1::bigint))""",
        shop.customer(),
    )


async def visit(connection: Connection, _shop: Shop) -> None:
    """A table without a key: a new row, a changed one, a deleted one."""
    page = f"/page/{random.randint(0, 49)}"
    await connection.execute("INSERT INTO shop.visit VALUES ($1, $2, NULL)", uuid4(), page)
    one = "ctid = (SELECT ctid FROM shop.visit WHERE page = $1 ORDER BY random() LIMIT 1)"
    await connection.execute(f"UPDATE shop.visit SET seconds = coalesce(seconds, 0) + 1 WHERE {one}", page)
    await connection.execute(f"DELETE FROM shop.visit WHERE {one}", page)


async def fill_basket(connection: Connection, shop: Shop) -> None:
    await connection.execute("INSERT INTO shop.basket (sku, added_at) VALUES ($1, now())", shop.sku())


async def empty_baskets(connection: Connection, shop: Shop) -> None:
    await connection.execute("SET LOCAL lock_timeout = '100ms'")
    await connection.execute("TRUNCATE shop.basket")
    await fill_basket(connection, shop)


OPERATIONS: dict[Operation, float] = {
    pay: 30,
    order: 12,
    ship: 10,
    cancel_purchase: 2,
    move_purchase: 2,
    know_customer: 8,
    meet_customer: 4,
    price: 8,
    describe: 2,
    rename_product: 2,
    take_stock: 10,
    swap_slots: 2,
    note_event: 6,
    visit: 4,
    fill_basket: 4,
    empty_baskets: 0.3,
}
_OPERATIONS = list(OPERATIONS)
_WEIGHTS = list(OPERATIONS.values())
