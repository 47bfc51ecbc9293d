#!/bin/sh
# Configurations that play the part of other systems of this level.
# rows: SYS-26 SYS-28 SYS-31 SYS-35 OPS-11
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

# A jail: own root, one address, own host name, fewer powers for root.
strata run -d --name jail --hostname jail --cap-drop ALL --cap-add CHOWN --read-only busybox sleep 1000 >/dev/null
is "host name" "$(strata exec jail hostname)" jail
is "powers" "$(strata exec jail sh -c 'grep CapEff /proc/self/status' | tr -d '\t')" "CapEff:0000000000000001"
fails 1 strata exec jail touch /file
is "one address" "$(strata exec jail sh -c 'ip -4 -o addr show eth0 | wc -l')" 1

# Zones: the same packages, read-only and shared, or a whole root of one's own.
strata run -d --name sparse --read-only --tmpfs /tmp busybox sleep 1000 >/dev/null
strata run -d --name whole busybox sleep 1000 >/dev/null
fails 1 strata exec sparse rm /bin/ls
strata exec whole rm /bin/ls
strata exec sparse ls / >/dev/null
strata stop --timeout 0s whole >/dev/null
strata start whole >/dev/null
fails 127 strata exec whole ls /

# Accounts: one program, several users with files and settings of their own.
strata volume create anna >/dev/null
strata volume create ben >/dev/null
for who in anna ben; do
    strata run --rm -v "$who:/home" busybox sh -c "echo $who >/home/settings"
done
is "anna's" "$(strata run --rm -v anna:/home busybox cat /home/settings)" anna
is "ben's" "$(strata run --rm -v ben:/home busybox cat /home/settings)" ben

# Changes that are kept or dropped as a whole.
strata run --name trial busybox sh -c 'echo new >/bin/tool; rm /etc/group' 
strata image commit trial kept >/dev/null
strata delete trial >/dev/null
is "kept" "$(strata run --rm kept cat /bin/tool)" new
fails 1 strata run --rm kept cat /etc/group
strata run --rm busybox cat /etc/group >/dev/null # dropped for all others

# The library of guests: versions, owner, state and history, over restarts of the platform.
strata snapshot create whole first >/dev/null
has "versions" "$(strata snapshot list whole)" first
has "history" "$(strata events --since 1h)" created
is "owner" "$(strata inspect --json whole | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["owner"])')" 0
