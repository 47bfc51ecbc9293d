#!/bin/sh
# Every operation with --json prints what its record says: an object, a list, a stream of
# objects, or nothing but its own bytes; and an error leaves standard output valid, too.
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

OPS=$TOP/src/wire/ops
python3 "$TOP/tools/opgen.py" list "$OPS" >"$WORK/all"
[ -s "$WORK/all" ] || fail "no operation records in $OPS"

# fits OP FILE WORD - the file is JSON of the record's kind; WORD: with its fields, too.
fits() {
    python3 - "$OPS/$1.op" "$2" "$3" <<'PY'
import json, re, sys
record, text = open(sys.argv[1]).read(), open(sys.argv[2]).read()
head, _, rest = record.partition("\nresult ")
kind, fields = rest.split()[0], []
for line in rest.split("\n")[1:]:
    if not line.startswith("    "):
        break
    if not line.startswith("     "):
        fields.append(line.split()[0])
def need(what, found):
    if not what:
        sys.exit(f"{found}: {text[:300]!r}")
if text == "":
    need(sys.argv[3] == "error" or kind in ("none", "stream"), "nothing was printed")
    sys.exit(0)
if kind == "none":
    sys.exit(0)  # its own bytes
try:
    found = [json.loads(line) for line in text.splitlines()] if kind == "stream" else json.loads(text)
except ValueError as e:
    sys.exit(f"no JSON ({e}): {text[:300]!r}")
if kind == "list" and isinstance(found, dict) and "one object" in " ".join(head.split()):
    found = next((part for part in found.values() if isinstance(part, list)), None)
need(isinstance(found, dict if kind == "object" else list), f"no {kind}")
if sys.argv[3] != "error":
    need(found or sys.argv[3] == "maybe", "empty")
    for one in found if isinstance(found, list) else [found]:
        need(isinstance(one, dict), "no objects in it")
        strange = set(fields) and not set(fields) & set(one)
        need(not strange, f"has none of its fields {fields}")
PY
}

# op NAME [ARGUMENT...] - on something real: a code of $CODES; in $RAW the standard output.
RAW=$WORK/raw
FILLED=real # or maybe: an empty list is right, too
CODES=0
op() {
    name=$1
    shift
    code=0
    words=$(echo "$name" | tr - ' ')
    # shellcheck disable=SC2086 # two words are meant
    "$STRATA" --state "$STATE" --json $words "$@" >"$RAW" 2>"$WORK/err" </dev/null ||
        code=$?
    case " $CODES " in *" $code "*) ;; *) fail "$name $*: code $code: $(cat "$WORK/err")" ;; esac
    said=$(fits "$name" "$RAW" "$FILLED" 2>&1) || fail "$name $*: $said"
    echo "$name" >>"$WORK/done"
}

# wrong NAME CODE ARGUMENT... - an error: that code, one line that says who and why.
wrong() {
    name=$1 want=$2
    shift 2
    code=0
    words=$(echo "$name" | tr - ' ')
    # shellcheck disable=SC2086 # two words are meant
    "$STRATA" --state "$STATE" --json $words "$@" >"$RAW" 2>"$WORK/err" </dev/null || code=$?
    is "$name $*: code ($(cat "$WORK/err"))" "$code" "$want"
    [ $name = oci ] || [ "$(head -c 8 "$WORK/err")" = "strata: " ] || fail "$name $*: said '$(cat "$WORK/err")'"
    said=$(fits "$name" "$RAW" error 2>&1) || fail "$name $*: $said"
    echo "$name" >>"$WORK/erred"
}

