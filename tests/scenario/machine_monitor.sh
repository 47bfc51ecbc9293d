#!/bin/sh
# What a hypervisor owes two machines that run at once: processor, memory, disk and network are shared out and
# counted, each part of the layer is a process that is there, and pausing, holding back and killing act at once.
# rows: HYP-01 HYP-02 CON-02 CON-07 CON-16
# timeout: 300
# release
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_linux.sh"
need_root
need_cmd python3
need_busybox
need_linux virtio_blk failover net_failover virtio_net

cd "$WORK"
cat >told <<'SH'
#!/bin/sh
[ "$1" != bound ] || ip address add "$ip/$mask" dev "$interface"
SH
linux_initrd initrd told <<'SH'
chmod 755 /told
ip link set eth0 up
udhcpc -f -i eth0 -n -q -t 10 -T 1 -s /told 2>/dev/null >/dev/null
echo "i am $(uname -rm) of $(cat /proc/sys/kernel/hostname)"
dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null
dd if=/dev/zero of=/dev/vda bs=64k count=32 oflag=direct 2>/dev/null
echo "counted $(head -c 3000000 /dev/zero | nc "$1" 7000)"
echo moved
while [ "$2" != one ]; do sleep 0.1; done
while :; do :; done
SH
vm() { # NAME OPTION...
    name=$1
    shift
    strata run -d --name "$name" --as machine --network blue --kernel "$LINUX" --initrd initrd --memory 128M \
        --append "console=ttyS0 quiet panic=-1 -- $sink $name" "$@" >/dev/null
}
said() { strata logs "$1" | tr -d '\r' | grep -q "^$2"; }
field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
stat_of() { strata stats --json "$1" | python3 -c "import json,sys; print(int(json.load(sys.stdin)[0]['$2']))"; }
between() { # WHAT VALUE LEAST MOST
    [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] || fail "$1: $2, not within $3 and $4"
}

strata network create blue --subnet 10.75.0.0/24 >/dev/null
strata run -d --name sink --network blue busybox sh -c 'exec nc -ll -p 7000 -e wc -c' >/dev/null
sink=$(field sink '["addresses"][0]')
for name in one two; do truncate -s 8M "disk.$name"; done
vm one --disk disk.one
vm two --disk disk.two
for name in one two; do within 90 said $name moved; done
for name in one two; do said $name "counted 3000000" || fail "$name: $(strata logs $name)"; done

# All four kinds, of each of the two, as the guest says that it used them.
for name in one two; do
    [ "$(stat_of $name cpu_ns)" -gt 100000000 ] || fail "$name: processor time $(stat_of $name cpu_ns)"
    between "memory of $name" "$(stat_of $name memory_bytes)" 10000000 700000000
    between "what $name read" "$(stat_of $name io_read_bytes)" 4194304 6000000
    between "what $name wrote" "$(stat_of $name io_write_bytes)" 2097152 2200000
    between "what $name sent" "$(stat_of $name net_tx_bytes)" 3000000 3400000
    between "what $name received" "$(stat_of $name net_rx_bytes)" 100 1000000
done
between "what the container received" "$(stat_of sink net_rx_bytes)" 6000000 6800000
strata inspect --json one | python3 -c '
import json, sys
m = json.load(sys.stdin)[0]["machine"]
assert m["exits_in_all"] == sum(m["exits"].values()) > 1000, m
assert all(m["exits"].get(kind, 0) > 0 for kind in ("port write", "memory write")), m
' || fail "exits by cause"

