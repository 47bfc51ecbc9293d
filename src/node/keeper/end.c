/* end.c - what happens after the guest's first program ended.
 *
 * Restarting and cleaning up need the container code, the network and the
 * store, which a keeper does not carry: the process executes `strata` for it
 * and, for a restart, comes back as a keeper with the same process id, lock and
 * listening socket.  Waiting times between restarts double from
 * BACKOFF_FIRST_MS to BACKOFF_MOST_MS and start anew after a guest that held
 * out for HELD_OUT_MS. */
#include "node/keeper/private.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/str.h"
#include "base/units.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS  60000
#define HELD_OUT_MS      10000

static bool wants_restart(const struct keeper *k)
{
    if (k->stop_wanted) {
        return false;
    }
    if (k->c.reboots && k->exit_code == 128 + SIGHUP) { /* pid_namespaces(7), "reboot" */
        return true;
    }
    switch (k->c.restart) {
    case KEEPER_RESTART_ON_FAILURE:
        return k->exit_code != 0 &&
               (k->c.restart_most == 0 || k->c.restarts < k->c.restart_most);
    case KEEPER_RESTART_ALWAYS:
    case KEEPER_RESTART_UNLESS_STOPPED:
        return true;
    case KEEPER_RESTART_NO:
    case KEEPER_RESTART_COUNT:
        break;
    }
    return false;
}

static void plan_restart(struct keeper *k)
{
    int64_t now = keeper_now_ms();

    if (k->c.backoff_ms == 0 || now - k->started_ms >= HELD_OUT_MS) {
        k->c.backoff_ms = BACKOFF_FIRST_MS;
    } else {
        k->c.backoff_ms *= 2;
    }
    if (k->c.backoff_ms > BACKOFF_MOST_MS) {
        k->c.backoff_ms = BACKOFF_MOST_MS;
    }
    k->phase = KEEPER_RESTARTING;
    k->restart_at_ms = now + (int64_t)k->c.backoff_ms;
}

void keeper_guest_ended(struct keeper *k, int wait_status)
{
    struct timespec ts;

    (void)fault_step("keeper.ended");
    k->exit_code =
        WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    units_print_time(ts.tv_sec * 1000000000LL + ts.tv_nsec, k->finished_text);
    k->kill_at_ms = 0;
    if (k->health_pid != 0) {
        (void)kill(k->health_pid, SIGKILL);
        (void)waitpid(k->health_pid, NULL, 0);
    }
    keeper_health_init(k);
    k->health_at_ms = 0;
    if (wants_restart(k)) {
        plan_restart(k);
    } else {
        k->phase = KEEPER_ENDED;
    }
    (void)fault_step("keeper.ended.decided");
    keeper_write_status(k);
    (void)fault_step("keeper.ended.written");
    keeper_write_event(k, "died");
    (void)fault_step("keeper.ended.told");
}

static void keep_over_exec(int fd)
{
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, 0);
    }
}

/* Become `strata --worker ROLE RUN-DIR WORDS...`.  Returns only on failure. */
static void become_worker(struct keeper *k, const char *role)
{
    struct strv argv = {0};

    strv_add(&argv, "strata");
    strv_add(&argv, "--worker");
    strv_add(&argv, role);
    strv_add(&argv, k->c.run_dir);
    keeper_config_words(&k->c, &argv);
    keep_over_exec(k->c.status);
    keep_over_exec(k->c.control);
    keep_over_exec(k->c.log);
    keep_over_exec(k->c.log_dir);
    keep_over_exec(k->c.lock);
    keep_over_exec(k->c.events);
    keep_over_exec(k->c.events_dir);
    for (uint64_t i = 0; i < k->c.n_viewers; i++) {
        keep_over_exec(k->c.viewers[i]);
    }
    if (!strv_failed(&argv) && k->c.program != NULL) {
        (void)execv(k->c.program, argv.items);
    }
    strv_fini(&argv);
}

static void close_guest(struct keeper *k)
{
    for (int i = 0; i < 2; i++) {
        if (k->streams[i].fd >= 0) {
            (void)close(k->streams[i].fd);
        }
        k->streams[i].fd = -1;
    }
    if (k->c.input >= 0 && k->c.input != k->c.master) {
        (void)close(k->c.input);
    }
    k->c.input = k->c.output = k->c.error = k->c.master = -1;
}

/* Who is connected stays so over the restart; the owner's place stays the first. */
static void list_viewers(struct keeper *k)
{
    k->c.n_viewers = 0;
    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        struct keeper_viewer *v = &k->viewers[i];

        if (v->fd >= 0) {
            k->c.viewers[k->c.n_viewers] = v->fd;
            k->c.n_viewers += 1;
        }
    }
}

void keeper_restart_now(struct keeper *k)
{
    close_guest(k);
    list_viewers(k);
    k->c.restarts += 1;
    (void)fault_step("keeper.restart.begun");
    keeper_write_event(k, "restarting");
    (void)fault_step("keeper.restart.told");
    become_worker(k, "restart");
    k->phase = KEEPER_ENDED; /* the program is gone or memory is: say that it ended */
    keeper_write_status(k);
}

int keeper_finish(struct keeper *k)
{
    bool owner = k->c.owner && k->viewers[0].fd >= 0 && !k->c.finishes;

    close_guest(k);
    (void)fault_step("keeper.finish.begun");
    if (owner) {
        keeper_viewers_finish(k); /* that command cleans up, and returns the code */
        (void)fault_step("keeper.finish.told");
        return k->exit_code;
    }
    /* The others learn of the end when it is complete: the worker tells them. */
    k->c.n_viewers = 0;
    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        if (k->viewers[i].fd >= 0) {
            k->c.viewers[k->c.n_viewers] = k->viewers[i].fd;
            k->c.n_viewers += 1;
        }
    }
    (void)fault_step("keeper.finish.worker");
    become_worker(k, "finish");
    keeper_viewers_finish(k);
    return k->exit_code;
}
