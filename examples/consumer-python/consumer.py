"""A durable consumer of Playhead's events: it builds a small read model of its own, and keeps it right.

All it needs is a NATS client, HTTP, and what docs/consumers.md says. Four rules do it:

1. The place (the position of the last event that was applied), the ids of events, and the read model are one SQLite
   database, changed in one transaction. Whatever ends this process, the three agree.
2. An event at or before the place, or with an id that was applied, was seen before: it is skipped. So redelivery, a
   relay that publishes again, and a stream that was made anew do no harm.
3. Each message names the position of the event before it (`playhead-previous`). If that is after our place, something
   is missing: the bus has dropped it, or will give it later. It is fetched from the log over HTTP first.
4. When the bus is quiet or away, the log is asked whether there is more.

`python consumer.py` runs it; `python consumer.py --show` prints the read model.
"""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

import asyncio
import gzip
import json
import os
import sqlite3
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

STREAM = "PLAYHEAD_EVENTS"
TENANT = os.environ.get("PLAYHEAD_TENANT", "default")
NAME = os.environ.get("CONSUMER_NAME", f"consumer-{TENANT}")
DATABASE = os.environ.get("CONSUMER_DB", "consumer.db")
INBOX_PREFIX = os.environ.get("PLAYHEAD_NATS_INBOX_PREFIX", "_INBOX")
API_PREFIX = os.environ.get("PLAYHEAD_JS_PREFIX", "$JS.API")
QUIET_SECONDS = float(os.environ.get("QUIET_SECONDS", "5"))
AT_ONCE = 500
IDS_KEPT = 10_000

STATUS = {
    "execution.created": "created",
    "execution.started": "running",
    "execution.resumed": "running",
    "execution.recovered": "running",
    "execution.paused": "paused",
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
    "execution.timed_out": "timed_out",
    "execution.dead_lettered": "dead_lettered",
}
CLOSING = ("pause.resolved", "pause.expired")


@dataclass(frozen=True)
class Event:
    """What the read model needs of an event, wherever it came from."""

    position: int
    id: str
    type: str
    stream: str
    data: dict[str, Any]

    @classmethod
    def from_line(cls, line: bytes) -> "Event":
        """A line of `GET /v1/log`."""
        found = json.loads(line)
        return cls(found["position"], found["id"], found["type"], found["stream_id"], found["data"])


@dataclass(frozen=True)
class Copy:
    """A message of the bus. `event` is None when the bus could not carry it: then the log has it."""

    position: int
    previous: int | None
    event: Event | None

    @classmethod
    def from_message(cls, message: Msg) -> "Copy | None":
        """None for a message that is no copy of an event."""
        headers = {name.lower(): value for name, value in (message.headers or {}).items()}
        if "playhead-position" not in headers:
            return None
        position = int(headers["playhead-position"])
        previous = headers.get("playhead-previous")
        event = None
        if "playhead-dataref" not in headers:
            # An event that somebody published, or sent in, is their own CloudEvent: this names the one in the log.
            own = headers.get("playhead-event")
            event = Event(
                position,
                urllib.parse.unquote(own or headers["ce-id"]),
                headers["ce-type"] if own else headers["ce-type"].removeprefix("dev.playhead."),
                urllib.parse.unquote(headers["playhead-stream"]),
                {} if own else json.loads(message.data),
            )
        return cls(position, None if previous is None else int(previous), event)


class ReadModel:
    """Executions by workflow and status, the pauses that wait for people, and how many events there were."""

    def __init__(self, path: str):
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript("""
            create table if not exists place (position integer not null, events integer not null);
            insert into place select 0, 0 where not exists (select 1 from place);
            create table if not exists applied (id text primary key, position integer not null);
            create table if not exists executions (id text primary key, workflow text not null, status text not null);
            create table if not exists pauses (id text primary key, execution text not null);
        """)
        self.place: int = self._db.execute("select position from place").fetchone()[0]

    def apply(self, events: Sequence[Event]) -> int:
        """Take in events, in one transaction; gives how many were new."""
        new = 0
        place = self.place
        self._db.execute("begin immediate")
        try:
            for event in events:
                if event.position <= place or not self._is_new(event):
                    continue
                self._take_in(event)
                place = event.position
                new += 1
            if new:
                self._db.execute("update place set position = ?, events = events + ?", (place, new))
                self._db.execute("delete from applied where position <= ?", (place - IDS_KEPT,))
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            raise
        self.place = place
        return new

    def shown(self) -> dict[str, Any]:
        """The read model as JSON."""
        by_status = self._db.execute("select workflow, status, count(*) from executions group by 1, 2 order by 1, 2")
        workflows: dict[str, dict[str, int]] = {}
        for workflow, status, count in by_status:
            workflows.setdefault(workflow, {})[status] = count
        pauses = [row[0] for row in self._db.execute("select id from pauses order by id")]
        [events] = self._db.execute("select events from place").fetchone()
        return {"position": self.place, "events": events, "workflows": workflows, "open_pauses": pauses}

    def _is_new(self, event: Event) -> bool:
        done = self._db.execute("insert into applied values (?, ?) on conflict do nothing", (event.id, event.position))
        return done.rowcount == 1

    def _take_in(self, event: Event) -> None:
        execution = event.stream.removeprefix("execution:")
        if event.type == "execution.created":
            self._db.execute("insert into executions values (?, ?, 'created')", (execution, event.data["workflow_id"]))
        elif event.type in STATUS:
            self._db.execute("update executions set status = ? where id = ?", (STATUS[event.type], execution))
        elif event.type == "pause.requested":
            self._db.execute("insert into pauses values (?, ?)", (event.data["pause_id"], execution))
        elif event.type in CLOSING:
            self._db.execute("delete from pauses where id = ?", (event.data["pause_id"],))