op version
CODES="0 1" # this host may lack something
op doctor
op levels
CODES=0
op help list
op completion bash
op oci features
python3 -m json.tool "$RAW" >/dev/null || fail "oci features is no JSON"
op host-info
op host-syscalls
printf '\061\300\220\220\364' >"$WORK/halt.bin"
op isa-run --at 0x7c00 --engine interpret "$WORK/halt.bin"
op isa-disassemble "$WORK/halt.bin"
op isa-coverage
op isa-virtualizable x86
op image-list
op image-inspect busybox
op image-verify
op image-tag busybox other
op image-move default
op image-export busybox "$WORK/out.tar"
op image-import "$WORK/out.tar" again
printf 'FROM busybox\nRUN echo x >/x\n' >"$WORK/Containerfile"
op image-build "$WORK" --tag built
op volume-create vol
op volume-list
op volume-inspect vol
strata volume create --size 1M disk >/dev/null
op volume-resize disk 2M
op volume-set disk --iops 100
strata volume create --size 1M --log "$WORK/trace" traced >/dev/null
op volume-replay disk "$WORK/trace"
strata volume delete traced >/dev/null
op volume-snapshot disk one
op volume-clone disk copy
op volume-check disk
op volume-locate disk 0
printf old >"$WORK/old"
printf new >"$WORK/new"
strata volume create --size 1M --encrypt --key-file "$WORK/old" locked >/dev/null
op volume-key locked --key-file "$WORK/old" --change "$WORK/new"
strata volume delete locked >/dev/null
truncate -s 1M "$WORK/disk.raw"
op volume-import "$WORK/disk.raw" file
op volume-backup file "$WORK/kept"
op volume-restore "$WORK/kept" back
op volume-export back --file "$WORK/out.qcow2"
op volume-move back default
strata volume delete file back >/dev/null
op pool-create rack --member "$WORK/rack"
op pool-add rack --member "$WORK/rack2"
op pool-list
op pool-inspect rack
op pool-set rack --scrub-every 7d
strata volume create --size 1M --pool rack on-rack >/dev/null
op pool-scrub rack
op pool-replace rack 2 "$WORK/rack3"
op pool-remove rack 1
strata volume delete on-rack >/dev/null
op pool-delete rack
op network-create net
op network-list
op network-inspect net
op create --name made busybox sleep 1000
op rename made g
op start g
op list
op inspect g
op stats g
op pause g
op resume g
op resize g --memory 64M
op exec g echo yes
is "exec" "$(cat "$RAW")" yes
op cp g:/etc/passwd "$WORK/passwd"
op snapshot-create g one
op snapshot-list g
op restart -t 0s g
op kill g
op wait g
op start g
op stop -t 0s g
op snapshot-restore g one
op clone g twin
op snapshot-delete g one
python3 "$TOP/tests/scenario/multiboot.py" "$WORK/spins" spin
truncate -s 1M "$WORK/more"
strata create --name vm --as machine --screen --kernel "$WORK/spins" >/dev/null
op attach vm --disk "$WORK/more"
op detach vm "$WORK/more"
strata start vm >/dev/null
op reset vm
op debug-mark vm
op debug-rewind vm
op debug-dump vm --file "$WORK/core"
op screen vm --file "$WORK/picture"
op debug-gdb vm --listen 127.0.0.1:0
op debug-regs vm
op debug-memory vm 0x100000 32
op debug-translate vm 0x100000
FILLED=maybe
op debug-trace vm --time 10ms
FILLED=real
op save vm
op delete vm
op image-commit g changed
op run -d --name said busybox sh -c 'echo line; sleep 1000'
within 5 sh -c '"$STRATA" --state "$STATE" logs said | grep -q line'
op logs said
op events
strata create --name brief busybox sh -c 'sleep 1' >/dev/null
strata start brief >/dev/null
op console --no-input brief
FILLED=maybe
op system-reconcile
op system-autostart
FILLED=real
op delete --force twin
op network-delete net
strata network create idle >/dev/null
FILLED=maybe
op network-prune
FILLED=real
op volume-delete vol
strata volume delete --snapshots disk copy >/dev/null
op image-delete built
op image-prune
if command -v docker-registry >/dev/null && command -v curl >/dev/null; then
    at=127.0.0.1:$((20000 + $$ % 20000))
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' \
        "$WORK/registry" "$at" >"$WORK/registry.yml"
    docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
    server=$!
    on_exit() { kill $server 2>/dev/null || :; wait $server 2>/dev/null || :; }
    within 10 curl -so "$WORK/answer" "http://$at/v2/"
    op image-push --plain-http busybox "$at/box"
    op image-pull --plain-http "$at/box"
