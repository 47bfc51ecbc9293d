#!/bin/sh
# What others do to our networks: a bridge removed, rules flushed, a state directory
# deleted by hand.
# rows: NET-08 OPS-14
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 curl ip nft
need_busybox

web='mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'
address() { strata inspect --json "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["addresses"][0])'; }
bridge() { "$STRATA" --state "$1" network inspect --json "$2" | sed -n 's/.*"bridge": "\(.*\)".*/\1/p'; }
get() { curl -s -g --max-time 2 "http://$1/" || true; }
serves() { [ "$(get "$1")" = "$2" ]; }
table=$(printf '%s' "$STATE" | python3 -c 'import sys
h = 2166136261
for b in sys.stdin.buffer.read(): h = (h ^ b) * 16777619 & 0xffffffff
print("strata_%08x" % h)')

strata network create blue >/dev/null
strata run -d --name one -p 28561:80 busybox sh -c "$web" >/dev/null
strata run -d --name two --network blue -p 28562:80 busybox sh -c "$web" >/dev/null
within 5 serves 127.0.0.1:28561 one
within 5 serves 127.0.0.1:28562 two

# The next guest that starts, on whichever network, mends all.
nft delete table inet "$table"
is "flushed" "$(get 127.0.0.1:28561)" ""
strata run --rm busybox true
within 5 serves 127.0.0.1:28561 one
within 5 serves 127.0.0.1:28562 two
ip link delete "$(bridge "$STATE" default)"
is "unlinked" "$(get 127.0.0.1:28561)" ""
strata run --rm busybox true
within 5 serves 127.0.0.1:28561 one
is "names of neighbours" "$(strata exec one wget -q -O - http://one/)" one

# So does the next command that looks, once, and says so.
nft delete table inet "$table"
has "told" "$(strata list 2>&1)" "2 of them are linked again"
within 5 serves 127.0.0.1:28561 one
within 5 serves 127.0.0.1:28562 two
is "told once" "$(strata list 2>&1 >/dev/null)" ""
ip link delete "$(bridge "$STATE" blue)"
has "told" "$(strata inspect one 2>&1 >/dev/null)" "linked again"
within 5 serves 127.0.0.1:28562 two

# So does reconciling, which says what it did.
ip link delete "$(bridge "$STATE" blue)"
nft delete table inet "$table"
has "said" "$(strata system reconcile 2>&1)" "linked again"
within 5 serves 127.0.0.1:28561 one
within 5 serves 127.0.0.1:28562 two
is "nothing more to do" "$(strata system reconcile --json | grep -c 'linked again' || true)" 0

# Networks as they are shown.
is "guests are counted" "$(strata network list --json | grep -c '"guests": 1')" 2
has "guests are named" "$(strata network inspect blue)" "two $(address two)"
has "subnets are shown" "$(strata network list)" "10."

# A deleted state directory's bridge and rules are found and removed, no other's.
other=$WORK/other
"$STRATA" --state "$other" network create lost >/dev/null
"$STRATA" --state "$other" image import "$WORK/.busybox.tar" busybox >/dev/null
"$STRATA" --state "$other" run --rm --network lost busybox true
lost=$(bridge "$other" lost)
ip link show "$lost" >/dev/null || fail "no bridge $lost"
case $(strata network prune --dry-run) in *"$lost"*) fail "of a directory that is there" ;; esac
rm -rf --one-file-system "$other"
has "found" "$(strata network prune --dry-run)" "$lost"
has "doctor says so" "$(strata doctor || true)" "strata network prune"
has "removed" "$(strata network prune)" "$lost"
! ip link show "$lost" >/dev/null 2>&1 || fail "$lost is still there"
case $(strata network prune --dry-run) in *"$other"*) fail "something is left" ;; esac
within 5 serves 127.0.0.1:28561 one
