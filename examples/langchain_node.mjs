// Search a few texts with LangChain.js.
//
// npm install @langchain/openai @langchain/core
// node langchain_node.mjs

import { OpenAIEmbeddings } from "@langchain/openai";

const url = process.env.SEKISHO_URL ?? "http://127.0.0.1:8000";
const embeddings = new OpenAIEmbeddings({
  model: process.env.EMBEDDING_MODEL ?? "all-minilm-l6-v2",
  apiKey: process.env.SEKISHO_API_KEY ?? "unused",
  configuration: { baseURL: `${url}/v1` },
});

const documents = [
  "The checkpoint on the old highway closed at sunset.",
  "Embeddings place similar texts close to each other.",
  "Bread needs flour, water, salt and time.",
  "A sourdough loaf is baked in a hot oven.",
];

// Any vector store of LangChain.js takes `embeddings` as it is and calls these two itself.
const vectors = await embeddings.embedDocuments(documents);
const asked = await embeddings.embedQuery("How do I bake a loaf?");

// The vectors have length one, so their dot product is their cosine.
const dot = (vector) => vector.reduce((sum, number, at) => sum + number * asked[at], 0);
vectors
  .map((vector, row) => [dot(vector), documents[row]])
  .sort(([one], [other]) => other - one)
  .slice(0, 2)
  .forEach(([score, document]) => console.log(`${score.toFixed(4)}  ${document}`));
