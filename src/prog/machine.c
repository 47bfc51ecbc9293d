/* machine.c - the program `machine`: the worker of a virtual machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/units.h"
#include "host/loop/loop.h"
#include "prog/drives.h"
#include "prog/peripherals.h"
#include "virt/monitor/boot/boot.h"
#include "virt/monitor/monitor.h"

struct run {
    struct machine *machine;
    struct loop *loop;
    struct loop_watch input;
    struct loop_timer retry;
};

static void on_console(void *who, const uint8_t *bytes, unsigned n)
{
    (void)who;
    (void)!write(STDOUT_FILENO, bytes, n);
}

static void on_input(struct loop_watch *w, uint32_t events)
{
    struct run *run = (struct run *)((char *)w - offsetof(struct run, input));
    uint8_t bytes[64];
    unsigned room = machine_console_room(run->machine);
    ssize_t n;

    (void)events;
    if (room == 0) {
        (void)loop_watch_change(w, 0);
        loop_timer_set(run->loop, &run->retry, 1000000);
        return;
    }
    n = read(w->fd, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (n <= 0) {
        (void)loop_watch_change(w, 0);
        return;
    }
    machine_console_type(run->machine, bytes, (unsigned)n);
}

static void on_retry(struct loop_timer *t)
{
    struct run *run = (struct run *)((char *)t - offsetof(struct run, retry));

    (void)loop_watch_change(&run->input, EPOLLIN);
}

static int map_file(const char *path, const uint8_t **ret, size_t *ret_bytes,
                    struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *at = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (at == MAP_FAILED) {
        return err_sys(e, -errno, "cannot read '%s'", path);
    }
    (void)close(fd);
    *ret = at;
    *ret_bytes = (size_t)st.st_size;
    return 0;
}

struct order {
    struct machine_options options;
    struct boot_files files;
    struct drives disks;
    struct peripherals peripherals;
    struct virtio_device *device[DRIVES_MOST + PERIPHERALS_MOST]; /* of both */
};

static int parse(int argc, char **argv, struct order *o, struct err *e)
{
    int r = 0;

    o->options.cpus = 1;
    o->options.memory_bytes = UINT64_C(256) << 20;
    o->files.command_line = "";
    for (int i = 1; r == 0 && i + 1 < argc; i += 2) {
        const char *v = argv[i + 1];

        if (strcmp(argv[i], "--kernel") == 0) {
            r = map_file(v, &o->files.kernel, &o->files.kernel_bytes, e);
        } else if (strcmp(argv[i], "--initrd") == 0) {
            r = map_file(v, &o->files.initrd, &o->files.initrd_bytes, e);
        } else if (strcmp(argv[i], "--append") == 0) {
            o->files.command_line = v;
        } else if (strcmp(argv[i], "--engine") == 0) {
            o->options.engine = v;
        } else if (strcmp(argv[i], "--model") == 0) {
            o->options.model = v;
        } else if (strcmp(argv[i], "--cpus") == 0) {
            o->options.cpus = (unsigned)atoi(v);
        } else if (strcmp(argv[i], "--memory") == 0) {
            o->options.memory_bytes = strtoull(v, NULL, 10) << 20;
        } else if (strcmp(argv[i], "--disk") == 0) {
            r = drives_plan(&o->disks, v, e);
        } else {
            r = peripherals_plan(&o->peripherals, argv[i], v, e);
            r = r == 0 ? err_set(e, -EINVAL, "'%s' is not known", argv[i]) : r;
            r = r > 0 ? 0 : r;
        }
    }
    return r;
}

/* All devices of the order, open, disks first. */
static int open_devices(struct order *o, struct loop *l, struct err *e)
{
    int r = drives_open(&o->disks, l, o->options.cpus, e);

    r = r == 0 ? peripherals_open(&o->peripherals, l, e) : r;
    memcpy(o->device, o->disks.device, o->disks.count * sizeof *o->device);
    memcpy(o->device + o->disks.count, o->peripherals.device,
           o->peripherals.count * sizeof *o->device);
    o->options.devices = o->device;
    o->options.device_count = o->disks.count + o->peripherals.count;
    return r;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct order o = {.options.console = on_console};
    struct run run = {.input = {.fd = STDIN_FILENO, .events = EPOLLIN, .fn = on_input},
                      .retry.fn = on_retry};
    enum machine_end end = MACHINE_BROKEN;
    unsigned code = 0;
    int r = parse(argc, argv, &o, &e);

    r = r == 0 ? loop_create(LOOP_DRIVER_AUTO, &run.loop, &e) : r;
    r = r == 0 ? open_devices(&o, run.loop, &e) : r;
    r = r == 0 ? machine_create(run.loop, &o.options, &run.machine, &e) : r;
    r = r == 0 ? machine_load(run.machine, &o.files, &e) : r;
    if (r == 0) {
        (void)loop_watch(run.loop, &run.input);
        r = machine_run(run.machine, &end, &code, &e);
        loop_unwatch(&run.input);
        if (end != MACHINE_OFF && end != MACHINE_EXITED) {
            fprintf(stderr, "machine: %s\n", machine_end_name(end));
        }
    }
    if (r != 0) {
        fprintf(stderr, "machine: %s\n", e.text);
    }
    machine_destroy(run.machine);
    peripherals_close(&o.peripherals);
    drives_close(&o.disks);
    loop_destroy(run.loop);
    return r != 0 || (end != MACHINE_OFF && end != MACHINE_EXITED) ? 125 : (int)code;
}
