"""What waits for each receiver of messages and histories, and when it is tried next.

Theory of operation.  A receiver is the mail server, a topic or a log group.  Each has a lane of its own: at most one
task, which sends one thing after the other.  So a receiver that answers slowly or not at all holds up nobody else.
When something was not taken the whole lane pauses, for the others behind it would fare no better; after the pause
what has failed less often goes first, so a message that is never taken holds up none that would be.

Whoever fills lanes and the tasks of lanes run in one event loop; between two awaits nobody else changes a lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from towline.domain.errors import NotDelivered, TowlineError
from towline.engine.tasks import end_tasks
from towline.service.ports import Clock, Message

log = structlog.get_logger(__name__)

_RETRY_S: Final = 15.0


class Receiver(NamedTuple):
    """`kind`: mail, topic or group; `name` as the configuration has it, empty for mail."""

    kind: str
    name: str = ""


class Alarm(NamedTuple):
    job_id: str
    kind: str


@dataclass(slots=True)
class Letter:
    """One message for one receiver. `addresses` are those of mail."""

    message: Message
    addresses: tuple[str, ...] = ()
    tries: int = 0

    @property
    def alarm(self) -> Alarm:
        return Alarm(self.message.job_id, self.message.kind)


@dataclass(slots=True)
class Lane:
    """Letters in the order of their coming; a log group has none, its lines wait in the store."""

    receiver: Receiver
    letters: list[Letter] = field(default_factory=list)
    not_before_s: float = 0.0
    task: asyncio.Task[None] | None = None
    sending: Alarm | None = None  # what is being told right now

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()

    def next_letter(self) -> Letter | None:
        """Of those with the fewest tries the oldest."""
        return min(self.letters, key=lambda letter: letter.tries, default=None)

    def put(self, letter: Letter) -> None:
        """A letter about the same thing takes the place of its forerunner, which nobody has seen."""
        for known in self.letters:
            if (known.alarm, known.message.is_over) == (letter.alarm, letter.message.is_over):
                known.message, known.addresses = letter.message, letter.addresses
                return
        self.letters.append(letter)

    def holds(self, alarm: Alarm) -> bool:
        """The receiver has not been told of it yet."""
        return any(letter.alarm == alarm and not letter.message.is_over for letter in self.letters)

    def keep(self, wanted: Iterable[Alarm]) -> None:
        """Drop what has passed before it could be told."""
        kept = frozenset(wanted)
        self.letters[:] = [letter for letter in self.letters if letter.message.is_over or letter.alarm in kept]


class Lanes:
    """All lanes; they come and go with what there is to send."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lanes: dict[Receiver, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def lane(self, receiver: Receiver) -> Lane:
        return self._lanes.setdefault(receiver, Lane(receiver))

    def start(self, lane: Lane, work: Callable[[Lane], Awaitable[None]]) -> None:
        """Let the lane's task run `work`, unless it runs already or pauses."""
        if not lane.is_busy and self._clock.monotonic_s() >= lane.not_before_s:
            lane.task = asyncio.create_task(self._run(lane, work), name=f"lane {lane.receiver.kind}")

    def forget_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        for receiver, lane in list(self._lanes.items()):
            if not lane.letters and not lane.is_busy and now_s >= lane.not_before_s:
                del self._lanes[receiver]

    async def wait(self) -> None:
        """Until every lane has sent what it has, or pauses."""
        tasks = [lane.task for lane in self if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        await end_tasks(*(lane.task for lane in self if lane.task is not None))

    async def _run(self, lane: Lane, work: Callable[[Lane], Awaitable[None]]) -> None:
        what = " ".join(part for part in lane.receiver if part)
        try:
            await work(lane)
            return
        except NotDelivered as error:
            log.warning("not_delivered", what=what, error=error.message)
        except TowlineError as error:
            log.warning("duties_interrupted", what=what, error=error.code)
        except Exception as error:
            # I7: its text may hold what was to be sent.
            log.error("duties_defect", what=what, error=type(error).__name__)
        lane.not_before_s = self._clock.monotonic_s() + _RETRY_S
