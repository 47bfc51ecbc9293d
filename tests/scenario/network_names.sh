#!/bin/sh
# Names of neighbours: both families, host names, rename, restart, delete; nobody sees or
# changes the names of another network.
# rows: NET-08 OSL-06
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

addresses() { strata inspect --json "$1" | python3 -c 'import json,sys; print(*json.load(sys.stdin)[0]["addresses"])'; }
known() { strata exec "$1" cat /etc/hosts; }
names() { known "$1" | awk -v name="$2" '{ for (i = 2; i <= NF && $i != "#"; i++) if ($i == name) print $1 }' | tr '\n' ' '; }
idle() { strata run -d "$@" busybox sleep 1000 >/dev/null; }

strata network create blue >/dev/null
idle --name one
idle --name two --hostname second
idle --name far --network blue
is "both families" "$(names one two)" "$(addresses two) "
is "the host name, too" "$(names one second)" "$(addresses two) "
is "one's own" "$(names two two)" "$(addresses two) "
is "not of another network" "$(names one far)$(names far one)" ""
is "by name" "$(strata exec one ping -c 1 -W 2 second | grep -c '1 packets received')" 1

strata rename two deux >/dev/null
is "renamed" "$(names one deux)" "$(addresses two 2>/dev/null || addresses deux) "
is "the old name is gone" "$(names one two)" ""
strata restart -t 0s deux >/dev/null
is "the same after a restart" "$(names one deux)" "$(addresses deux) "
is "who was restarted knows all" "$(names deux one)" "$(addresses one) "
idle --name late
is "who came later" "$(names deux late)" "$(addresses late) "

# The file is shared: what a guest writes would reach all others.
fails 1 strata exec one sh -c 'echo "10.9.9.9 deux" >>/etc/hosts'
is "nothing changed" "$(names late deux)" "$(addresses deux) "

strata delete --force deux >/dev/null
is "gone with its guest" "$(names one deux)$(names late second)" ""
within 3 strata delete --force far >/dev/null
strata network delete blue >/dev/null
strata network create blue >/dev/null
idle --name near --network blue
is "a new network begins empty" "$(known near | grep -c '#')" "$(addresses near | wc -w)"
