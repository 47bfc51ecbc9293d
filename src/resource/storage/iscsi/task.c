/* task.c - task management: commands are taken back, units reset (RFC 7143 11.5).
 *
 * A command whose data is still to come is forgotten; one that the disk works on cannot
 * be called back, so the answer waits until it is over, and it is not answered itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/private.h"

void iscsi_task_done(struct task *t)
{
    struct connection *c = t->c;
    uint8_t *none;
    struct pdu *p;

    if (--t->waits > 0) {
        return;
    }
    c->tasks--;
    p = iscsi_pdu(0, &none);
    if (p != NULL) {
        p->head[0] = ISCSI_TASK_RESPONSE;
        p->head[1] = ISCSI_FINAL;
        p->head[2] = t->answer;
        put32(p->head + 16, t->tag);
        iscsi_send(c, p, true);
    } else {
        c->broken = true; /* it would wait for ever */
    }
    loop_later(c->server->loop, &c->send_task);
    free(t);
}

/* The commands of one session, at one unit or (NULL) at all. */
static void abort_set(struct connection *c, const struct scsi_unit *u, struct task *t)
{
    struct command *next;

    for (struct command *m = c->live; m != NULL; m = next) {
        next = m->live_next;
        if (u == NULL || m->scsi.unit == u) {
            iscsi_command_abort(m, t);
        }
    }
}

static void abort_everywhere(struct connection *c, const struct scsi_unit *u,
                             struct task *t)
{
    for (struct connection *o = c->server->connections; o != NULL; o = o->next) {
        if (o->target == c->target && o->phase == PHASE_FULL) {
            abort_set(o, u, t);
        }
    }
}

static void abort_one(struct connection *c, struct task *t)
{
    const uint8_t *h = c->incoming.head;
    struct command *m = c->live;

    while (m != NULL && m->tag != get32(h + 20)) {
        m = m->live_next;
    }
    if (m != NULL) {
        iscsi_command_abort(m, t);
    } else if ((int32_t)(get32(h + 32) - c->command_sn) >= 0) {
        t->answer = ISCSI_TASK_NONE; /* it did not come, or was not sent */
    } else {
        t->answer = ISCSI_TASK_NONE;
    }
}

static void reset_target(struct connection *c, struct task *t)
{
    abort_everywhere(c, NULL, t);
    for (struct scsi_unit *u = c->target->units; u != NULL; u = u->next) {
        scsi_unit_reset(u);
    }
}

/* Those that have to do with a unit. */
static void manage_unit(struct connection *c, struct task *t, unsigned function)
{
    struct scsi_nexus *n = iscsi_nexus(c, c->incoming.head + 8);

    if (n == NULL) {
        t->answer = ISCSI_TASK_NO_UNIT;
        return;
    }
    switch (function) {
    case ISCSI_ABORT_TASK_SET:
        abort_set(c, n->unit, t);
        break;
    case ISCSI_CLEAR_TASK_SET:
        abort_everywhere(c, n->unit, t);
        scsi_attention(n->unit, SCSI_UA_COMMANDS_CLEARED, n);
        break;
    default:
        abort_everywhere(c, n->unit, t);
        scsi_unit_reset(n->unit);
    }
}

static void manage(struct connection *c, struct task *t)
{
    unsigned function = c->incoming.head[1] & 0x7f;

    switch (function) {
    case ISCSI_ABORT_TASK:
        abort_one(c, t);
        break;
    case ISCSI_ABORT_TASK_SET:
    case ISCSI_CLEAR_TASK_SET:
    case ISCSI_LUN_RESET:
        manage_unit(c, t, function);
        break;
    case ISCSI_WARM_RESET:
    case ISCSI_COLD_RESET:
        reset_target(c, t);
        break;
    case ISCSI_REASSIGN:
        t->answer = ISCSI_TASK_NO_REASSIGN;
        break;
    case ISCSI_CLEAR_ACA:
        t->answer = ISCSI_TASK_UNSUPPORTED;
        break;
    default:
        t->answer = ISCSI_TASK_REJECTED;
    }
}

/* After a cold reset all sessions of the target end (11.5.1); the answer is first. */
static void end_sessions(struct connection *c)
{
    for (struct connection *o = c->server->connections; o != NULL; o = o->next) {
        if (o->target == c->target && o->phase == PHASE_FULL) {
            o->leaving = true;
            loop_later(c->server->loop, &o->send_task);
        }
    }
}

int iscsi_task(struct connection *c)
{
    struct task *t;

    if (c->discovery) {
        return iscsi_refuse(c, ISCSI_REJECT_PROTOCOL);
    }
    t = fault_calloc(1, sizeof *t);
    if (t == NULL) {
        return -ENOMEM;
    }
    t->c = c;
    t->tag = get32(c->incoming.head + 16);
    t->waits = 1;
    c->tasks++;
    manage(c, t);
    if ((c->incoming.head[1] & 0x7f) == ISCSI_COLD_RESET) {
        end_sessions(c);
    }
    iscsi_task_done(t);
    return 0;
}
