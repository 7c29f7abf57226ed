// Search a few texts with the openai package on Node.
//
// npm install openai
// node openai_node.mjs

import OpenAI from "openai";

// Sekisho speaks OpenAI's API: only the base URL changes. Without keys on the server, any key will do.
const url = process.env.SEKISHO_URL ?? "http://127.0.0.1:8000";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.SEKISHO_API_KEY ?? "unused" });
const model = process.env.EMBEDDING_MODEL ?? "all-minilm-l6-v2";

const documents = [
  "The checkpoint on the old highway closed at sunset.",
  "Embeddings place similar texts close to each other.",
  "Bread needs flour, water, salt and time.",
  "A sourdough loaf is baked in a hot oven.",
];
const question = "How do I bake a loaf?";

// Any number of texts fits into one request, and the vectors come in the order of the texts.
// A model with prompts would be told more: { model, input: documents, input_type: "document" }.
const answer = await client.embeddings.create({ model, input: documents });
const vectors = answer.data.map((item) => item.embedding);
console.log(`${vectors.length} vectors of ${vectors[0].length} dimensions, ${answer.usage.prompt_tokens} tokens`);

// The vectors have length one, so their dot product is their cosine.
const asked = (await client.embeddings.create({ model, input: question })).data[0].embedding;
const dot = (vector) => vector.reduce((sum, number, at) => sum + number * asked[at], 0);
vectors
  .map((vector, row) => [dot(vector), documents[row]])
  .sort(([one], [other]) => other - one)
  .slice(0, 2)
  .forEach(([score, document]) => console.log(`${score.toFixed(4)}  ${document}`));
