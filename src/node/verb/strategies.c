/* strategies.c - full, hardware-assisted, para and partial virtualization: what each one wants of
 * the hardware and of the guest, and what it abstracts.
 *
 * What can be found out is: whether the hardware is there and the parts that a container has of
 * its own are the probes' answers.  What cannot is said in words, which a scenario holds up to
 * guests of each strategy. */
#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "host/probe.h"
#include "node/verb/private.h"

struct strategy {
    const char *name;
    const char *guests;    /* which of ours are such */
    const char *probe;     /* what it stands on, of this host */
    const char *hardware;  /* that it wants */
    const char *abstracts; /* NULL: what the probes of namespaces and groups find */
    const char *shared;    /* what the guest has of the host itself */
    const char *changes;   /* to the guest */
};

static const struct strategy strategies[] = {
    {"full", "machine, by engine translate or interpret", "machine.jit",
     "none; for translation code made at run time",
     "processors, memory, interrupts, clocks, disks, cards, serial ports, screen",
     "nothing", "none: its kernel is as its maker left it"},
    {"hardware-assisted", "machine, by engine kvm", "machine.kvm",
     "VT-x or AMD-V, by /dev/kvm; whether that is of use each machine finds out",
     "memory, interrupts, clocks, disks, cards, serial ports, screen",
     "the instructions of the processor", "none"},
    {"para", "machine by any engine, without --hide-hypervisor", "machine.jit", "none",
     "clocks, waiting for one another, disks (virtio), cards (virtio), memory that is "
     "given back",
     "nothing",
     "drivers for virtio and KVM's clock; a kernel that has none runs as by full"},
    {"partial", "container", "ns.mount",
     "none but pages that are protected (each host's)", NULL, "kernel, processor, clock",
     "no kernel: its programs are as they are"},
};

static const struct probe_result *find(const struct probe_result *rows, size_t count,
                                       const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].key, key) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* The namespaces and the limits that this host gives: "mount, pid, net, ...". */
static void say_found(const struct probe_result *rows, size_t count, struct str *out)
{
    static const char *const prefixes[] = {"ns.", "cgroup.cpu", "cgroup.memory",
                                           "cgroup.pids", "cgroup.io"};

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof prefixes / sizeof prefixes[0]; k++) {
            if (rows[i].answer != PROBE_NO && str_starts(rows[i].key, prefixes[k])) {
                str_addf(out, "%s%s", out->len > 0 ? ", " : "", rows[i].what);
                break;
            }
        }
    }
}

json_t *verb_strategies(const struct probe_result *rows, size_t count)
{
    json_t *out = json_object();

    for (size_t i = 0; i < sizeof strategies / sizeof strategies[0]; i++) {
        const struct strategy *s = &strategies[i];
        const struct probe_result *p = find(rows, count, s->probe);
        struct str found = {0};

        assert(p != NULL);
        if (s->abstracts == NULL) {
            say_found(rows, count, &found);
        }
        (void)json_object_set_new(
            out, s->name,
            json_pack("{s:s, s:s, s:o, s:s, s:s, s:s}", "guests", s->guests, "hardware",
                      s->hardware, "here",
                      json_sprintf("%s: %s", verb_answer(p->answer), p->detail),
                      "abstracts", s->abstracts != NULL ? s->abstracts : str_text(&found),
                      "shared", s->shared, "guest_changes", s->changes));
        str_fini(&found);
    }
    return out;
}