class Log:
    """The log over HTTP, for what the bus does not have."""

    def __init__(self, url: str, key: str | None):
        self._url = url
        self._headers = {"accept": "application/x-ndjson", "accept-encoding": "gzip"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def catch_up(self, model: ReadModel, until: int | None = None) -> int:
        """Apply what the log has after our place, up to `until` or to its end; gives how many were new."""
        new = 0
        request = urllib.request.Request(f"{self._url}?after={model.place}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            packed = response.headers.get("content-encoding") == "gzip"
            lines: Iterator[bytes] = iter(gzip.GzipFile(fileobj=response) if packed else response)
            while (until is None or model.place < until) and (batch := list(islice(lines, AT_ONCE))):
                new += model.apply([Event.from_line(line) for line in batch])
        return new


async def consume(nc: Client, model: ReadModel) -> None:
    """Follow the bus until something breaks; the place stays right."""
    js = nc.jetstream(prefix=API_PREFIX)
    log = Log(await log_url(js), os.environ.get("PLAYHEAD_API_KEY"))
    await js.add_consumer(
        STREAM,
        ConsumerConfig(
            name=NAME,
            durable_name=NAME,
            filter_subject=f"playhead.evt.{TENANT}.>",
            ack_policy=AckPolicy.ALL,  # one ack stands for all before it
            ack_wait=10,
        ),
    )
    inbox = f"{INBOX_PREFIX}.".encode()
    messages = await js.pull_subscribe_bind(durable=NAME, stream=STREAM, inbox_prefix=inbox)
    say("following", position=model.place)
    while True:
        try:
            batch = await messages.fetch(AT_ONCE, timeout=QUIET_SECONDS)
        except TimeoutError:
            batch = []
        if not batch:
            if new := await asyncio.to_thread(log.catch_up, model):
                say("the log had more than the bus", events=new, position=model.place)
            await messages.consumer_info()  # raises if the consumer is not there any more
            continue
        await take(batch, model, log)
        # Only now: what is acked is applied.
        await batch[-1].ack()


async def take(batch: Sequence[Msg], model: ReadModel, log: Log) -> None:
    """Apply a batch of messages, and what is missing between them."""
    ready: list[Event] = []
    place = model.place
    for copy in map(Copy.from_message, batch):
        if copy is None or copy.position <= place:
            continue
        if copy.event is None or copy.previous is None or copy.previous > place:
            model.apply(ready)
            ready = []
            until = copy.position if copy.event is None or copy.previous is None else copy.previous
            new = await asyncio.to_thread(log.catch_up, model, until)
            say("fetched what the bus did not have", after=place, events=new, position=model.place)
            place = model.place
            if copy.event is None or copy.position <= place:
                continue
        ready.append(copy.event)
        place = copy.position
    model.apply(ready)


async def log_url(js: JetStreamContext) -> str:
    """Where the log is: as we were told, or as the stream says."""
    if url := os.environ.get("PLAYHEAD_URL"):
        return f"{url.rstrip('/')}/v1/log"
    told = ((await js.stream_info(STREAM)).config.metadata or {}).get("playhead-log", "")
    if not told.startswith("http"):
        sys.exit("set PLAYHEAD_URL: the stream does not say how the gateway is reached")
    return told


def say(what: str, **facts: object) -> None:
    print(json.dumps({"said": what, **facts}), flush=True)


async def main() -> None:
    """Consume, for ever; when the bus is away or was wiped, begin again from our place."""
    model = ReadModel(DATABASE)
    nc = await nats.connect(
        os.environ.get("PLAYHEAD_NATS_URL", "nats://127.0.0.1:4222"),
        name=NAME,
        inbox_prefix=INBOX_PREFIX,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,
    )
    while True:
        try:
            await consume(nc, model)
        except (NatsError, OSError) as error:  # HTTP's errors and timeouts are OSErrors
            say("again soon", because=f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    if "--show" in sys.argv:
        print(json.dumps(ReadModel(DATABASE).shown()))
    else:
        asyncio.run(main())
