#!/usr/bin/env bash
# Runs the default recipe with the release binary and checks what it is held to: see experiments/README.md.
# usage: experiments/default.sh [DIRECTORY OF RUNS] [FLAGS OF taper adapt]...
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
manifest="$here/../Cargo.toml"
runs=${1:-runs}
shift || true

cargo build --release --bin taper --manifest-path "$manifest"
begun=$(date +%s)
summary=$(cargo run --quiet --release --bin taper --manifest-path "$manifest" -- adapt --json --runs "$runs" "$@")
seconds=$(($(date +%s) - begun))
printf '%s\n' "$summary" | tail -n 1 | python3 "$here/check_default.py" "$seconds"
