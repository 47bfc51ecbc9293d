/* agent.c - what a machine's agent does before its disks are kept, and when time stood for it. */
#include <errno.h>

#include "node/verb/life/private.h"

void life_set_clock(struct node *n, const struct guest *g)
{
    char where[PATH_MAX];
    struct err e = {0};

    if (!guest_is_machine(g)) {
        return;
    }
    (void)guest_run_path(n, g->id, "", where);
    if (far_agent_set_clock(where, &e) < 0 && e.code != -EOPNOTSUPP) {
        log_warn(n->log, "the clock of guest '%s' may be behind: %s",
                 guest_text(g, "name"), e.text);
    }
}

int life_freeze(struct node *n, const struct guest *g)
{
    char where[PATH_MAX];
    struct guest_status st;
    struct err e = {0};
    int fd = -1;

    if (guest_status(n, g->id, &st, NULL) < 0 || st.state != GUEST_RUNNING) {
        return -1;
    }
    (void)guest_run_path(n, g->id, "", where);
    if (far_agent_freeze(where, &fd, &e) < 0) {
        log_warn(n->log, "the disks of guest '%s' are kept as they stand: %s",
                 guest_text(g, "name"), e.text);
    }
    return fd;
}

void life_thaw(struct node *n, const struct guest *g, int take_fd)
{
    struct err e = {0};

    if (take_fd >= 0 && far_agent_thaw(take_fd, &e) < 0) {
        log_warn(n->log, "the disks of guest '%s' are kept as they stood: %s",
                 guest_text(g, "name"), e.text);
    }
}
