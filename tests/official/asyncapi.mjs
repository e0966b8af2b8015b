// Says what the official parser finds in the AsyncAPI document on standard input.
import { text } from "node:stream/consumers";

import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
const said = {
  problems: diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path: path.join("/"), message })),
  version: document?.version(),
  addresses: document?.channels().all().map((channel) => channel.address()),
  operations: document?.operations().all().map((operation) => [operation.action(), operation.id()]),
};
console.log(JSON.stringify(said));
