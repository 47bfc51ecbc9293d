/* reserve.c - who may use a unit: RESERVE(6), persistent reservations.
 *
 * A registration is a key of one initiator port at one target port.  A reservation
 * belongs to one registration (`holder`), or to all of them for the two types of all
 * registrants.  With APTPL everything is put down through `keep` before the command
 * ends; what could not be stored did not happen for the reader of status, who sees
 * an error, and stays in force until told otherwise.
 *
 * SPC-4 5.13, 6.15, 6.16; RESERVE(6) from SPC-2 5.5, 7.21. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/scsi.h"

enum type {
    WRITE_EXCLUSIVE = 1,
    EXCLUSIVE = 3,
    WRITE_EXCLUSIVE_REGISTRANTS = 5,
    EXCLUSIVE_REGISTRANTS = 6,
    WRITE_EXCLUSIVE_ALL = 7,
    EXCLUSIVE_ALL = 8
};

enum action_in {
    READ_KEYS,
    READ_RESERVATION,
    REPORT_CAPABILITIES,
    READ_FULL_STATUS
};

enum action_out {
    REGISTER,
    RESERVE,
    RELEASE,
    CLEAR,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER_AND_IGNORE
};

#define TYPE_MASK      0xea01 /* byte 4 and 5 of the capabilities: types 1 3 5 6 7 8 */
#define PARAMETER      24     /* bytes of PERSISTENT RESERVE OUT's list */
#define FLAG_APTPL     0x01
#define FLAG_ALL_PORTS 0x04
#define FLAG_SPEC_I_PT 0x08
#define STATUS_BYTES   24   /* of a full status descriptor before the port's name */
#define TRANSPORT_PORT 0x45 /* iSCSI, name with ISID (SPC-4 7.6.4.6) */

/* ---- registrations ---- */

static struct scsi_registration *registration_of(const struct scsi_nexus *n)
{
    struct scsi_registration *r = n->unit->registrations;

    while (r != NULL && (r->port != n->port || strcmp(r->name, n->name) != 0)) {
        r = r->next;
    }
    return r;
}

static struct scsi_nexus *nexus_of(const struct scsi_unit *u,
                                   const struct scsi_registration *r)
{
    struct scsi_nexus *n = u->nexuses;

    while (n != NULL && (r->port != n->port || strcmp(r->name, n->name) != 0)) {
        n = n->next;
    }
    return n;
}

static bool holds(const struct scsi_unit *u, const struct scsi_registration *r)
{
    return r != NULL && u->type != 0 &&
           (SCSI_ALL_REGISTRANTS_HOLD(u->type) || u->holder == r);
}

static void tell_registered(struct scsi_unit *u, enum scsi_attention what,
                            const struct scsi_nexus *except)
{
    for (struct scsi_nexus *n = u->nexuses; n != NULL; n = n->next) {
        if (n != except && registration_of(n) != NULL) {
            n->attentions |= 1u << what;
        }
    }
}

/* Take a reservation away; registrants of shared types are told. */
static void release(struct scsi_unit *u, const struct scsi_nexus *by)
{
    bool shared = u->type >= WRITE_EXCLUSIVE_REGISTRANTS;

    u->type = 0;
    u->holder = NULL;
    if (shared) {
        tell_registered(u, SCSI_UA_RESERVATIONS_RELEASED, by);
    }
}

static void unregister(struct scsi_unit *u, struct scsi_registration *r,
                       const struct scsi_nexus *by)
{
    struct scsi_registration **at = &u->registrations;
    bool held = holds(u, r);

    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    u->registration_count--;
    if (held && (!SCSI_ALL_REGISTRANTS_HOLD(u->type) || u->registration_count == 0)) {
        release(u, by);
    }
    free(r);
}

static int add(struct scsi_unit *u, const char *name, uint16_t port, uint64_t key)
{
    struct scsi_registration *r;

    if (u->registration_count >= SCSI_REGISTRATIONS) {
        return -ENOSPC;
    }
    r = fault_calloc(1, sizeof *r);
    if (r == NULL) {
        return -ENOMEM;
    }
    (void)strncpy(r->name, name, sizeof r->name - 1);
    r->port = port;
    r->key = key;
    r->next = u->registrations;
    u->registrations = r;
    u->registration_count++;
    return 0;
}

void scsi_reservations_free(struct scsi_unit *u)
{
    while (u->registrations != NULL) {
        struct scsi_registration *r = u->registrations;

        u->registrations = r->next;
        free(r);
    }
    u->registration_count = 0;
    u->holder = NULL;
    u->type = 0;
}

/* ---- who is stopped ---- */