# The roles: the guest's kernel is its own; the worker is the machine, the keeper started it; both are ours.
strata inspect --json one | python3 -c '
import json, os, sys
g = json.load(sys.stdin)[0]
p, kernel = g["parts"], sys.argv[1]
assert g["config"]["kernel"] == kernel and p["guest"]["name"] == "one", g
assert p["layer"]["interface"] == "ISA" and p["layer"]["level"] == "hardware", p
assert (p["host"]["release"], p["host"]["name"]) == (os.uname().release, os.uname().nodename), p
worker = "/proc/%d/" % p["layer"]["worker"]
assert p["layer"]["worker"] == g["pid"] and open(worker + "comm").read() == "machine\n", p
up = open(worker + "stat").read().rpartition(")")[2].split()[1]
assert int(up) == p["layer"]["keeper"], (up, p)
assert any(os.readlink(worker + "fd/" + fd) == sys.argv[2] for fd in os.listdir(worker + "fd")), "its disk"
' "$LINUX" "$WORK/disk.one" || fail "the roles"
has "a kernel of its own" "$(strata logs one)" "i am ${LINUX##*/vmlinuz-}"
strata inspect --json sink | python3 -c '
import json, sys
p = json.load(sys.stdin)[0]["parts"]
assert p["layer"]["interface"] == "ABI" and p["host"]["kernel"] == "shared" and "worker" not in p["layer"], p
' || fail "the parts of a container"
is "the host's kernel" "$(strata exec sink uname -r)" "$(uname -r)"

# Processes of the host with users of their own; what else they lack, machine_confined and escapes show.
for name in one sink; do
    pid=$(field $name '["pid"]')
    [ "$(awk '/^Uid/ { print $2 }' "/proc/$pid/status")" -ge 100000 ] || fail "$name: $(grep ^Uid "/proc/$pid/status")"
done

# Held back: a quarter of a processor, of its kernel's endless loop; and not any more.
rate() { # GUEST - thousandths of a processor, over two seconds
    a=$(stat_of "$1" cpu_ns) t=$(date +%s%N)
    sleep 2
    echo $((($(stat_of "$1" cpu_ns) - a) * 1000 / ($(date +%s%N) - t)))
}
strata resize one --cpus 0.25 >/dev/null
between "a quarter" "$(rate one)" 60 275
is "one processor" "$(field one '["machine"]["processors"]["now"]')" 1
held=$(stat_of one throttled_ns)
is_held() { [ "$(stat_of one throttled_ns)" -gt "$held" ]; }
within 20 is_held # a busy host may leave it less than that
strata resize one --cpus 1 >/dev/null
held=$(stat_of one throttled_ns)
sleep 0.5
is "let go" "$(stat_of one throttled_ns)" "$held"

# Paused, resumed, killed: each has acted when the command is back.
strata pause one >/dev/null
stands() { # its worker goes to rest behind its answer
    before=$(stat_of one cpu_ns)
    sleep 0.5
    [ "$(stat_of one cpu_ns)" = "$before" ]
}
within 5 stands
strata resume one >/dev/null
goes_on() { [ "$(stat_of "$1" cpu_ns)" -gt "$before" ]; }
within 5 goes_on one
pid=$(field one '["pid"]')
strata kill one >/dev/null
within 1 sh -c "[ ! -e /proc/$pid ]"
before=$(stat_of two cpu_ns)
within 5 goes_on two
strata delete --force one two sink >/dev/null

# A part of a processor from the first day; a disk that is slower than the host's.
strata volume create --size 8M --bandwidth 1M slow >/dev/null
linux_initrd initrd <<'SH'
a=$(cut -d . -f 1 /proc/uptime)
dd if=/dev/zero of=/dev/vda bs=64k count=96 oflag=direct 2>/dev/null
echo "took $(($(cut -d . -f 1 /proc/uptime) - a))"
echo "moved"
while :; do :; done
SH
vm three --cpus 0.5 --network none -v slow
within 90 said three moved
took=$(strata logs three | tr -d '\r' | sed -n 's/^took //p')
between "6 MiB at 1 MiB in a second" "$took" 4 30
is "processors" "$(field three '["machine"]["processors"]["now"]') $(field three '["limits"]["cpu_millis"]')" "1 500"
between "half of one" "$(rate three)" 150 550
