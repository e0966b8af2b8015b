// Reads messages of HTTP with the official SDK, one JSON object {headers, body} a line, and says of each what event it
// is and what the SDK makes of it in both modes.
import { createInterface } from "node:readline";

import { HTTP } from "cloudevents";

for await (const line of createInterface({ input: process.stdin })) {
  const event = HTTP.toEvent(JSON.parse(line));
  event.validate();
  const said = { event: event.toJSON(), binary: HTTP.binary(event), structured: HTTP.structured(event) };
  console.log(JSON.stringify(said));
}
