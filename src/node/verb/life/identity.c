/* identity.c - a copy of a machine becomes another one than the machine it was copied from.
 *
 * One that boots is told so in its first file system.  One that goes on where the other one
 * stands has that one's name and addresses: its cards are silent until its agent has changed them.
 * Random bytes are drawn from elsewhere in every machine that goes on: somebody may have its state twice. */
#include <errno.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "node/verb/life/private.h"
#include "node/worker.h"

#define SEED_BYTES       32
#define GENERATION_BYTES 16 /* virt/monitor/identity.h */

int life_make_generation(struct guest *g, struct err *e)
{
    char id[2 * GENERATION_BYTES + 1];
    int r = guest_is_machine(g) ? word_random_id(id, 2 * GENERATION_BYTES) : 0;

    if (r == 0 && guest_is_machine(g)) {
        r = json_object_set_new(g->record, "generation", json_string(id)) < 0 ? -ENOMEM
                                                                              : 0;
    }
    return r < 0 ? err_sys(e, r, "cannot make guest '%s' another one",
                           guest_text(g, "name"))
                 : 0;
}

static bool is_copy(const struct guest *g)
{
    return guest_is_machine(g) && json_is_true(json_object_get(g->record, "copy"));
}

/* Without an agent it stays what it knows. */
static bool has_agent(const json_t *spec)
{
    return json_object_get(json_object_get(spec, "machine"), "root") != NULL;
}

void life_take_identity(const struct guest *g, json_t *spec)
{
    if (is_copy(g) && has_agent(spec)) {
        (void)json_object_set_new(json_object_get(spec, "machine"), "copy", json_true());
    }
}

static int make_lines(const struct guest *g, const json_t *spec, struct str *out,
                      struct err *e)
{
    char seed[2 * SEED_BYTES + 1];
    int r = word_random_id(seed, 2 * SEED_BYTES);

    if (r < 0) {
        return err_sys(e, r, "cannot draw random bytes");
    }
    str_addf(out, "seed=%s\n", seed);
    if (is_copy(g)) {
        str_addf(out, "host=%s\nnetwork=",
                 json_string_value(json_object_get(spec, "hostname")));
        r = net_tell_machine(spec, out, e);
        str_add(out, "\n");
    }
    return r == 0 && str_failed(out) ? err_set(e, -ENOMEM, "no memory") : r;
}

static int renew(struct node *n, const struct guest *g, const json_t *spec, struct err *e)
{
    const struct far_question cable = {.verb = FAR_CABLE};
    SCOPED(str_fini) struct str lines = {0};
    char where[PATH_MAX];
    int r = make_lines(g, spec, &lines, e);

    (void)guest_run_path(n, g->id, "", where);
    r = r == 0 ? far_agent_renew(where, str_text(&lines), e) : r;
    return r == 0 && is_copy(g) ? life_ask(n, g, &cable, NULL, e) : r;
}

void life_renew(struct node *n, struct guest *g, const json_t *spec)
{
    bool goes_on = json_object_get(json_object_get(spec, "machine"), "restore") != NULL;
    struct err e = {0};
    int r = goes_on && has_agent(spec) ? renew(n, g, spec, &e) : 0;

    if (r < 0) {
        log_warn(n->log, "guest '%s' is as it was%s: %s", guest_text(g, "name"),
                 is_copy(g) ? ", and without a network" : "", e.text);
    } else if (is_copy(g)) {
        (void)json_object_del(g->record, "copy");
        r = guest_save(n, g, &e);
        if (r < 0) {
            log_warn(n->log, "guest '%s' will be made another one again: %s",
                     guest_text(g, "name"), e.text);
        }
    }
}
