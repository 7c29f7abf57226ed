#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
./run.sh [OPTION…]   sets Sekisho up in .venv the first time, then serves.

Every OPTION goes to `sekisho serve`; its own list: .venv/bin/sekisho serve --help

Environment:
  HOST               address to listen on (127.0.0.1)
  PORT, APP_PORT     port to listen on (8000)
  SEKISHO_MODELS     registry file (./models.yaml, else the one that is shipped)
  SEKISHO_HOME       where prepared models are kept (downloads: HF_HOME)
  SEKISHO_LOG_LEVEL  debug, info, warning or error (info)

Needs Python 3.11 or later (on Debian and Ubuntu with python3-venv), and a package index the first time.
TEXT
}

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1-} in
  -h | --help)
    usage
    exit
    ;;
  docker)
    echo './run.sh docker is reserved for a coming release; ./run.sh serves from .venv.' >&2
    exit 2
    ;;
esac

"$root/scripts/setup" --runtime
exec "$root/.venv/bin/sekisho" serve "$@"
