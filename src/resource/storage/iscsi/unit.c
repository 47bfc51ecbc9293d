/* unit.c - logical units: their life, who uses them, what they are told. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/sha256.h"
#include "contract/blk_ops.h"
#include "resource/storage/iscsi/scsi.h"

#define SERIAL_MOST 64
#define LUN_MOST    16383
#define TURN_NS     1000 /* the loop has run what was queued */

enum scsi_sense scsi_attention_sense(enum scsi_attention what)
{
    static const enum scsi_sense sense[SCSI_UA_COUNT] = {
        [SCSI_UA_POWER_ON] = SCSI_ASC_POWER_ON,
        [SCSI_UA_RESET] = SCSI_ASC_RESET,
        [SCSI_UA_COMMANDS_CLEARED] = SCSI_ASC_COMMANDS_CLEARED,
        [SCSI_UA_MODE_CHANGED] = SCSI_ASC_MODE_CHANGED,
        [SCSI_UA_RESERVATIONS_PREEMPTED] = SCSI_ASC_RESERVATIONS_PREEMPTED,
        [SCSI_UA_RESERVATIONS_RELEASED] = SCSI_ASC_RESERVATIONS_RELEASED,
        [SCSI_UA_REGISTRATIONS_PREEMPTED] = SCSI_ASC_REGISTRATIONS_PREEMPTED,
        [SCSI_UA_CAPACITY_CHANGED] = SCSI_ASC_CAPACITY_CHANGED,
    };

    return sense[what];
}

void scsi_attention(struct scsi_unit *u, enum scsi_attention what,
                    const struct scsi_nexus *except)
{
    for (struct scsi_nexus *n = u->nexuses; n != NULL; n = n->next) {
        if (n != except) {
            n->attentions |= 1u << what;
        }
    }
}

void scsi_nexus_enter(struct scsi_nexus *n, struct scsi_unit *u)
{
    n->unit = u;
    n->attentions = 1u << SCSI_UA_POWER_ON;
    n->next = u->nexuses;
    u->nexuses = n;
}

void scsi_nexus_leave(struct scsi_nexus *n)
{
    struct scsi_nexus **at = &n->unit->nexuses;

    while (*at != n) {
        at = &(*at)->next;
    }
    *at = n->next;
    if (n->unit->reserved == n) {
        n->unit->reserved = NULL;
    }
}

/* SAM-5 6.3.3; persistent reservations stay. */
void scsi_unit_reset(struct scsi_unit *u)
{
    u->reserved = NULL;
    u->protect = false;
    u->stopped = false;
    for (struct scsi_nexus *n = u->nexuses; n != NULL; n = n->next) {
        n->prevents = false;
    }
    scsi_attention(u, SCSI_UA_RESET, NULL);
}

bool scsi_unit_lets(const struct scsi_unit *u, const char *initiator)
{
    for (char **i = u->initiators; i != NULL && *i != NULL; i++) {
        if (strcmp(*i, initiator) == 0) {
            return true;
        }
    }
    return u->initiators == NULL;
}

static void reap_later(struct loop_task *t)
{
    scsi_unit_reap(
        (struct scsi_unit *)((char *)t - offsetof(struct scsi_unit, reap_task)));
}

static void ready(struct blk_queue *q)
{
    struct scsi_unit *u =
        (struct scsi_unit *)((char *)q - offsetof(struct scsi_unit, queue));

    loop_later(u->loop, &u->reap_task);
}

/* NAA 3h, locally assigned (SPC-4 7.8.6.6.4), and a serial number if none is given. */
static int make_names(struct scsi_unit *u, const char *serial, const char *target)
{
    char text[SERIAL_MOST];
    struct sha256 s;
    uint8_t sum[SHA256_BYTES];

    sha256_init(&s);
    sha256_add(&s, target, strlen(target));
    sha256_add(&s, &u->lun, sizeof u->lun);
    if (serial != NULL) {
        sha256_init(&s);
        sha256_add(&s, serial, strlen(serial));
    }
    sha256_end(&s, sum);
    memcpy(u->id, sum, sizeof u->id);
    u->id[0] = (uint8_t)(0x30 | (u->id[0] & 0x0f));
    (void)snprintf(text, sizeof text, "%02x%02x%02x%02x%02x%02x%02x%02x", sum[0], sum[1],
                   sum[2], sum[3], sum[4], sum[5], sum[6], sum[7]);
    u->serial = fault_strdup(serial != NULL ? serial : text);
    return u->serial == NULL ? -ENOMEM : 0;
}

static int copy_initiators(struct scsi_unit *u, const char *const *names)
{
    unsigned n = 0;

    if (names == NULL) {
        return 0;
    }
    while (names[n] != NULL) {
        n++;
    }
    u->initiators = fault_calloc(n + 1, sizeof *u->initiators);
    if (u->initiators == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < n; i++) {
        u->initiators[i] = fault_strdup(names[i]);
        if (u->initiators[i] == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

static void free_parts(struct scsi_unit *u)
{
    for (char **i = u->initiators; i != NULL && *i != NULL; i++) {
        free(*i);
    }
    free(u->initiators);
    free(u->serial);
    scsi_reservations_free(u);
    free(u);
}

static int fill_in(struct scsi_unit *u, const struct iscsi_unit_options *o,
                   const char *target, struct err *e)
{
    int r = make_names(u, o->serial, target);

    if (r == 0) {
        r = copy_initiators(u, o->initiators);
    }
    if (r == 0 && o->kept != NULL) {
        r = scsi_reservations_load(u, o->kept, o->kept_bytes);
    }
    if (r != 0) {
        return err_sys(e, r, "cannot offer unit %u of '%s'", o->lun, target);
    }
    return blk_attach(&u->edge, o->disk, e);
}

int scsi_unit_create(struct loop *l, const struct iscsi_unit_options *o,
                     const char *target, struct scsi_unit **ret_unit, struct err *e)
{
    struct scsi_unit *u;
    int r;

    if (o->lun > LUN_MOST || (o->serial != NULL && strlen(o->serial) >= SERIAL_MOST) ||
        blk_size(o->disk) == 0) {
        return err_set(e, -EINVAL,
                       "cannot offer unit %u of '%s': its number, its serial number or "
                       "its size is out of range",
                       o->lun, target);
    }
    u = fault_calloc(1, sizeof *u);
    if (u == NULL) {
        return err_sys(e, -ENOMEM, "cannot offer unit %u of '%s'", o->lun, target);
    }
    u->loop = l;
    u->lun = o->lun;
    u->read_only = o->read_only || blk_is_read_only(o->disk);
    u->keep = o->keep;
    u->shift = (uint8_t)__builtin_ctz(blk_block_bytes(o->disk));
    u->edge = (struct blk_edge){
        .user = "iSCSI unit",
        .uses = u->read_only ? (unsigned)BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE,
        .lets = BLK_USE_ALL,
    };
    u->reap_task.fn = reap_later;
    r = fill_in(u, o, target, e);
    if (r != 0) {
        free_parts(u);
        return r;
    }
    u->queue = (struct blk_queue){.disk = u->edge.disk, .ready = ready};
    u->told_bytes = blk_size(u->edge.disk);
    *ret_unit = u;
    return 0;
}

void scsi_unit_free(struct scsi_unit *u)
{
    while (u->strands > 0) {
        strand_wait(loop_strands(u->loop), &u->idle);
    }
    while (u->reap_task.queued) {
        loop_sleep(u->loop, TURN_NS);
    }
    blk_detach(&u->edge);
    free_parts(u);
}
