/* end.c - what ends guests or holds them up: stop, kill, pause, resume, delete. */
#include "node/verb/private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "contract/task.h"
#include "node/keeper/keeper.h"
#include "virt/monitor/remote/remote.h"

#define STOP_DEFAULT_MS 10000
#define STOP_GRACE_MS   5000

static int signal_number(const char *text)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT},
                 {"KILL", SIGKILL}, {"USR1", SIGUSR1},   {"USR2", SIGUSR2},
                 {"TERM", SIGTERM}, {"WINCH", SIGWINCH}, {"CONT", SIGCONT},
                 {"STOP", SIGSTOP}, {"ALRM", SIGALRM},   {"ABRT", SIGABRT}};

    int number = atoi(text);

    if (strncmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    if (strncmp(text, "RTMIN+", 6) == 0) {
        return SIGRTMIN + atoi(text + 6);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].name, text) == 0) {
            return names[i].number;
        }
    }
    return number > 0 && number <= 64 ? number : SIGTERM;
}

static int own_stop_signal(const struct guest *g)
{
    const json_t *v = json_object_get(guest_config(g), "stop_signal");
    const char *text = json_string_value(
        json_object_get(json_object_get(g->record, "image_config"), "stop_signal"));

    if (json_is_integer(v) && json_integer_value(v) > 0) {
        return (int)json_integer_value(v);
    }
    if (json_is_string(v)) {
        text = json_string_value(v);
    }
    return text != NULL && text[0] != '\0' ? signal_number(text) : SIGTERM;
}

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (unsigned char)(v >> (8 * i));
    }
}

/* The keeper presses a machine's power button; not every guest hears that, or ends its one
 * command by it. */
static int ask_agent(struct node *n, const struct guest *g, int signal)
{
    char where[PATH_MAX];

    if (!guest_is_machine(g) || signal == SIGKILL) {
        return -EOPNOTSUPP;
    }
    (void)guest_run_path(n, g->id, "", where);
    return far_agent_power(where, signal, NULL);
}

int verb_end(struct node *n, struct guest *g, int signal, uint64_t timeout_ms,
             struct err *e)
{
    const json_t *own = json_object_get(guest_config(g), "stop_timeout");
    unsigned char packet[9] = {KEEPER_STOP};
    SCOPED(scope_close) int fd = -1;
    struct guest_status st;
    struct err ended = {0};
    int code;
    int r;

    if (timeout_ms == UINT64_MAX) {
        timeout_ms =
            json_is_integer(own) ? (uint64_t)json_integer_value(own) : STOP_DEFAULT_MS;
    }
    if (timeout_ms > UINT32_MAX) {
        timeout_ms = UINT32_MAX;
    }
    put_u32(packet + 1, (uint32_t)(signal > 0 ? signal : own_stop_signal(g)));
    put_u32(packet + 5, (uint32_t)timeout_ms);
    r = guest_connect(n, g, packet, sizeof packet, &fd, &ended);
    if (r == 0) {
        (void)ask_agent(n, g, signal > 0 ? signal : own_stop_signal(g));
        (void)guest_await_end(fd, &code);
    } else if (r != -ESRCH) { /* else it ended by itself meanwhile */
        return err_set(e, r, "%s", ended.text);
    }
    guest_await_free(n, g, STOP_GRACE_MS);
    r = guest_refresh(n, g, &st, &ended); /* in case nobody else cleans up */
    return r == 0 || r == -ENOENT ? 0 : err_set(e, r, "%s", ended.text);
}

int verb_stop(struct node *n, struct guest *g, int signal, uint64_t timeout_ms,
              struct err *e)
{
    struct task *t = NULL;

    if (guest_task(n, g, &t, NULL) == 0 && task_state(t) == TASK_PAUSED) {
        (void)task_resume(t, NULL); /* or it could not end */
    }
    task_close(t);
    return verb_end(n, g, signal, timeout_ms, e);
}

/* A full disk does not keep a guest running: what could not be recorded is said, and done
 * by the next command that looks at the guest. */
static int forgive_full_disk(struct node *n, const struct guest *g, int r, struct err *e)
{
    if (r == -ENOSPC) {
        log_warn(n->log, "guest '%s' is stopped, but that is not recorded: %s",
                 guest_text(g, "name"), e != NULL ? e->text : "the disk is full");
        if (e != NULL) {
            err_clear(e);
        }
        r = 0;
    }
    return r;
}

int node_guest_stop(struct node *n, const char *guest, int signal, uint64_t timeout_ms,
                    struct err *e)
{
    struct guest_status st;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    r = forgive_full_disk(n, &g, verb_set_desired(n, &g, "stopped", e), e);
    if (r == 0 && guest_is_alive(&st)) {
        r = forgive_full_disk(n, &g, verb_stop(n, &g, signal, timeout_ms, e), e);
        if (r == 0) {
            event_write(n, "stopped", &g, NULL);
        }
    }
    guest_fini(&g);
    return r;
}

int node_guest_kill(struct node *n, const char *guest, int signal, bool all,
                    struct err *e)
{
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (!guest_is_alive(&st)) {
        r = err_set(e, -ESRCH, "cannot kill guest '%s': it is %s", guest,
                    guest_state_name(st.state));
    }
    signal = signal > 0 ? signal : SIGKILL;
    if (r == 0 && ask_agent(n, &g, signal) < 0) {
        r = guest_task(n, &g, &t, e);
        r = r < 0 ? r : task_signal(t, signal, all, e);
    }
    task_close(t);
    if (r == 0) {
        event_write(n, "killed", &g, NULL);
    }
    guest_fini(&g);
    return r;
}

static int pause_or_resume(struct node *n, const char *guest, bool pause, struct err *e)
{
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (st.state != (pause ? GUEST_RUNNING : GUEST_PAUSED)) {
        r = err_set(e, -EBUSY, "cannot %s guest '%s': it is %s, not %s",
                    pause ? "pause" : "resume", guest, guest_state_name(st.state),
                    pause ? "running" : "paused");
    }
    if (r == 0) {
        r = guest_task(n, &g, &t, e);
    }
    if (r == 0) {
        r = pause ? task_pause(t, e) : task_resume(t, e);
    }
    task_close(t);
    if (r == 0) {
        event_write(n, pause ? "paused" : "resumed", &g, NULL);
    }
    if (r == 0 && !pause) {
        life_set_clock(n, &g);
    }
    guest_fini(&g);
    return r;
}

int node_guest_pause(struct node *n, const char *guest, struct err *e)
{
    return pause_or_resume(n, guest, true, e);
}

int node_guest_resume(struct node *n, const char *guest, struct err *e)
{
    return pause_or_resume(n, guest, false, e);
}

int node_guest_delete(struct node *n, const char *guest, bool force, struct err *e)
{
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    if (guest_is_alive(&st) && !force) {
        r = err_set(e, -EBUSY,
                    "cannot delete guest '%s': it is %s (stop it first, or use --force)",
                    guest, guest_state_name(st.state));
    } else if (guest_is_alive(&st)) {
        r = verb_stop(n, &g, SIGKILL, 0, e);
    }
    if (r == 0) {
        struct err gone = {0};

        r = guest_lock_known(n, &g, VERB_LOCK_WAIT_MS, &lock, &gone);
        if (r == -ENOENT && guest_is_alive(&st)) {
            guest_fini(&g); /* it was to be removed at its end */
            return 0;
        }
        r = r < 0 ? err_set(e, r, "%s", gone.text) : 0;
    }
    if (r == 0) {
        r = delete_guest(n, &g, e);
    }
    guest_fini(&g);
    return r;
}
