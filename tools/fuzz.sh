#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]] - run each fuzz target for so long; new inputs
# go to build/fuzz/corpus, a crash stops with the input's name and exit code 1.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
top=$PWD
mkdir -p build
if [ ! -f build/fuzz/build.ninja ]; then
    CC=clang meson setup build/fuzz -Dfuzz=true -Dwerror=false >build/fuzz-setup.log 2>&1 ||
        { cat build/fuzz-setup.log; exit 1; }
fi
ninja -C build/fuzz --quiet fuzz
failed=
for program in build/fuzz/tests/fuzz/*_fuzz; do
    name=$(basename "$program" _fuzz)
    [ $# -eq 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
    mkdir -p "build/fuzz/corpus/$name" "build/fuzz/found/$name"
    echo "== $name, $seconds s"
    "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$top/build/fuzz/found/$name/" \
        "build/fuzz/corpus/$name" "tests/fuzz/seeds/$name" >"build/fuzz/$name.log" 2>&1 ||
        { tail -n 40 "build/fuzz/$name.log"; failed="$failed $name"; }
    grep -E 'number_of_executed_units|cov:' "build/fuzz/$name.log" | tail -n 2
done
[ -z "$failed" ] || { echo "found something:$failed (build/fuzz/found)"; exit 1; }
