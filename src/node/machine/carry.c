/* carry.c - a machine under way into files, and one that begins as files say.
 *
 * The files come from whoever asks, or with the plan: the worker opens none.  What the guest
 * has written to its disks is there before a save is answered, so that who copies them
 * meanwhile, while the machine stands still, has the disks of the same instant. */
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "node/machine/private.h"

static int need_files(const struct control_call *c, unsigned count, struct err *e)
{
    return c->n_fds == count
               ? 0
               : err_set(e, -EINVAL, "%u files are wanted behind this word, not %u",
                         count, c->n_fds);
}

int carry_save(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    bool ends = json_is_true(json_object_get(c->arg, "ends"));
    bool is_for_disks = c->n_fds == 0; /* which somebody copies without the memory */
    int r = is_for_disks ? 0 : need_files(c, 2, e);

    (void)ret;
    if (r == 0 && ends && !run->is_paused) {
        r = err_set(e, -EBUSY, "the machine is not paused");
    }
    if (r == 0 && run->plan.disks.marks > 0 && run->plan.disks.count > 0) {
        r = err_set(e, -EBUSY,
                    "what was written to its disks since it was marked is not in their "
                    "files");
    }
    r = r == 0 ? machine_pause(run->machine, e) : r;
    if (r != 0) {
        return r;
    }
    r = is_for_disks ? 0 : machine_save(run->machine, c->fds[0], c->fds[1], e);
    r = r == 0 ? drives_flush(&run->plan.disks, e) : r;
    run->is_saved = r == 0 && ends && !is_for_disks;
    (void)machine_resume(run->machine, NULL);
    return r;
}

int carry_restore(struct run *run, struct err *e)
{
    struct plan *p = &run->plan;
    int r;

    machine_set_files(run->machine, &p->files);
    r = machine_restore(run->machine, p->saved, p->memory, MACHINE_RESTORE_LAZY, e);
    (void)close(p->saved);
    (void)close(p->memory);
    p->saved = p->memory = -1;
    if (r == 0 && p->is_told) {
        (void)machine_renew(run->machine, p->options.generation);
    }
    if (r == 0 && p->is_copy) { /* the other one has its addresses */
        peripherals_link(&p->peripherals, false);
    } else if (r == 0) {
        peripherals_announce(&p->peripherals);
    }
    return r;
}

int carry_cable(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = need_files(c, 0, e);

    (void)ret;
    if (r == 0) {
        peripherals_link(&run->plan.peripherals, true);
        peripherals_announce(&run->plan.peripherals);
    }
    return r;
}

/* ---- back to a mark, and crashes ---- */

int carry_mark(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    int r = need_files(c, 1, e);

    (void)ret;
    r = r == 0 ? machine_pause(run->machine, e) : r;
    if (r != 0) {
        return r;
    }
    run->has_mark = false; /* until both have one of the same instant */
    r = machine_mark_at(run->machine, fcntl(c->fds[0], F_DUPFD_CLOEXEC, 0), e);
    r = r == 0 ? drives_mark(&run->plan.disks, e) : r;
    run->has_mark = r == 0;
    (void)machine_resume(run->machine, NULL);
    return r;
}

int carry_rewind(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct run *run = who;
    uint8_t generation[sizeof run->plan.options.generation];
    int r = need_files(c, 0, e);

    (void)ret;
    if (r == 0 && !run->has_mark) {
        r = err_set(e, -ENOENT, "there is no mark to go back to");
    }
    r = r == 0 ? machine_pause(run->machine, e) : r;
    if (r != 0) {
        return r;
    }
    r = drives_rewind(&run->plan.disks, e);
    if (r != 0) { /* some of them are */
        machine_stop(run->machine);
    }
    r = r == 0 ? machine_rewind(run->machine, e) : r;
    if (r == 0 && !run->plan.options.is_deterministic &&
        getrandom(generation, sizeof generation, 0) == sizeof generation) {
        (void)machine_renew(run->machine, generation); /* the same memory once more */
    }
    run->is_crashed = false;
    (void)machine_resume(run->machine, NULL);
    asked_write(run);
    return r;
}

int carry_dump(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    int r = need_files(c, 1, e);

    (void)ret;
    return r == 0 ? machine_dump(((struct run *)who)->machine, c->fds[0], e) : r;
}

int carry_screen(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    struct machine *m = ((struct run *)who)->machine;
    const json_t *keys = json_object_get(c->arg, "keys");
    int r = keys != NULL ? 0 : need_files(c, 1, e);
    size_t i;
    json_t *key;

    (void)ret;
    json_array_foreach(keys, i, key)
    {
        const char *word = json_string_value(key);

        r = r == 0 ? machine_type(m, word != NULL ? word : "", e) : r;
    }
    return r == 0 && keys == NULL ? machine_screen(m, c->fds[0], e) : r;
}

void carry_crashed(void *who)
{
    struct run *run = who;

    run->is_crashed = true;
    asked_write(run);
}
