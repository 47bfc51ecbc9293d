/* run.c - the worker from its first to its last step.
 *
 * What is to be open was opened with the plan.  Places and rights are given up before a disk's
 * first byte is looked at, system calls before a kernel's; only the code memory of the vCPUs
 * has to be mapped between the two. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/machine/machine.h"
#include "node/machine/private.h"
#include "virt/monitor/slots.h"

#define CODE_FAILED   125
#define CODE_PANICKED 134 /* as of a program that ends by SIGABRT */
#define CODE_FAULTED  139 /* ... by SIGSEGV */
#define CODE_HUNG     142 /* ... by SIGALRM */
#define CODE_RESET    129 /* as of reboot(2) in a container, see pid_namespaces(7) */
#define RETRY_NS      1000000

/* ---- the console ---- */

static void on_console(void *who, const uint8_t *bytes, unsigned n)
{
    (void)who;
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, bytes, n);

        if (done <= 0 && errno != EINTR) {
            return; /* nobody listens */
        }
        bytes += done > 0 ? done : 0;
        n -= done > 0 ? (unsigned)done : 0;
    }
}

static void on_log(void *who, const uint8_t *bytes, unsigned n)
{
    const struct run *run = who;

    (void)!write(run->plan.log, bytes, n); /* or it is full: there is no way to tell */
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
        loop_timer_set(run->loop, &run->retry, RETRY_NS);
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

/* ---- signals ---- */

static void end_by(struct run *run, int number)
{
    run->ended_by = number;
    machine_stop(run->machine);
}

/* TERM is the power button; INT, too, and the second time the end; others end it. */
static void on_signal(struct loop_watch *w, uint32_t events)
{
    struct run *run = (struct run *)((char *)w - offsetof(struct run, signals));
    struct signalfd_siginfo info;

    (void)events;
    if (read(w->fd, &info, sizeof info) != (ssize_t)sizeof info) {
        return;
    }
    if (run->is_saved) {
        end_by(run, 0);
    } else if (info.ssi_signo == SIGTERM ||
               (info.ssi_signo == SIGINT && !run->was_pressed)) {
        run->was_pressed = run->was_pressed || info.ssi_signo == SIGINT;
        machine_press(run->machine);
    } else {
        end_by(run, (int)info.ssi_signo);
    }
}

static void on_bus_error(int number)
{
    static const char text[] = "machine: a file that the guest uses was cut\n";

    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(CODE_FAILED);
}

/* Before any thread is made, since threads inherit what is blocked. */
static int take_signals(struct run *run, struct err *e)
{
    sigset_t set;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGBUS, on_bus_error);
    run->signals.fd = -1;
    if (run->plan.report < 0) {
        return 0;
    }
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGQUIT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    run->signals =
        (struct loop_watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                            .events = EPOLLIN,
                            .fn = on_signal};
    return run->signals.fd < 0 ? err_sys(e, -errno, "cannot wait for signals") : 0;
}

/* ---- its life ---- */

/* One line of the report (see virt/monitor/remote/create.c). */
static void report(struct run *run, const char *line)
{
    if (run->plan.report >= 0 &&
        write(run->plan.report, line, strlen(line)) != (ssize_t)strlen(line)) {
        _exit(CODE_FAILED); /* who made us is gone */
    }
}

static void tell_lacks(struct run *run, const struct strv *lacks)
{
    struct str line = {0};

    for (size_t i = 0; i < lacks->n; i++) {
        str_addf(&line, "%s%s", i > 0 ? ", " : "", lacks->items[i]);
    }
    if (lacks->n > 0 && run->plan.report < 0) {
        fprintf(stderr, "machine: the worker is confined without %s\n", str_text(&line));
    } else if (lacks->n > 0) {
        struct str whole = {0};

        str_addf(&whole, "w the machine's worker is confined without %s\n",
                 str_text(&line));
        report(run, str_text(&whole));
        str_fini(&whole);
    }
    str_fini(&line);
}

unsigned plan_processors(const struct plan *p)
{
    const struct machine_options *o = &p->options;

    return o->cpus_most > o->cpus ? o->cpus_most : o->cpus;
}

/* All devices of the plan, disks first. */
static int open_devices(struct plan *p, struct loop *l, struct err *e)
{
    int r = drives_open(&p->disks, l, plan_processors(p), e);

    r = r == 0 ? peripherals_open(&p->peripherals, l, e) : r;
    if (r < 0) {
        return r;
    }
    for (unsigned i = 0; i < p->disks.count; i++) {
        p->card[i] = drives_card(&p->disks, i);
    }
    for (unsigned i = 0; i < p->peripherals.count; i++) {
        p->card[p->disks.count + i] = peripherals_card(&p->peripherals, i);
    }
    p->options.cards = p->card;
    p->options.card_count = p->disks.count + p->peripherals.count;
    return 0;
}

