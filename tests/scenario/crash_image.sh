#!/bin/sh
# kill -9 at every step of building, committing, exporting, naming, deleting and pruning images.
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_crash.sh"

SRC=$WORK/src
mkdir "$SRC"
echo data >"$SRC/data"
printf 'FROM busybox AS first\nRUN echo one >/one\nFROM busybox\nCOPY --from=first /one /one\nCOPY data /data\nRUN cat /one /data >/both\nCMD ["cat", "/both"]\n' \
    >"$SRC/Containerfile"

# Everything that the store of images has, locks aside; `boot` says that a layer was not synced yet.
stored() {
    strata image list --quiet | sort
    find "$STATE/images" "$STATE/layers" -mindepth 1 -maxdepth 3 \
        ! -path '*/fs/*' ! -name '*.lock' ! -name boot ! -name index.json | sort
    rest
}
pruned() { # the store with what only names need
    strata image prune --cache >/dev/null || fail "$1: prune"
    stored >"$WORK/now"
}

# undo - all that the operations below could have made, taken back.
undo() {
    for guest in g g2; do
        strata delete --force $guest >/dev/null 2>&1 || true
    done
    for image in made copy changed; do
        strata image delete $image >/dev/null 2>&1 || true
    done
    rm -rf "$WORK/to" "$WORK/to.tar" "$WORK/to.strata-part"
}

# image NAME PREPARE CHECK STEPS COMMAND... - kill COMMAND at each step, by number, then by name;
# then the store verifies, COMMAND goes on, CHECK holds, and all can be taken back.
image() {
    what=$1 prepare=$2 check=$3
    shift 3
    $prepare
    STRATA_FAULT=list:9 "$STRATA" --state "$STATE" "$@" >/dev/null 9>>"$WORK/steps" || fail "$what"
    undo
    n=1
    while [ $n -le $STEPS_MOST ]; do
        one "$what, step $n" $n "$@"
        [ $code != 0 ] || break
        onward
    done
    [ $n -le $STEPS_MOST ] || fail "$what: more than $STEPS_MOST steps"
    [ $n -gt 1 ] || fail "$what: no step was there to die at"
    for name in $(sort -u "$WORK/steps"); do
        onward
        [ -n "${STRATA_LONG:-}" ] || [ $((SEED / 65536 % 3)) = 0 ] || continue
        one "$what, $name" "$name" "$@"
    done
    rm "$WORK/steps"
}
one() { # WHAT STEP COMMAND...
    at=$1 step=$2
    shift 2
    $prepare
    kill_at "$step" "$@"
    killed=$code
    strata system reconcile >/dev/null || fail "$at: reconcile"
    strata image verify >"$WORK/verify" 2>&1 || fail "$at: verify: $(cat "$WORK/verify")"
    is "$at: a guest" "$(strata run --rm --network none busybox echo yes)" yes
    if [ $killed != 0 ]; then
        if [ -e "$WORK/to.tar" ] || [ -e "$WORK/to" ]; then fail "$at: a half-made file has the name"; fi
        strata "$@" >"$WORK/out" 2>&1 || grep -q 'not in the store\|no image' "$WORK/out" ||
            fail "$at: again: $(cat "$WORK/out")"
    fi
    $check "$at"
    undo
    for wait in 0 0.2 0.5 1 2; do
        sleep $wait
        pruned "$at"
        cmp -s "$WORK/before" "$WORK/now" && break
    done
    cmp -s "$WORK/before" "$WORK/now" || fail "$at left: $(diff "$WORK/before" "$WORK/now")"
    code=$killed
}

builds() { is "$1: it runs" "$(strata run --rm --network none made)" "one
data"; }
built() { strata image build --quiet "$SRC" --tag made >/dev/null; }
copied() { is "$1: it runs" "$(strata run --rm --network none copy echo yes)" yes; }
changes() { strata run --name g --network none busybox sh -c 'echo new >/new; rm /bin/ls'; }
changed() { is "$1: it runs" "$(strata run --rm --network none changed cat /new)" new; }
laid() { strata image import "$WORK/to" copy >/dev/null && copied "$1"; }
exported() { strata image import "$WORK/to.tar" copy >/dev/null && copied "$1"; }
gone() { ! strata image inspect made >/dev/null 2>&1 || fail "$1: the image is still there"; }
unused() { built && strata image delete made >/dev/null; }
fine() { :; }

undo
pruned before
cp "$WORK/now" "$WORK/before"
image build fine builds image build --quiet "$SRC" --tag made
image commit changes changed image commit g changed
image tag fine copied image tag busybox copy
image export fine exported image export busybox "$WORK/to.tar"
image export-directory fine laid image export --format dir busybox "$WORK/to"
image delete built gone image delete made
image prune unused fine image prune --cache
