#!/usr/bin/env bash
# Sekisho from the command line: examples/curl.sh
set -euo pipefail

url=${SEKISHO_URL:-http://127.0.0.1:8000}
# Without keys on the server the header is ignored.
call() {
  curl -sS --max-time 60 -H 'content-type: application/json' \
    -H "authorization: Bearer ${SEKISHO_API_KEY:-unused}" "$@"
  echo
}

# Is it there?
call "$url/healthz"

# One text, or a list of them; left out, `model` is the server's default.
call "$url/v1/embeddings" -d '{"model": "all-minilm-l6-v2", "input": ["hello world", "こんにちは"]}'

# Which of these texts answers the question? Name a reranker of your registry; an embedding model ranks by cosine.
call "$url/v1/rerank" -d '{
  "model": "all-minilm-l6-v2",
  "query": "How do I bake a loaf?",
  "documents": ["The checkpoint closed at sunset.", "Bread needs flour, water, salt and time."]
}'

# The models of this server.
call "$url/v1/models"

# What an error looks like: it says what to do.
call "$url/v1/embeddings" -d '{"model": "all-minilm", "input": "hello"}'