static int make(struct run *run, struct err *e)
{
    struct strv lacks = {0};
    int r = take_signals(run, e);

    run->plan.options.console = on_console;
    run->plan.options.who = run;
    run->plan.options.log = run->plan.log >= 0 ? on_log : NULL;
    run->plan.options.crashed = run->plan.holds_crash ? carry_crashed : NULL;
    run->plan.options.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    r = r == 0 ? confine_place(&run->plan, &lacks, e) : r;
    r = r == 0 ? loop_create(LOOP_DRIVER_AUTO, &run->loop, e) : r;
    r = r == 0 ? open_devices(&run->plan, run->loop, e) : r;
    r = r == 0 ? machine_create(run->loop, &run->plan.options, &run->machine, e) : r;
    scope_close(&run->plan.options.kvm); /* who uses it has his own */
    if (r == 0) {
        machine_on_detached(run->machine, comes_gone, run);
    }
    r = r == 0 ? asked_listen(run, e) : r;
    r = r == 0 ? confine_calls(machine_engine_calls(run->machine), &lacks, e) : r;
    tell_lacks(run, &lacks);
    strv_fini(&lacks);
    (void)fault_step("machine.confined");
    r = r != 0                 ? r
        : run->plan.saved >= 0 ? carry_restore(run, e)
                               : machine_load(run->machine, &run->plan.files, e);
    plan_release_files(&run->plan);
    return r;
}

static int code_of(const struct run *run, enum machine_end end, unsigned code)
{
    switch (end) {
    case MACHINE_OFF:
        return 0;
    case MACHINE_RESET:
        return CODE_RESET;
    case MACHINE_EXITED:
        return (int)code;
    case MACHINE_PANICKED:
        return CODE_PANICKED;
    case MACHINE_SHUTDOWN:
        return CODE_FAULTED;
    case MACHINE_HUNG:
        return CODE_HUNG;
    case MACHINE_STOPPED:
        return run->ended_by != 0 ? 128 + run->ended_by : 0;
    case MACHINE_BROKEN:
    case MACHINE_END_COUNT:
        break;
    }
    return CODE_FAILED;
}

static int live(struct run *run, struct err *e)
{
    enum machine_end end = MACHINE_BROKEN;
    unsigned code = 0;
    int r;

    run->input =
        (struct loop_watch){.fd = STDIN_FILENO, .events = EPOLLIN, .fn = on_input};
    run->retry.fn = on_retry;
    if (!run->plan.options.is_deterministic) {
        (void)loop_watch(run->loop, &run->input);
    }
    if (run->signals.fd >= 0) {
        (void)loop_watch(run->loop, &run->signals);
    }
    report(run, "+\n");
    if (run->plan.report >= 0) {
        (void)close(run->plan.report);
    }
    asked_write(run);
    r = machine_run(run->machine, &end, &code, e);
    run->has_ended = true;
    run->end = end;
    asked_write(run);
    debugger_end(run, (unsigned)code_of(run, end, code));
    loop_unwatch(&run->input);
    loop_timer_clear(run->loop, &run->retry);
    loop_timer_clear(run->loop, &run->wish);
    if (run->signals.fd >= 0) {
        loop_unwatch(&run->signals);
    }
    if (end == MACHINE_HUNG || end == MACHINE_PANICKED || end == MACHINE_SHUTDOWN ||
        end == MACHINE_BROKEN) {
        fprintf(stderr, "machine: %s\n", machine_end_name(end));
    }
    return r < 0 ? r : code_of(run, end, code);
}

static int fail(struct run *run, const struct err *e)
{
    if (run->plan.report >= 0) {
        (void)dprintf(run->plan.report, "e %d %s\n", -e->code, e->text);
    } else {
        fprintf(stderr, "machine: %s\n", e->text);
    }
    return CODE_FAILED;
}

int node_machine(int argc, char **argv)
{
    struct run run = {.plan.report = -1};
    struct err e = {0};
    int r;

    if (argc == 3 && strcmp(argv[1], "--plan") == 0) {
        r = plan_read(atoi(argv[2]), &run.plan, &e);
    } else {
        r = plan_parse(argv + 1, &run.plan, &e);
    }
    r = r == 0 ? make(&run, &e) : r;
    r = r == 0 ? live(&run, &e) : fail(&run, &e);
    if (r < 0) { /* it was under way */
        fprintf(stderr, "machine: %s\n", e.text);
        r = CODE_FAILED;
    }
    control_destroy(run.control);
    machine_destroy(run.machine);
    peripherals_close(&run.plan.peripherals);
    drives_close(&run.plan.disks);
    loop_destroy(run.loop);
    json_decref(run.plan.json);
    return r;
}