/* How much a command that looks itself wants to change. */
static enum scsi_access own_access(const struct scsi_command *c)
{
    switch (c->cdb[0]) {
    case 0x1b: /* START STOP UNIT: starting harms nobody */
        return (c->cdb[4] & 0xf3) == 1 ? SCSI_ACCESS_UNLESS_RESERVED : SCSI_ACCESS_WRITE;
    case 0x1e: /* allowing harms nobody, even under RESERVE(6) */
        return (c->cdb[4] & 3) == 0 ? SCSI_ACCESS_ALWAYS : SCSI_ACCESS_WRITE;
    default:
        return (enum scsi_access)c->row->access;
    }
}

static bool persistent_stops(const struct scsi_command *c, enum scsi_access access)
{
    const struct scsi_unit *u = c->unit;
    const struct scsi_registration *r;

    if (u->type == 0 || access == SCSI_ACCESS_UNLESS_RESERVED) {
        return false;
    }
    r = registration_of(c->nexus);
    if (holds(u, r) || (r != NULL && u->type >= WRITE_EXCLUSIVE_REGISTRANTS)) {
        return false;
    }
    switch (u->type) {
    case WRITE_EXCLUSIVE:
    case WRITE_EXCLUSIVE_REGISTRANTS:
    case WRITE_EXCLUSIVE_ALL:
        return access == SCSI_ACCESS_WRITE;
    default:
        return true;
    }
}

bool scsi_conflicts(const struct scsi_command *c)
{
    enum scsi_access access = own_access(c);

    if (access == SCSI_ACCESS_ALWAYS || access == SCSI_ACCESS_OWN ||
        (c->unit->type == 0 && c->unit->reserved == NULL)) {
        return false;
    }
    if (c->unit->reserved != NULL && c->unit->reserved != c->nexus) {
        return true;
    }
    return persistent_stops(c, access);
}

static void conflict(struct scsi_command *c)
{
    c->status = SCSI_RESERVATION_CONFLICT;
    c->done(c);
}

void scsi_reserve6(struct scsi_command *c)
{
    struct scsi_unit *u = c->unit;

    if ((u->reserved != NULL && u->reserved != c->nexus) || u->registrations != NULL) {
        conflict(c);
        return;
    }
    u->reserved = c->nexus;
    scsi_good(c);
}

void scsi_release6(struct scsi_command *c)
{
    if (c->unit->registrations != NULL) {
        conflict(c);
        return;
    }
    if (c->unit->reserved == c->nexus) {
        c->unit->reserved = NULL;
    }
    scsi_good(c);
}

/* ---- PERSISTENT RESERVE IN ---- */

static size_t put_keys(const struct scsi_unit *u, uint8_t *b)
{
    size_t n = 8;

    for (const struct scsi_registration *r = u->registrations; r != NULL; r = r->next) {
        put64(b + n, r->key);
        n += 8;
    }
    return n;
}

static size_t put_reservation(const struct scsi_unit *u, uint8_t *b)
{
    if (u->type == 0) {
        return 8;
    }
    memset(b + 8, 0, 16);
    put64(b + 8, u->holder != NULL ? u->holder->key : 0);
    b[21] = u->type;
    return 24;
}

static size_t put_status(const struct scsi_unit *u, uint8_t *b)
{
    size_t n = 8;

    for (const struct scsi_registration *r = u->registrations; r != NULL; r = r->next) {
        uint8_t *d = b + n;
        size_t name = (strlen(r->name) + 4) & ~(size_t)3;

        memset(d, 0, STATUS_BYTES + 4 + name);
        put64(d, r->key);
        if (holds(u, r)) {
            d[12] = 1;
            d[13] = u->type;
        }
        put16(d + 18, r->port);
        put32(d + 20, (uint32_t)(4 + name));
        d[24] = TRANSPORT_PORT;
        put16(d + 26, (unsigned)name);
        memcpy(d + 28, r->name, strlen(r->name));
        n += STATUS_BYTES + 4 + name;
    }
    return n;
}

static void report_capabilities(struct scsi_command *c)
{
    uint8_t *b = c->data;

    memset(b, 0, 8);
    put16(b, 8);
    b[2] = (uint8_t)(c->unit->keep.store != NULL ? FLAG_APTPL : 0);
    b[3] = (uint8_t)(0x80 | (c->unit->persists ? 1 : 0)); /* the type mask counts */
    put16(b + 4, TYPE_MASK);
    scsi_answer(c, 8);
}

void scsi_persistent_in(struct scsi_command *c)
{
    const struct scsi_unit *u = c->unit;
    size_t n;

    if (c->row->action == REPORT_CAPABILITIES) {
        report_capabilities(c);
        return;
    }
    if (c->row->action == READ_KEYS) {
        n = put_keys(u, c->data);
    } else if (c->row->action == READ_RESERVATION) {
        n = put_reservation(u, c->data);
    } else {
        n = put_status(u, c->data);
    }
    put32(c->data, u->generation);
    put32(c->data + 4, (uint32_t)n - 8);
    scsi_answer(c, n);
}

