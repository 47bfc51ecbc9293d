/* events.c - what a container uses, once or again and again until it ends, and that its
 * memory ran out: one "oom" for each process that the kernel ended for it, by the next look. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/units.h"
#include "virt/container/oci/oci.h"

#define INTERVAL_MS 5000

/* A figure that the host cannot tell is left out. */
static void put(json_t *to, const char *key, uint64_t value)
{
    if (value <= INT64_MAX) {
        (void)json_object_set_new(to, key, json_integer((json_int_t)value));
    }
}

static json_t *figures(const char *id, const struct task_stats *s)
{
    json_t *usage = json_object();
    json_t *throttling = json_object();
    json_t *memory = json_object();
    json_t *pids = json_object();
    json_t *io = json_object();

    put(usage, "total", s->cpu_ns);
    put(usage, "user", s->cpu_user_ns);
    put(usage, "kernel", s->cpu_system_ns);
    put(throttling, "throttledTime", s->throttled_ns);
    put(memory, "usage", s->memory_bytes);
    put(memory, "max", s->memory_peak_bytes);
    put(memory, "limit", s->memory_limit_bytes);
    put(memory, "failcnt", s->oom_kills);
    put(pids, "current", s->pids);
    put(io, "readBytes", s->io_read_bytes);
    put(io, "writeBytes", s->io_write_bytes);
    return json_pack("{s:s, s:s, s:{s:{s:o, s:o}, s:{s:o}, s:o, s:o}}", "type", "stats",
                     "id", id, "data", "cpu", "usage", usage, "throttling", throttling,
                     "memory", "usage", memory, "pids", pids, "blkio", io);
}

/* Takes the event. */
static int print_event(json_t *event, struct err *e)
{
    SCOPED(scope_json) json_t *line = event;

    return line == NULL || json_dumpf(line, stdout, JSON_COMPACT) < 0 ||
                   putchar('\n') < 0 || fflush(stdout) < 0
               ? err_set(e, -EIO, "cannot print the figures")
               : 0;
}

/* `told`: how many of them have been. */
static int print_ooms(const struct task_stats *s, const char *id, uint64_t *told,
                      struct err *e)
{
    int r = 0;

    for (; r == 0 && s->oom_kills != UINT64_MAX && *told < s->oom_kills; *told += 1) {
        r = print_event(json_pack("{s:s, s:s}", "type", "oom", "id", id), e);
    }
    return r;
}

int oci_events(struct oci *o, const struct oci_args *a, struct err *e)
{
    const char *text = oci_arg(a, "interval");
    struct container *c = NULL;
    uint64_t interval = INTERVAL_MS;
    uint64_t ooms = 0;
    struct task_stats now;
    int r;

    if (text != NULL && units_parse_duration(text, &interval) < 0) {
        (void)err_set(e, -EINVAL, "'%s' is no duration", text);
        return OCI_EXIT_FAILED;
    }
    r = container_open(o->root, a->rest[0], &c, e);
    while (r == 0) {
        SCOPED(scope_close)
        int pidfd = (int)syscall(SYS_pidfd_open, container_pid(c), 0);
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        r = task_stats(container_task(c), &now, e);
        r = r == 0 && !oci_has(a, "stats") ? print_ooms(&now, a->rest[0], &ooms, e) : r;
        r = r == 0 ? print_event(figures(a->rest[0], &now), e) : r;
        if (r < 0 || oci_has(a, "stats") || pidfd < 0) {
            break;
        }
        if (poll(&p, 1, (int)interval) != 0) { /* its end ends the events */
            if (task_stats(container_task(c), &now, NULL) == 0) {
                r = print_ooms(&now, a->rest[0], &ooms, e);
            }
            break;
        }
    }
    if (c != NULL) {
        task_close(container_task(c));
    }
    return r < 0 ? OCI_EXIT_FAILED : 0;
}
