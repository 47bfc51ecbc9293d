/* contract/task.c - the guard: missing slots are answered once for all kinds. */
#include "contract/task.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "base/err.h"

static int cannot(const struct task *t, const char *what, struct err *e)
{
    return err_set(e, -EOPNOTSUPP, "a guest of kind '%s' cannot %s", t->ops->kind, what);
}

int task_start(struct task *t, struct err *e)
{
    if (t->ops->start == NULL) {
        return cannot(t, "start", e);
    }
    return t->ops->start(t, e);
}

int task_signal(struct task *t, int signal, bool all, struct err *e)
{
    if (signal < 0 || signal > 64) {
        return err_set(e, -EINVAL, "%d is not a signal", signal);
    }
    if (t->ops->signal == NULL) {
        return cannot(t, "signal", e);
    }
    return t->ops->signal(t, signal, all, e);
}

int task_pause(struct task *t, struct err *e)
{
    if (t->ops->pause == NULL) {
        return cannot(t, "pause", e);
    }
    return t->ops->pause(t, e);
}

int task_resume(struct task *t, struct err *e)
{
    if (t->ops->resume == NULL) {
        return cannot(t, "resume", e);
    }
    return t->ops->resume(t, e);
}

int task_save(struct task *t, struct snap *s, struct err *e)
{
    if (t->ops->save == NULL) {
        return cannot(t, "save", e);
    }
    return t->ops->save(t, s, e);
}

int task_load(struct task *t, struct snap *s, struct err *e)
{
    if (t->ops->load == NULL) {
        return cannot(t, "load", e);
    }
    return t->ops->load(t, s, e);
}

int task_resize(struct task *t, const struct task_limits *limits, struct err *e)
{
    if (limits->cpu_weight > 10000 && limits->cpu_weight != UINT64_MAX) {
        return err_set(e, -ERANGE, "a processor weight is at most 10000");
    }
    if (t->ops->resize == NULL) {
        return cannot(t, "resize", e);
    }
    return t->ops->resize(t, limits, e);
}

int task_stats(struct task *t, struct task_stats *ret, struct err *e)
{
    if (t->ops->stats == NULL) {
        return cannot(t, "stats", e);
    }
    return t->ops->stats(t, ret, e);
}

int task_exec(struct task *t, const struct task_exec *x, int *ret_pidfd, int *ret_master,
              struct err *e)
{
    if (x->argv == NULL || x->argv[0] == NULL) {
        return err_set(e, -EINVAL, "no program to run was named");
    }
    if (t->ops->exec == NULL) {
        return cannot(t, "exec", e);
    }
    return t->ops->exec(t, x, ret_pidfd, ret_master, e);
}

int task_destroy(struct task *t, struct err *e)
{
    if (t->ops->destroy == NULL) {
        return cannot(t, "destroy", e);
    }
    return t->ops->destroy(t, e);
}

enum task_state task_state(struct task *t)
{
    return t->ops->state(t);
}

void task_close(struct task *t)
{
    if (t != NULL) {
        t->ops->close(t);
    }
}

const char *task_state_name(enum task_state s)
{
    static const char *const names[] = {"created", "running", "paused", "stopped"};

    static_assert(sizeof names / sizeof names[0] == TASK_STATE_COUNT, "a name per state");
    return (unsigned)s < TASK_STATE_COUNT ? names[s] : "unknown";
}
