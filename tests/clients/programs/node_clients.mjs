// The openai npm package and LangChain.js. Reads its task from stdin and prints what it got, as reporting.py does.

import { OpenAIEmbeddings } from "@langchain/openai";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const given = JSON.parse(readFileSync(0, "utf-8"));
const { SEKISHO_URL, KEYED_URL, TINY_URL, TINY_QUEUE, KEY } = process.env;
const MODEL = "all-minilm-l6-v2";
const STRICT = "minilm-strict";

const client = (url = SEKISHO_URL, apiKey = "unused", more = {}) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, ...more });
const langchain = (more = {}, url = SEKISHO_URL, apiKey = "unused") =>
  new OpenAIEmbeddings({ model: MODEL, apiKey, maxRetries: 0, configuration: { baseURL: `${url}/v1` }, ...more });

function pack(vectors) {
  const flat = Float32Array.from(vectors.flat());
  return { rows: vectors.length, float32: Buffer.from(flat.buffer).toString("base64") };
}

function told(answer) {
  return {
    vectors: pack(answer.data.map((one) => one.embedding)),
    indices: answer.data.map((one) => one.index),
    tokens: answer.usage.prompt_tokens,
  };
}

const create = async (input, more = {}, by = client()) =>
  told(await by.embeddings.create({ input, model: MODEL, ...more }));

async function seen(step) {
  try {
    return { type: null, text: JSON.stringify(await step()).slice(0, 200) };
  } catch (error) {
    return { type: error.constructor.name, text: error.message };
  }
}

// What `step` gives while more tokens wait in the small server's queue than it takes.
async function whileFull(step) {
  const stop = new AbortController();
  const input = Array.from({ length: 120 }, (_, number) => `${number} ${"word ".repeat(250)}`);
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ input });
  const large = fetch(`${TINY_URL}/v1/embeddings`, { method: "POST", headers, body, signal: stop.signal });
  large.catch(() => {});
  for (const patience = Date.now() + 30_000; (await waiting()) <= Number(TINY_QUEUE); ) {
    if (Date.now() > patience) throw new Error("waited in vain for the queue");
  }
  try {
    return await step();
  } finally {
    stop.abort();
  }
}

async function waiting() {
  const metrics = await (await fetch(`${TINY_URL}/metrics`)).text();
  const lines = metrics.split("\n").filter((line) => line.startsWith("sekisho_queue_tokens{"));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

// What can go wrong, as in reporting.py.
function failures(of, use) {
  const usual = { url: SEKISHO_URL, key: "unused", model: MODEL, texts: ["hello", "goodbye"], strict: false };
  const wrong = {
    "unknown model": { model: "no-such-model" },
    "empty input": { texts: [] },
    "too long": { texts: ["word ".repeat(300)], strict: true },
    "missing key": { url: KEYED_URL, key: "none" },
    overload: { url: TINY_URL },
  };
  const steps = Object.entries(wrong).map(([name, call]) => {
    const attempt = () => seen(() => use({ ...usual, ...call }));
    return [`${of}: error: ${name}`, name === "overload" ? () => whileFull(attempt) : attempt];
  });
  return Object.fromEntries(steps);
}

const steps = {
  texts: () => create(given.texts),
  string: () => create(given.few[0]),
  float: () => create(given.texts, { encoding_format: "float" }),
  "nested token ids": () => create(given.token_ids),
  dimensions: () => create(given.few, { model: "minilm-cut", dimensions: 128 }),
  query: () => create(given.few, { model: "minilm-prompts", input_type: "query" }),
  keyed: () => create(given.few, {}, client(KEYED_URL, KEY)),
  models: async () => (await client().models.list()).data.map((model) => model.id),
  documents: async () => ({ vectors: pack(await langchain().embedDocuments(given.texts)) }),
  queries: async () => ({ vectors: pack(await Promise.all(given.few.map((text) => langchain().embedQuery(text)))) }),
  "langchain dimensions": async () => ({
    vectors: pack(await langchain({ model: "minilm-cut", dimensions: 128 }).embedDocuments(given.few)),
  }),
  "langchain keyed": async () => ({ vectors: pack(await langchain({}, KEYED_URL, KEY).embedDocuments(given.few)) }),
  ...failures("openai", ({ url, key, model, texts, strict }) =>
    client(url, key).embeddings.create({ input: texts, model, ...(strict ? { truncate: false } : {}) }),
  ),
  ...failures("OpenAIEmbeddings", ({ url, key, model, texts, strict }) =>
    langchain({ model: strict ? STRICT : model }, url, key).embedDocuments(texts),
  ),
};

const results = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    results[name] = { value: await step() };
  } catch (error) {
    results[name] = { raised: String(error.stack) };
  }
}
process.stdout.write(JSON.stringify(results));
