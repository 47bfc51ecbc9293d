#!/bin/sh
# `strata oci` by an ordinary user: create, start, run, exec, kill, delete; with the one id
# that everybody has, and with ranges of ids (subuid(5)).
# rows: OSL-01 OSL-10 SEC-03
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_oci.sh"
need_root # to become another user
need_cmd python3 setpriv unshare

need_shared_programs
mkdir -p "$WORK/run"
setpriv --reuid 12345 --regid 12345 --clear-groups unshare -U true 2>/dev/null ||
    skip "the host gives users no user namespaces"

# The user has a name, and ranges if there is a file of them, in a mount namespace of his own.
as_user() {
    unshare -m sh -c '
        work=$1; shift
        for name in passwd subuid subgid; do
            [ ! -e "$work/$name" ] || mount --bind "$work/$name" "/etc/$name"
        done
        cd "$work"
        exec setpriv --reuid 12345 --regid 12345 --clear-groups env XDG_RUNTIME_DIR="$work/run" "$@"
    ' sh "$WORK" "$@"
}
oci() { as_user "$STRATA" oci "$@"; }

cp /etc/passwd "$WORK/passwd"
echo "strata-test:x:12345:12345::/:/bin/sh" >>"$WORK/passwd"
bundle one "args('/bin/sleep', '1000')"
rm "$WORK/one/config.json"
chown -R 12345:12345 "$WORK/one" "$WORK/run"
oci spec --rootless --bundle "$WORK/one"
change one "c['process']['terminal'] = False; sh('id -u; cat /proc/self/uid_map; exec sleep 1000')"

all_of_it() { # NAME: one life of a container
    oci create --bundle "$WORK/$1" life >"$WORK/out" 2>"$WORK/err" ||
        fail "create: $(cat "$WORK/err")"
    is "created" "$(oci state life | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"])')" created
    oci start life
    said() { [ "$(wc -l <"$WORK/out")" -ge 2 ]; }
    within 10 said
    is "root inside" "$(head -n 1 "$WORK/out")" 0
    is "exec" "$(oci exec life /bin/sh -c 'id -u; echo more' 2>/dev/null | tr '\n' ' ')" "0 more "
    is "an ordinary user outside" "$(ps -o uid= -C sleep | sort -u | grep -c 12345)" 1
    fails 7 oci exec life /bin/sh -c 'exit 7'
    fails 1 oci delete life
    oci kill life KILL
    gone() { oci state life | grep -q '"stopped"'; }
    within 10 gone
    oci delete life
    is "nothing is left" "$(ls "$WORK/run/strata/oci")" ""
}
all_of_it one
has "one id" "$(cat "$WORK/out")" "12345          1"
change one "sh('echo foreground; exit 3')"
fails 3 oci run --bundle "$WORK/one" fore
has "run" "$OUT" foreground
echo topsecret >"$WORK/secret"
chmod 600 "$WORK/secret"
change one "c['mounts'].append({'destination': '/secret', 'type': 'bind', 'source': '$WORK/secret', 'options': ['bind']}); sh('cat /secret')"
fails 1 oci run --bundle "$WORK/one" secret
case $OUT in *topsecret*) fail "a file of root was read" ;; esac
change one "c['mounts'].pop(); c['linux']['uidMappings'][0]['hostID'] = 0"
fails 1 oci run --bundle "$WORK/one" other
has "another's id" "$OUT" "map"

# Ranges, through the setuid helpers.
command -v newuidmap >/dev/null || skip "needs newuidmap for the rest (package uidmap)"
echo "12345:300000:65536" >"$WORK/subuid"
cp "$WORK/subuid" "$WORK/subgid"
change one "
c['linux']['uidMappings'] = c['linux']['gidMappings'] = [
    {'containerID': 0, 'hostID': 12345, 'size': 1},
    {'containerID': 1, 'hostID': 300000, 'size': 65535}]
sh('id -u; cat /proc/self/uid_map; exec sleep 1000')"
all_of_it one
has "a range" "$(cat "$WORK/out")" "300000      65535"
change one "c['process']['user'] = {'uid': 33, 'gid': 34, 'additionalGids': [35]}; sh('id -u; id -G')"
is "another user inside" "$(oci run --bundle "$WORK/one" user | tr '\n' ' ')" "33 34 35 "
change one "c['linux']['uidMappings'][1]['hostID'] = 400000"
fails 1 oci run --bundle "$WORK/one" other
has "a range of somebody else" "$OUT" "newuidmap"
