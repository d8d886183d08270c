#!/usr/bin/env bash
# Makes golden/vgg16-mnist-int8.tflite again with the default recipe and compares; with --replace, puts it in its place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

golden=golden/vgg16-mnist-int8.tflite
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cargo run --release --bin taper -- adapt --runs "$scratch" --set name=golden
made="$scratch/golden/model.tflite"

case "${1-}" in
--replace) cp "$made" "$golden" ;;
"")
    if ! cmp "$made" "$golden"; then
        printf '%s differs from what the default recipe makes here; to replace it: golden/make.sh --replace\n' "$golden" >&2
        exit 1
    fi
    printf '%s is what the default recipe makes\n' "$golden"
    ;;
*)
    printf 'usage: golden/make.sh [--replace]\n' >&2
    exit 2
    ;;
esac
