#!/bin/sh
# What cannot be meant is refused before a state directory is made, and what is refused
# leaves one that is there as it was.
# rows: OPS-14
. "$(dirname "$0")/lib.sh"

none=$WORK/none
# refused CODE WORDS COMMAND... - with that code and these words in its error.
refused() {
    code=$1
    words=$2
    shift 2
    fails "$code" "$STRATA" --state "$none" "$@" </dev/null
    has "$*" "$OUT" "$words"
    [ ! -e "$none" ] || fail "'$*' made a state directory"
    before=$(look)
    fails "$code" "$STRATA" --state "$STATE" "$@" </dev/null
    is "the directory after '$*'" "$(look)" "$before"
}
look() { find "$STATE" -printf '%P %T@ %s\n' | sort; }

strata volume create kept >/dev/null
all_refused() { # the same orders for `run` and `create`
    refused 125 "--restart with --rm" "$1" --restart always --rm x true
    refused 125 "at least 4M" "$1" --memory 1k x true
    refused 125 "more than 1024" "$1" --cpus 5000 x true
    refused 125 "--workdir 'rel'" "$1" --workdir rel x true
    refused 125 "--disk 'mine'" "$1" --disk mine x true
    refused 125 "a host directory starts with" "$1" -v a/b:/x x true
    refused 125 "--tmpfs 'rel'" "$1" --tmpfs rel x true
    refused 125 "no such limit" "$1" --ulimit nonsense=1 x true
    refused 125 "NAME=SOFT[:HARD]" "$1" --ulimit nofile=x x true
    refused 125 "'NONSENSE' is not a capability" "$1" --cap-add NONSENSE x true
    refused 125 "--security-opt 'nonsense'" "$1" --security-opt nonsense x true
    refused 125 "--device 'null'" "$1" --device null x true
    refused 125 "on network 'none'" "$1" --network none -p 80:80 x true
    refused 125 "--ip with network 'host'" "$1" --network host --ip 10.1.2.3 x true
    refused 125 "--network 'a b'" "$1" --network 'a b' x true
    refused 125 "environment file '/none'" "$1" --env-file /none x true
    refused 2 "--publish" "$1" -p x x true
    refused 125 "--volume 'rel'" "$1" -v rel x true # of a machine it would be a disk
    refused 2 "--volume" "$1" -v :/x x true
    refused 2 "no image reference" "$1" 'A B' true
}
all_refused run
all_refused create
refused 125 "standard input is not a terminal" run --tty --interactive x sh
refused 125 "standard input is not a terminal" exec --tty --interactive web sh
refused 1 "at least 4M" resize --memory 1k web
refused 2 "no option says" resize web
refused 1 "one of them is GUEST:/PATH" cp a b
refused 1 "one of them is GUEST:/PATH" cp - -
refused 1 "detach keys" console --detach-keys nonsense web
refused 2 "name one guest" start --attach one two
refused 1 "No such file" image build "$WORK/nowhere"
refused 1 "needs --user" image login --password-stdin registry.example
refused 1 "not a subnet" network create --subnet 10.0.0.0/33 blue
refused 1 "not a subnet" network create --subnet fd00:1::/64 blue
refused 1 "not a subnet" network create --subnet6 10.0.0.0/24 blue
refused 1 "not an IPv4 address" network create --gateway fd00:1::1 blue
refused 1 "not within" network create --subnet 10.9.0.0/24 --gateway 10.8.0.1 blue
refused 1 "cannot be the name" network create host
refused 2 "no duration" stop --timeout soon web
refused 2 "no such signal" kill --signal NONSENSE web
refused 2 "neither a time" logs --since soon web
refused 2 "cannot find command" nonsense

# The root of an OCI runtime is no exception.
oci() { "$STRATA" oci --root "$none" "$@"; }
echo '{"ociVersion":"1.0.0","process":{"args":[]}}' >"$WORK/config.json"
for words in create 'create one two' 'create --bundle /none one' 'run a/b' "run --bundle $WORK one" \
    'kill one NONSENSE' 'exec one' 'events --interval soon one' 'start one' nonsense; do
    oci $words >/dev/null 2>&1 && fail "'oci $words' was accepted"
    [ ! -e "$none" ] || fail "'oci $words' made a directory"
done
is "what was there" "$(strata volume list --quiet)" kept
