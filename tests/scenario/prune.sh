#!/bin/sh
# Pruning again and again takes nothing away from builds, imports and guests beside it.
# rows: OPS-11
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

tar -C "$WORK" -xf "$WORK/.busybox.tar" --one-top-level=tree
prunes() {
    while [ ! -e "$WORK/stop" ]; do
        strata image prune --cache >"$WORK/prune.out" 2>&1 && echo x >>"$WORK/pruned" && continue
        grep -q "in use" "$WORK/prune.out" || cp "$WORK/prune.out" "$WORK/prune.failed"
    done
}
builds() {
    mkdir "$WORK/context$1"
    for i in 1 2 3; do
        printf 'FROM busybox\nRUN echo %s-%s >/made\nRUN cat /made >/again\n' "$1" "$i" >"$WORK/context$1/Containerfile"
        strata image build --quiet --tag "built$1:$i" "$WORK/context$1" >/dev/null || touch "$WORK/failed-build"
        [ "$(strata run --rm "built$1:$i" cat /again)" = "$1-$i" ] || touch "$WORK/failed-run"
    done
}
imports() {
    for i in 1 2 3; do
        echo "$i" >"$WORK/tree/number"
        strata image import "$WORK/tree" "imported:$i" >/dev/null || touch "$WORK/failed-import"
        [ "$(strata run --rm "imported:$i" cat /number)" = "$i" ] || touch "$WORK/failed-run"
    done
}
strata run -d --name held busybox sleep 1000 >/dev/null
prunes &
pruner=$!
builds a &
a=$!
builds b &
b=$!
imports
wait $a $b
touch "$WORK/stop"
wait $pruner
for bad in prune.failed failed-build failed-import failed-run; do
    [ ! -e "$WORK/$bad" ] || fail "$bad: $(cat "$WORK/$bad")"
done
[ -s "$WORK/pruned" ] || fail "nothing was pruned meanwhile"
strata image verify >/dev/null
is "all are there" "$(strata image list --quiet | wc -l)" 10
is "a guest keeps its image" "$(strata exec held echo here)" here
for name in a:1 b:3; do
    is "built$name" "$(strata run --rm "built$name" cat /made)" "$(echo $name | tr : -)"
done
