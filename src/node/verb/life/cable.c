/* cable.c - a network comes to a machine that was made without one, and goes again.
 *
 * The card comes as disks do (attach.c): its slot of PCI is in the record, with the network.  A
 * system that sees to its networks finds the card and asks for an address; to any other one
 * the agent gives what the network has for it. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/verb/life/private.h"
#include "node/verb/private.h"
#include "node/worker.h"

static const json_t *network_of(const struct guest *g)
{
    return json_object_get(g->record, "network");
}

unsigned life_card_slot(const struct guest *g)
{
    return (unsigned)json_integer_value(json_object_get(network_of(g), "slot"));
}

void life_want_card(struct guest *g, unsigned slot)
{
    slot = life_slot_has_disk(g, slot) ? life_free_slot(g) : slot;
    (void)json_object_set_new(g->record, "network",
                              json_pack("{s:i}", "slot", (int)slot));
}

int life_place_card(struct guest *g, struct err *e)
{
    unsigned slot = life_card_slot(g);

    if (slot == 0 || !life_slot_has_disk(g, slot)) {
        return 0;
    }
    slot = life_free_slot(g);
    (void)json_object_set_new(json_object_get(g->record, "network"), "slot",
                              json_integer((json_int_t)slot));
    return slot != 0 ? 0
                     : err_set(e, -ENOSPC,
                               "there is no room for its network card beside "
                               "the disks that it had then");
}

bool life_has_network(const struct guest *g, const char *name)
{
    const char *has = json_string_value(json_object_get(network_of(g), "name"));

    return has != NULL && strcmp(has, "none") != 0 && strcmp(has, name) == 0;
}

static bool drop_network(struct guest *g, const char *name)
{
    (void)name;
    (void)json_object_set_new(g->record, "network",
                              json_pack("{s:s, s:s}", "name", "none", "driver", "none"));
    (void)json_object_set_new(guest_config(g), "network", json_string("none"));
    return true;
}

/* The address last: what nobody has is found later, what two have is not. */
int life_forget_network(struct node *n, struct life_change *c, struct err *e)
{
    SCOPED(scope_json) json_t *record = json_deep_copy(c->g.record);
    struct guest was = c->g;
    int r = life_save(n, c, drop_network, NULL, e);

    was.record = record;
    return r < 0 ? r : net_release(n, &was, e);
}

static int record(struct node *n, struct guest *g, const char *name, struct err *e)
{
    unsigned slot = life_free_slot(g);
    int r;

    if (slot == 0) {
        return err_set(e, -ENOSPC, "guest '%s' has no room: %u devices have come",
                       guest_text(g, "name"), FAR_SLOTS);
    }
    life_want_card(g, slot);
    (void)json_object_set_new(guest_config(g), "network", json_string(name));
    r = net_allocate(n, g, e);
    if (r < 0) { /* somebody else changed the record: the address is nobody's */
        (void)net_release(n, g, NULL);
    }
    return r;
}

/* For a system that does not ask by itself. */
static void tell_agent(struct node *n, const struct guest *g, const json_t *spec)
{
    SCOPED(str_fini) struct str lines = {0};
    struct err e = {0};
    char where[PATH_MAX];
    int r;

    if (json_object_get(json_object_get(spec, "machine"), "root") == NULL) {
        return;
    }
    (void)guest_run_path(n, g->id, "", where);
    str_add(&lines, "network=");
    r = net_tell_machine(spec, &lines, &e);
    str_add(&lines, "\n");
    r = r == 0 ? far_agent_renew(where, str_text(&lines), &e) : r;
    if (r < 0) {
        log_warn(n->log, "guest '%s' has a card, and no address yet: %s",
                 guest_text(g, "name"), e.text);
    }
}

static int plug(struct node *n, const struct life_change *c, struct err *e)
{
    SCOPED(scope_json) json_t *spec = NULL;
    SCOPED(scope_json) json_t *arg = NULL;
    SCOPED(scope_close) int fd = -1;
    struct far_question q = {.verb = FAR_ATTACH, .fds = &fd, .n_fds = 1};
    char words[NET_CARD_BYTES] = "";
    int r = net_ensure_up(n, &c->g, e);

    r = r == 0 ? launch_plan_anew(n, &c->g, &spec, e) : r;
    r = r == 0 ? net_join_machine(spec, c->st.keeper, &fd, words, e) : r;
    if (r < 0) {
        return r;
    }
    arg = json_pack("{s:s}", "card", words);
    q.arg = arg;
    r = life_ask(n, &c->g, &q, NULL, e);
    if (r < 0) {
        (void)net_leave(spec, NULL);
        return r;
    }
    (void)net_write_hosts(n, &c->g, NULL);
    tell_agent(n, &c->g, spec);
    return 0;
}

int life_attach_network(struct node *n, struct life_change *c, const char *name,
                        struct err *e)
{
    struct guest *g = &c->g;
    const char *has = json_string_value(json_object_get(network_of(g), "name"));
    int r;

    if (has == NULL || strcmp(has, "none") != 0) {
        return err_set(e, -EEXIST, "guest '%s' has network '%s': a machine has one",
                       guest_text(g, "name"), has != NULL ? has : "auto");
    }
    if (strcmp(name, "none") == 0 || strcmp(name, "host") == 0) {
        return err_set(e, -EINVAL, "network '%s' has no place for a card", name);
    }
    if (json_is_true(json_object_get(guest_config(g), "deterministic"))) {
        return err_set(e, -EOPNOTSUPP,
                       "guest '%s' is deterministic: nothing comes to it from outside",
                       guest_text(g, "name"));
    }
    r = record(n, g, name, e);
    (void)fault_step("life.attach.recorded");
    if (r == 0 && guest_is_alive(&c->st)) {
        r = plug(n, c, e);
        if (r < 0) {
            (void)life_forget_network(n, c, NULL);
        }
    }
    if (r < 0) {
        return err_wrap(e, "cannot attach network '%s' to guest '%s'", name,
                        guest_text(g, "name"));
    }
    event_write(n, "attached", g, name);
    return 0;
}