/* ---- PERSISTENT RESERVE OUT ---- */

struct order {
    struct scsi_command *c;
    struct scsi_unit *u;
    struct scsi_registration *own; /* NULL: not registered */
    uint64_t key;
    uint64_t new_key;
    uint8_t type;
    uint8_t flags;
};

/* 0, a status as a positive number, or -errno. */
static int set_key(const struct order *o, bool ignore)
{
    struct scsi_unit *u = o->u;
    int r = 0;

    if (!ignore && o->key != (o->own != NULL ? o->own->key : 0)) {
        return SCSI_RESERVATION_CONFLICT;
    }
    if (o->own == NULL) {
        if (o->new_key != 0) {
            r = add(u, o->c->nexus->name, o->c->nexus->port, o->new_key);
        }
    } else if (o->new_key == 0) {
        unregister(u, o->own, o->c->nexus);
    } else {
        o->own->key = o->new_key;
    }
    if (r == 0) {
        u->generation++;
        u->persists = (o->flags & FLAG_APTPL) != 0;
    }
    return r;
}

static bool is_type(uint8_t type)
{
    return type == WRITE_EXCLUSIVE || type == EXCLUSIVE ||
           (type >= WRITE_EXCLUSIVE_REGISTRANTS && type <= EXCLUSIVE_ALL);
}

static void hold(const struct order *o, struct scsi_registration *by)
{
    o->u->type = o->type;
    o->u->holder = SCSI_ALL_REGISTRANTS_HOLD(o->type) ? NULL : by;
}

static int reserve(const struct order *o)
{
    struct scsi_unit *u = o->u;

    if (u->type != 0 && (!holds(u, o->own) || u->type != o->type)) {
        return SCSI_RESERVATION_CONFLICT;
    }
    hold(o, o->own);
    return 0;
}

static int let_go(const struct order *o)
{
    struct scsi_unit *u = o->u;

    if (!holds(u, o->own)) {
        return 0;
    }
    if (u->type != o->type) {
        return -EBADSLT;
    }
    release(u, o->c->nexus);
    return 0;
}

static int clear(const struct order *o)
{
    struct scsi_unit *u = o->u;

    tell_registered(u, SCSI_UA_RESERVATIONS_PREEMPTED, o->c->nexus);
    scsi_reservations_free(u);
    u->generation++;
    return 0;
}

/* Remove the registrations with a key (0: all others); how many there were. */
static unsigned remove_key(const struct order *o, uint64_t key, enum scsi_attention what)
{
    struct scsi_registration *r = o->u->registrations;
    unsigned count = 0;

    while (r != NULL) {
        struct scsi_registration *next = r->next;

        if (r != o->own && (key == 0 || r->key == key)) {
            struct scsi_nexus *n = nexus_of(o->u, r);

            if (n != NULL) {
                n->attentions |= 1u << what;
            }
            if (o->u->holder == r) {
                o->u->holder = NULL;
            }
            unregister(o->u, r, o->c->nexus);
            count++;
        }
        r = next;
    }
    return count;
}

/* Whether the key is that of the reservation, which then changes hands. */
static bool preempts(const struct order *o)
{
    const struct scsi_unit *u = o->u;

    if (u->type == 0) {
        return false;
    }
    return SCSI_ALL_REGISTRANTS_HOLD(u->type) ? o->new_key == 0
                                              : u->holder->key == o->new_key;
}

static int preempt(const struct order *o)
{
    struct scsi_unit *u = o->u;

    if (preempts(o)) {
        uint8_t before = u->type;

        u->type = 0; /* so that removing its registration does not release it */
        u->holder = NULL;
        (void)remove_key(o, o->new_key, SCSI_UA_REGISTRATIONS_PREEMPTED);
        hold(o, o->own);
        if (before != o->type) {
            tell_registered(u, SCSI_UA_RESERVATIONS_RELEASED, o->c->nexus);
        }
    } else if (o->new_key == 0) {
        return -EBADMSG;
    } else {
        bool own = o->own->key == o->new_key;

        if (remove_key(o, o->new_key, SCSI_UA_REGISTRATIONS_PREEMPTED) == 0 && !own) {
            return SCSI_RESERVATION_CONFLICT;
        }
        if (own) {
            unregister(u, o->own, o->c->nexus);
        }
    }
    u->generation++;
    return 0;
}

