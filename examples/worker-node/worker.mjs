// A remote worker for Playhead: takes `word-count` tasks from the bus, works, and answers.
//
// All it needs is a NATS client and the messages described in docs/remote-workers.md. A task stays ours for as long as
// we say that we are working on it; if this process dies, the server gives the task to another worker.

import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, createInbox } from "@nats-io/transport-node";

const TASK = "word-count";
const TENANT = process.env.PLAYHEAD_TENANT ?? "*";
const CONSUMER = process.env.CONSUMER_NAME ?? (TENANT === "*" ? `worker-${TASK}` : `worker-${TENANT}-${TASK}`);
const INBOX_PREFIX = process.env.PLAYHEAD_NATS_INBOX_PREFIX ?? "_INBOX";
const LEASE_SECONDS = Number(process.env.LEASE_SECONDS ?? 10);
const REPLY_SECONDS = 5;

const url = new URL(process.env.PLAYHEAD_NATS_URL ?? "nats://127.0.0.1:4222");
const nc = await connect({
  servers: url.host,
  user: decodeURIComponent(url.username) || undefined,
  pass: decodeURIComponent(url.password) || undefined,
  name: "word-count worker",
  inboxPrefix: INBOX_PREFIX,
  maxReconnectAttempts: -1,
});
const api = { checkAPI: false, apiPrefix: process.env.PLAYHEAD_JS_PREFIX ?? "$JS.API" };
const js = jetstream(nc, api);
const me = process.env.WORKER_NAME ?? `node-${process.pid}`;

async function consumer() {
  const jsm = await jetstreamManager(nc, api);
  // All workers for one type of task share this consumer; whoever comes first makes it.
  await jsm.consumers.add("PLAYHEAD_TASKS", {
    name: CONSUMER,
    durable_name: CONSUMER,
    filter_subject: `playhead.task.${TENANT}.${TASK}`,
    ack_policy: AckPolicy.Explicit,
    ack_wait: LEASE_SECONDS * 1e9,
  });
  return js.consumers.get("PLAYHEAD_TASKS", CONSUMER);
}

/** Counts the words of the page at `inputs.url`; tells of each hundred on the way. */
async function countWords(task, chunk) {
  const { url, fail } = task.inputs;
  if (fail) throw new TaskError("refused", `told to fail: ${fail}`, fail === "for now");
  const headers = { "idempotency-key": task.idempotency_key };
  // Where in which trace the task was given out (W3C Trace Context). A worker that makes spans puts its own span's here,
  // and into its result; one that makes none, like this one, passes on what came, and the trace stays one.
  if (task.traceparent) headers.traceparent = task.traceparent;
  const response = await fetch(url, { headers });
  if (!response.ok) throw new TaskError("page_unavailable", `${response.status}`, response.status >= 500);
  const words = (await response.text()).split(/\s+/).filter(Boolean);
  for (let counted = 100; counted < words.length; counted += 100) chunk({ counted });
  return { words: words.length, by: me };
}

class TaskError extends Error {
  constructor(type, message, retryable) {
    super(message);
    this.fact = { type, message, retryable };
  }
}

async function work(message) {
  const task = message.json();
  const lease = setInterval(() => message.working(), (LEASE_SECONDS * 1000) / 3);
  let index = 0;
  const chunk = (content) => {
    const { execution_id, path, attempt } = task;
    const body = { chunk: true, execution_id, path, attempt, index: index++, content };
    nc.publish(`playhead.chunk.${task.tenant}.${execution_id}`, JSON.stringify(body));
  };
  try {
    let result;
    try {
      result = { outputs: await countWords(task, chunk) };
    } catch (error) {
      result = { error: error.fact ?? { type: "worker_failed", message: String(error), retryable: true } };
    }
    const reply = await answer(task, result);
    console.log(JSON.stringify({ task_id: task.task_id, ...result, ...reply }));
    message.ack();
  } finally {
    clearInterval(lease);
  }
}

/** Sends a result until Playhead has said whether it counts. Saying the same twice does no harm. */
async function answer(task, result) {
  for (let tries = 1; ; tries++) {
    const inbox = createInbox(INBOX_PREFIX);
    const replies = nc.subscribe(inbox, { max: 1, timeout: REPLY_SECONDS * 1000 });
    const id = `result:${task.task_id}:${me}:${tries}`;
    const { tenant, execution_id, path, task_id, traceparent } = task;
    const whose = { tenant, execution_id, path, task_id, traceparent };
    const command = { type: "task_result", id, ...whose, worker: me, reply_to: inbox, ...result };
    await js.publish(`playhead.cmd.${tenant}.task_result`, JSON.stringify(command), { msgID: id });
    try {
      for await (const reply of replies) return reply.json();
    } catch {
      console.error(JSON.stringify({ task_id, waiting: "nobody has taken the result yet" }));
    }
  }
}

process.on("SIGTERM", () => nc.drain().then(() => process.exit(0)));

const tasks = await (await consumer()).consume({ max_messages: Number(process.env.AT_ONCE ?? 10) });
console.log(JSON.stringify({ ready: me }));
for await (const message of tasks) {
  work(message).catch((error) => {
    console.error(JSON.stringify({ error: String(error) }));
    message.nak(1000);
  });
}
