// A durable consumer of Playhead's events: it builds a small read model of its own, and keeps it right.
//
// All it needs is a NATS client, HTTP, and what docs/consumers.md says. Four rules do it:
//
// 1. The place (the position of the last event that was applied), the ids of events, and the read model are one SQLite
//    database, changed in one transaction. Whatever ends this process, the three agree.
// 2. An event at or before the place, or with an id that was applied, was seen before: it is skipped. So redelivery, a
//    relay that publishes again, and a stream that was made anew do no harm.
// 3. Each message names the position of the event before it (`playhead-previous`). If that is after our place, something
//    is missing: the bus has dropped it, or will give it later. It is fetched from the log over HTTP first.
// 4. When the bus is quiet or away, the log is asked whether there is more.
//
// `node consumer.mjs` runs it; `node consumer.mjs --show` prints the read model.

import { DatabaseSync } from "node:sqlite";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const STREAM = "PLAYHEAD_EVENTS";
const TENANT = process.env.PLAYHEAD_TENANT ?? "default";
const NAME = process.env.CONSUMER_NAME ?? `consumer-${TENANT}`;
const QUIET_SECONDS = Number(process.env.QUIET_SECONDS ?? 5);
const AT_ONCE = 500;
const IDS_KEPT = 10_000;

const STATUS = {
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
};

/** Executions by workflow and status, the pauses that wait for people, and how many events there were. */
class ReadModel {
  constructor(path) {
    this.db = new DatabaseSync(path);
    this.db.exec(`
      pragma journal_mode = wal;
      create table if not exists place (position integer not null, events integer not null);
      insert into place select 0, 0 where not exists (select 1 from place);
      create table if not exists applied (id text primary key, position integer not null);
      create table if not exists executions (id text primary key, workflow text not null, status text not null);
      create table if not exists pauses (id text primary key, execution text not null);
    `);
    this.place = this.db.prepare("select position from place").get().position;
    const sql = (text) => this.db.prepare(text);
    this.sql = {
      note: sql("insert into applied values (?, ?) on conflict do nothing"),
      move: sql("update place set position = ?, events = events + ?"),
      forget: sql("delete from applied where position <= ?"),
      create: sql("insert into executions values (?, ?, 'created')"),
      status: sql("update executions set status = ? where id = ?"),
      ask: sql("insert into pauses values (?, ?)"),
      close: sql("delete from pauses where id = ?"),
    };
  }

  /** Takes in events, in one transaction; gives how many were new. */
  apply(events) {
    let [fresh, place] = [0, this.place];
    this.db.exec("begin immediate");
    try {
      for (const event of events) {
        if (event.position <= place || this.sql.note.run(event.id, event.position).changes === 0) continue;
        this.takeIn(event);
        place = event.position;
        fresh += 1;
      }
      this.sql.move.run(place, fresh);
      this.sql.forget.run(place - IDS_KEPT);
      this.db.exec("commit");
    } catch (error) {
      this.db.exec("rollback");
      throw error;
    }
    this.place = place;
    return fresh;
  }

  takeIn({ type, stream, data }) {
    const execution = stream.replace(/^execution:/, "");
    if (type === "execution.created") this.sql.create.run(execution, data.workflow_id);
    else if (type in STATUS) this.sql.status.run(STATUS[type], execution);
    else if (type === "pause.requested") this.sql.ask.run(data.pause_id, execution);
    else if (type === "pause.resolved" || type === "pause.expired") this.sql.close.run(data.pause_id);
  }

  shown() {
    const workflows = {};
    const rows = this.db.prepare("select workflow, status, count(*) as n from executions group by 1, 2 order by 1, 2");
    for (const { workflow, status, n } of rows.all()) (workflows[workflow] ??= {})[status] = n;
    const pauses = this.db.prepare("select id from pauses order by id").all();
    const { events } = this.db.prepare("select events from place").get();
    return { position: this.place, events, workflows, open_pauses: pauses.map((pause) => pause.id) };
  }
}

/** What a message says; null for one that is no copy of an event. */
function read(message) {
  const header = (name) => message.headers?.get(name) || undefined;
  if (!header("playhead-position")) return null;
  const position = Number(header("playhead-position"));
  const previous = header("playhead-previous") === undefined ? undefined : Number(header("playhead-previous"));
  // One that the bus could not carry is in the log.
  if (header("playhead-dataref")) return { position, previous };
  // An event that somebody published, or sent in, is their own CloudEvent: this names the one in the log.
  const own = header("playhead-event");
  const event = {
    position,
    id: decodeURIComponent(own ?? header("ce-id")),
    type: own ? header("ce-type") : header("ce-type").replace(/^dev\.playhead\./, ""),
    stream: decodeURIComponent(header("playhead-stream")),
    data: own ? {} : message.json(),
  };
  return { position, previous, event };
}

