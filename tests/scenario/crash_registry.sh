#!/bin/sh
# kill -9 at steps all through pulling an image from a registry and pushing one there: the
# same command goes on, both stores are whole, nothing is left over.
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd docker-registry curl skopeo
need_busybox
grep -qa 'STRATA_FAULT' "$STRATA" || skip "needs a build with fault steps"
STEPS_MOST=3000

at=127.0.0.1:$((20000 + $$ % 20000))
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' \
    "$WORK/registry" "$at" >"$WORK/registry.yml"
docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
server=$!
on_exit() { kill $server 2>/dev/null || :; wait $server 2>/dev/null || :; }
within 10 curl -so "$WORK/answer" "http://$at/v2/"
strata image push --quiet --plain-http busybox "$at/box:1" >/dev/null

stored() {
    strata image prune --cache >/dev/null || fail "$1: prune"
    strata image list --quiet | sort
    find "$STATE/images" "$STATE/layers" -mindepth 1 -maxdepth 3 \
        ! -path '*/fs/*' ! -name '*.lock' ! -name boot ! -name index.json | sort
}
# sweep NAME PREPARE CHECK COMMAND... - from a state of its own each time
sweep() {
    what=$1 prepare=$2 check=$3
    shift 3
    n=1
    while [ $n -le $STEPS_MOST ]; do
        $prepare
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" "$@" >"$WORK/out" 2>&1 </dev/null || code=$?
        strata image verify >"$WORK/out" 2>&1 || fail "$what, step $n: verify: $(cat "$WORK/out")"
        strata "$@" >"$WORK/out" 2>&1 || fail "$what, step $n: again: $(cat "$WORK/out")"
        $check "$what, step $n"
        [ $code != 0 ] || break
        n=$((n + 1 + n / 8)) # each piece of a blob is a step: the later ones are alike
    done
    [ $n -gt 1 ] || fail "$what: no step was there to die at"
    [ $n -le $STEPS_MOST ] || fail "$what: more than $STEPS_MOST steps"
}
empty() {
    for name in $(strata image list --quiet); do
        strata image delete "$name" >/dev/null
    done
    strata image prune --cache >/dev/null
}
pulled() {
    is "$1: it runs" "$(strata run --rm --network none "$at/box:1" echo yes)" yes
    stored "$1" >"$WORK/now"
    cmp -s "$WORK/before" "$WORK/now" || fail "$1 left: $(diff "$WORK/before" "$WORK/now")"
}
empty
strata image pull --quiet --plain-http "$at/box:1" >/dev/null
is "it runs" "$(strata run --rm --network none "$at/box:1" echo yes)" yes
stored before >"$WORK/before"
sweep pull empty pulled image pull --quiet --plain-http "$at/box:1"

# The same way back.  What is here stays as it was; a name there leads to all of the image.
TOOL=$(dirname "$STRATA")/image
whole() { # WHAT REPOSITORY
    is "$1: its manifest" "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$at/$2:1")" "$want"
    for blob in $(skopeo inspect --raw --tls-verify=false "docker://$at/$2:1" | grep -o 'sha256:[0-9a-f]*'); do
        is "$1: $blob" "$(curl -sIo "$WORK/answer" -w '%{http_code}' "http://$at/v2/$2/blobs/$blob")" 200
    done
}
whole_or_none() {
    case $(curl -so "$WORK/answer" -w '%{http_code}' -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
        "http://$at/v2/$2/manifests/1") in
    200) whole "$@" ;;
    404) ;;
    *) fail "$1: $(cat "$WORK/answer")" ;;
    esac
}
by_name() { "$STRATA" --state "$STATE" image push --quiet --plain-http "$1" "$2"; }
in_pieces() {
    printf '{"state": "%s", "image": "%s", "ref": "%s", "chunk_bytes": 300000}' "$STATE" "$1" "$2" | "$TOOL" push
}
# sweep_push NAME HOW IMAGE - to a repository of its own each time
sweep_push() {
    n=1
    while [ $n -le $STEPS_MOST ]; do
        code=0
        (export STRATA_FAULT=kill:$n && "$2" "$3" "$at/$1$n:1") >"$WORK/out" 2>&1 || code=$?
        whole_or_none "$1, step $n" "$1$n"
        strata image verify >"$WORK/out" 2>&1 || fail "$1, step $n: verify: $(cat "$WORK/out")"
        "$2" "$3" "$at/$1$n:1" >"$WORK/out" 2>&1 || fail "$1, step $n: again: $(cat "$WORK/out")"
        whole "$1, step $n" "$1$n"
        stored "$1, step $n" >"$WORK/now"
        cmp -s "$WORK/before" "$WORK/now" || fail "$1, step $n left: $(diff "$WORK/before" "$WORK/now")"
        [ $code != 0 ] || break
        n=$((n + 1))
    done
    [ $n -gt "$4" ] || fail "$1: died at $((n - 1)) steps only"
    [ $n -le $STEPS_MOST ] || fail "$1: more than $STEPS_MOST steps"
}
strata image tag "$at/box:1" busybox >/dev/null
want=$(strata image inspect --json busybox | sed -n 's/.*"digest": *"\([^"]*\)".*/\1/p' | head -n 1)
stored before >"$WORK/before"
sweep_push push by_name busybox 8      # asked, opened, sent, for two blobs; the manifest before and after
sweep_push mount by_name "$at/box:1" 5 # the registry has the blobs in another repository
sweep_push pieces in_pieces busybox 12
strata image pull --quiet --plain-http "$at/pieces1:1" >/dev/null
is "what was pushed runs" "$(strata run --rm --network none "$at/pieces1:1" echo yes)" yes
