#!/bin/sh
# options.sh - configure and build every combination of two build options.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build
for tests in true false; do
    for sanitize in none address,undefined thread; do
        dir=build/options
        rm -rf "$dir"
        echo "== tests=$tests sanitize=$sanitize"
        meson setup "$dir" -Dtests=$tests -Db_sanitize=$sanitize -Db_pie=true >build/options.log 2>&1 ||
            { cat build/options.log; exit 1; }
        ninja -C "$dir" --quiet
    done
done
rm -rf build/options