/** Applies what the log has after our place, up to a position or to its end; gives how many events were new. */
async function catchUp(model, url, until = Infinity) {
  const headers = { accept: "application/x-ndjson" };
  if (process.env.PLAYHEAD_API_KEY) headers.authorization = `Bearer ${process.env.PLAYHEAD_API_KEY}`;
  const stop = new AbortController();
  const response = await fetch(`${url}?after=${model.place}`, { headers, signal: stop.signal });
  if (!response.ok) throw new Error(`the log answers ${response.status}`);
  let [fresh, events, rest] = [0, [], ""];
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const { position, id, type, stream_id: stream, data } = JSON.parse(line);
      events.push({ position, id, type, stream, data });
    }
    if (events.length >= AT_ONCE) fresh += model.apply(events.splice(0));
    if (model.place >= until) {
      stop.abort();
      return fresh;
    }
  }
  return fresh + model.apply(events);
}

/** Applies a batch of messages, and what is missing between them. */
async function take(batch, model, url) {
  const ready = [];
  let place = model.place;
  for (const copy of batch.map(read)) {
    if (!copy || copy.position <= place) continue;
    if (!copy.event || copy.previous === undefined || copy.previous > place) {
      model.apply(ready.splice(0));
      const until = copy.event ? (copy.previous ?? copy.position) : copy.position;
      const events = await catchUp(model, url, until);
      say("fetched what the bus did not have", { after: place, events, position: model.place });
      place = model.place;
      if (!copy.event || copy.position <= place) continue;
    }
    ready.push(copy.event);
    place = copy.position;
  }
  model.apply(ready);
}

/** Follows the bus until something breaks; the place stays right. */
async function consume(nc, model) {
  const api = { checkAPI: false, apiPrefix: process.env.PLAYHEAD_JS_PREFIX ?? "$JS.API" };
  const jsm = await jetstreamManager(nc, api);
  const url = await logUrl(jsm);
  await jsm.consumers.add(STREAM, {
    name: NAME,
    durable_name: NAME,
    filter_subject: `playhead.evt.${TENANT}.>`,
    ack_policy: AckPolicy.All, // one ack stands for all before it
    ack_wait: 10e9,
  });
  const consumer = await jetstream(nc, api).consumers.get(STREAM, NAME);
  say("following", { position: model.place });
  for (;;) {
    const batch = [];
    const messages = await consumer.fetch({ max_messages: AT_ONCE, expires: QUIET_SECONDS * 1000 });
    for await (const message of messages) {
      batch.push(message);
      // What is there is enough: the rest of a batch may be long in coming.
      if (message.info.pending === 0) break;
    }
    if (batch.length > 0) {
      await take(batch, model, url);
      batch.at(-1).ack(); // only now: what is acked is applied
      continue;
    }
    const events = await catchUp(model, url);
    if (events) say("the log had more than the bus", { events, position: model.place });
    await consumer.info(); // fails if the consumer is not there any more
  }
}

/** Where the log is: as we were told, or as the stream says. */
async function logUrl(jsm) {
  if (process.env.PLAYHEAD_URL) return `${process.env.PLAYHEAD_URL.replace(/\/$/, "")}/v1/log`;
  const told = (await jsm.streams.info(STREAM)).config.metadata?.["playhead-log"] ?? "";
  if (!told.startsWith("http")) {
    console.error("set PLAYHEAD_URL: the stream does not say how the gateway is reached");
    process.exit(1);
  }
  return told;
}

function say(what, facts) {
  console.log(JSON.stringify({ said: what, ...facts }));
}

const model = new ReadModel(process.env.CONSUMER_DB ?? "consumer.db");
if (process.argv.includes("--show")) {
  console.log(JSON.stringify(model.shown()));
  process.exit(0);
}
const server = new URL(process.env.PLAYHEAD_NATS_URL ?? "nats://127.0.0.1:4222");
const nc = await connect({
  servers: server.host,
  user: decodeURIComponent(server.username) || undefined,
  pass: decodeURIComponent(server.password) || undefined,
  name: NAME,
  inboxPrefix: process.env.PLAYHEAD_NATS_INBOX_PREFIX ?? "_INBOX",
  maxReconnectAttempts: -1,
  reconnectTimeWait: 500,
});
for (;;) {
  try {
    await consume(nc, model);
  } catch (error) {
    say("again soon", { because: String(error) });
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