fi

# Errors: something that is not there, or an argument too many.
for name in inspect stats pause resume rename start stop kill restart wait delete logs console \
    reset save debug-mark debug-rewind debug-dump debug-gdb debug-regs debug-trace screen \
    resize attach detach clone snapshot-create snapshot-list snapshot-restore snapshot-delete; do
    case $name in
    rename | clone) wrong $name 1 nobody new ;;
    snapshot-create | snapshot-restore | snapshot-delete) wrong $name 1 nobody one ;;
    resize) wrong $name 1 nobody --memory 64M ;;
    attach) wrong $name 1 nobody --disk "$WORK/raw" ;;
    detach) wrong $name 1 nobody one ;;
    *) wrong $name 1 nobody ;;
    esac
done
wrong exec 125 nobody true
wrong debug-memory 1 nobody 0x1000 16
wrong debug-translate 1 nobody 0x1000
wrong cp 1 nobody:/x "$WORK/x"
wrong events 2 --since nonsense
wrong create 125 --pull never nosuch true
wrong run 125 --pull never nosuch true
wrong image-inspect 1 nosuch
wrong image-tag 1 nosuch other
wrong image-move 1 nosuch
wrong image-export 1 nosuch "$WORK/x"
wrong image-import 1 "$WORK/nosuch" x
wrong image-build 1 "$WORK/nosuch"
wrong image-commit 1 nobody x
wrong image-delete 1 nosuch
wrong image-pull 1 --plain-http 127.0.0.1:1/x
wrong image-push 1 --plain-http busybox 127.0.0.1:1/x
wrong image-login 1 --plain-http --user a 127.0.0.1:1
wrong volume-replay 1 nosuch "$WORK/trace"
wrong volume-set 1 nosuch --iops 10
wrong volume-inspect 1 nosuch
wrong volume-delete 1 nosuch
wrong volume-create 2 '/bad name'
wrong volume-resize 1 nosuch 1M
wrong volume-export 1 nosuch --nbd "$WORK/s"
wrong volume-snapshot 1 nosuch
wrong volume-clone 1 nosuch new
wrong volume-move 1 nosuch default
wrong volume-check 1 nosuch
wrong volume-locate 1 nosuch 0
wrong volume-key 1 nosuch --key-file "$WORK/old" --add "$WORK/new"
wrong volume-import 1 "$WORK/nosuch" new
wrong volume-backup 1 nosuch "$WORK/kept"
wrong volume-restore 1 "$WORK/nosuch" new
wrong pool-create 1 bad --member /proc/nosuch
wrong pool-add 1 nosuch --member "$WORK/x"
wrong pool-inspect 1 nosuch
wrong pool-set 1 nosuch --quota none
wrong pool-scrub 1 nosuch
wrong pool-replace 1 nosuch 1 "$WORK/x"
wrong pool-remove 1 nosuch 1
wrong pool-delete 1 nosuch
wrong network-inspect 1 nosuch
wrong network-delete 1 nosuch
wrong network-create 2 '/bad name'
wrong help 2 nosuch
wrong completion 2 nosuch
for name in version doctor host-info levels list image-list image-verify image-prune volume-list \
    pool-list network-list network-prune system-reconcile system-autostart; do
    wrong $name 2 too many
done
wrong host-syscalls 1 nobody
wrong isa-run 1 "$WORK/nosuch"
wrong isa-disassemble 1 "$WORK/nosuch"
wrong isa-coverage 2 too many
wrong isa-virtualizable 2 nosuch
wrong isa-bench 1 --program "$WORK/nosuch"
wrong oci 1 state nosuch

# Each record was asked; what cannot be asked here is named.
for name in $(cat "$WORK/all"); do
    grep -qx "$name" "$WORK/erred" || fail "no error of '$name' was looked at"
    case $name in isa-bench) continue ;; esac # takes minutes
    case $name in image-login) continue ;; esac # needs a registry with users: see registry.sh
    case $name in image-pu[ls][lh]) command -v docker-registry >/dev/null || continue ;; esac
    grep -qx "$name" "$WORK/done" || fail "'$name' was not run"
done