static int perform(const struct order *o)
{
    enum action_out action = (enum action_out)o->c->row->action;

    if (action == REGISTER || action == REGISTER_AND_IGNORE) {
        return set_key(o, action == REGISTER_AND_IGNORE);
    }
    if (o->own == NULL || o->own->key != o->key) {
        return SCSI_RESERVATION_CONFLICT;
    }
    switch (action) {
    case RESERVE:
        return reserve(o);
    case RELEASE:
        return let_go(o);
    case CLEAR:
        return clear(o);
    default:
        return preempt(o);
    }
}

/* ---- what survives ---- */

#define KEPT_MARK  0x53505231u /* "SPR1" */
#define KEPT_HEAD  16
#define KEPT_ENTRY (16 + SCSI_PORT_BYTES)

/* Without APTPL nothing is kept: an empty list. */
static int keep(const struct scsi_unit *u)
{
    unsigned n = u->persists ? u->registration_count : 0;
    size_t bytes = KEPT_HEAD + (size_t)n * KEPT_ENTRY;
    SCOPED(scope_free) uint8_t *b = NULL;
    const struct scsi_registration *r = u->registrations;

    if (u->keep.store == NULL) {
        return 0;
    }
    b = fault_calloc(1, bytes);
    if (b == NULL) {
        return -ENOMEM;
    }
    put32(b, KEPT_MARK);
    put32(b + 4, n);
    put32(b + 8, u->generation);
    b[12] = n > 0 ? u->type : 0;
    for (unsigned i = 0; i < n; i++, r = r->next) {
        uint8_t *at = b + KEPT_HEAD + (size_t)i * KEPT_ENTRY;

        put64(at, r->key);
        put16(at + 8, r->port);
        at[10] = r == u->holder;
        memcpy(at + 16, r->name, SCSI_PORT_BYTES);
    }
    return u->keep.store(u->keep.arg, b, bytes);
}

int scsi_reservations_load(struct scsi_unit *u, const void *bytes, size_t count)
{
    const uint8_t *b = bytes;
    unsigned n;

    if (count < KEPT_HEAD || get32(b) != KEPT_MARK) {
        return -EUCLEAN;
    }
    n = get32(b + 4);
    if (n > SCSI_REGISTRATIONS || count != KEPT_HEAD + (size_t)n * KEPT_ENTRY ||
        (b[12] != 0 && !is_type(b[12]))) {
        return -EUCLEAN;
    }
    for (unsigned i = n; i-- > 0;) {
        const uint8_t *at = b + KEPT_HEAD + (size_t)i * KEPT_ENTRY;
        int r = at[KEPT_ENTRY - 1] != 0 ? -EUCLEAN : 0;

        if (r == 0) {
            r = add(u, (const char *)at + 16, get16(at + 8), get64(at));
        }
        if (r != 0) {
            return r;
        }
        if (at[10] != 0) {
            u->holder = u->registrations;
        }
    }
    u->generation = get32(b + 8);
    u->type = b[12];
    u->persists = n > 0;
    if (u->type != 0 && !SCSI_ALL_REGISTRANTS_HOLD(u->type) && u->holder == NULL) {
        return -EUCLEAN;
    }
    return 0;
}

/* ---- the command ---- */

static bool check(struct scsi_command *c, const struct order *o)
{
    bool registers = c->row->action == REGISTER || c->row->action == REGISTER_AND_IGNORE;

    if ((o->flags & (FLAG_SPEC_I_PT | FLAG_ALL_PORTS)) != 0 ||
        (registers && (o->flags & FLAG_APTPL) != 0 && c->unit->keep.store == NULL)) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_PARAMETER);
        return false;
    }
    if (!registers && c->row->action != CLEAR &&
        ((c->cdb[2] >> 4) != 0 || !is_type(o->type))) {
        scsi_fail_field(c, 2);
        return false;
    }
    return true;
}

static void finish(struct scsi_command *c, int r)
{
    if (r > 0) {
        conflict(c);
    } else if (r == -EBADSLT) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_RELEASE);
    } else if (r == -EBADMSG) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_BAD_PARAMETER);
    } else if (r == -ENOSPC) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_NO_ROOM);
    } else {
        scsi_finish(c, r);
    }
}

void scsi_persistent_out(struct scsi_command *c)
{
    struct order o = {.c = c, .u = c->unit, .own = registration_of(c->nexus)};
    int r;

    if (c->wanted != PARAMETER || c->out_bytes < PARAMETER) {
        scsi_fail(c, SCSI_ILLEGAL_REQUEST, SCSI_ASC_PARAMETER_LENGTH);
        return;
    }
    o.key = get64(c->data);
    o.new_key = get64(c->data + 8);
    o.flags = c->data[20];
    o.type = c->cdb[2] & 0x0f;
    if (!check(c, &o)) {
        return;
    }
    r = perform(&o);
    if (r == 0) {
        r = keep(c->unit);
    }
    finish(c, r);
}
