/* health.c - run the guest's health check from time to time.
 *
 * The check itself is a run of `strata` that executes the configured command
 * inside the guest and returns its code; the keeper counts.  Before
 * `health_start_ms` have passed a failure does not count. */
#include "node/keeper/private.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

#define PATIENCE_MS 2000 /* the run of `strata` itself ends a check that is too slow */

void keeper_health_init(struct keeper *k)
{
    k->health_pid = 0;
    k->health_pidfd = -1;
    k->health_failures = 0;
    k->health = NULL;
    k->health_at_ms = 0;
    if (k->c.health_interval_ms != 0) {
        k->health = "starting";
        k->health_at_ms = keeper_now_ms() + (int64_t)k->c.health_interval_ms;
    }
}

static void begin_check(struct keeper *k, int64_t now)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)execl(k->c.program, "strata", "--worker", "health", k->c.run_dir,
                    (char *)NULL);
        _exit(127);
    }
    (void)fault_step("keeper.health.forked");
    if (pid > 0) {
        k->health_pid = pid;
        k->health_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        k->health_at_ms = now + (int64_t)k->c.health_timeout_ms + PATIENCE_MS;
    } else {
        k->health_at_ms = now + (int64_t)k->c.health_interval_ms;
    }
}

void keeper_health_due(struct keeper *k, int64_t now)
{
    if (k->health_pid != 0) {
        (void)kill(k->health_pid, SIGKILL); /* too slow: counts as a failure */
        keeper_health_ended(k);
    } else if (k->phase == KEEPER_RUNNING) {
        begin_check(k, now);
    }
}

void keeper_health_ended(struct keeper *k)
{
    const char *before = k->health;
    int64_t now = keeper_now_ms();
    int status = 0;
    bool good;

    (void)waitpid(k->health_pid, &status, 0);
    (void)fault_step("keeper.health.reaped");
    if (k->health_pidfd >= 0) {
        (void)close(k->health_pidfd);
    }
    k->health_pidfd = -1;
    k->health_pid = 0;
    k->health_at_ms = now + (int64_t)k->c.health_interval_ms;
    good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (good) {
        k->health_failures = 0;
        k->health = "healthy";
    } else if (now - k->started_ms >= (int64_t)k->c.health_start_ms) {
        k->health_failures += 1;
        k->health = k->health_failures >= k->c.health_retries ? "unhealthy" : k->health;
    }
    if (before == NULL || strcmp(before, k->health) != 0) {
        keeper_write_status(k);
        keeper_write_event(k,
                           strcmp(k->health, "healthy") == 0 ? "healthy" : "unhealthy");
        (void)fault_step("keeper.health.told");
    }
}
