// Says whether the OpenAPI document on standard input is one, by the official schema.
import { text } from "node:stream/consumers";

import { Validator } from "@seriousme/openapi-schema-validator";

const validator = new Validator();
const { valid, errors } = await validator.validate(JSON.parse(await text(process.stdin)));
console.log(JSON.stringify({ valid, errors, version: validator.version }));
