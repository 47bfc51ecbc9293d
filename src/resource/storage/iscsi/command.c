/* command.c - SCSI commands: their data in, their turn, their answer.
 *
 * Data of a write comes with the command, unasked behind it up to FirstBurstLength, and
 * then as R2Ts ask for it, one at a time (RFC 7143 4.2.5.2).  A write gets the buffer
 * for what may come unasked at once; the whole buffer only while the session holds
 * less than `ISCSI_HELD_MOST` bytes, or it waits for others to be done. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/private.h"

#define KEEP_BYTES (256u * 1024) /* larger buffers are not kept for the next command */

/* ---- life ---- */

static struct command *get(struct connection *c)
{
    struct command *m = c->free;

    if (m != NULL) {
        c->free = m->next;
    } else {
        m = fault_calloc(1, sizeof *m);
        if (m == NULL) {
            return NULL;
        }
        m->c = c;
    }
    m->next = NULL;
    m->aborted = NULL;
    m->over = false;
    m->total = 0;
    m->got = 0;
    m->data_sn = 0;
    m->r2t_sn = 0;
    m->in_total = 0;
    m->in_sent = 0;
    m->transfer_tag = ISCSI_NO_TAG;
    c->flight++;
    return m;
}

static void enter(struct command *m)
{
    struct connection *c = m->c;

    m->live_next = c->live;
    m->live_at = &c->live;
    if (c->live != NULL) {
        c->live->live_at = &m->live_next;
    }
    c->live = m;
    c->live_count += !m->immediate;
}

static void leave(struct command *m)
{
    *m->live_at = m->live_next;
    if (m->live_next != NULL) {
        m->live_next->live_at = m->live_at;
    }
    m->c->live_count -= !m->immediate;
    m->state = STATE_ANSWERED;
}

void iscsi_command_put(struct command *m)
{
    struct connection *c = m->c;

    c->held -= m->held;
    m->held = 0;
    if (m->scsi.room > KEEP_BYTES) {
        free(m->scsi.data);
        m->scsi.data = NULL;
        m->scsi.room = 0;
    }
    m->next = c->free;
    c->free = m;
    c->flight--;
    if (c->waiting_first != NULL) {
        loop_later(c->server->loop, &c->send_task);
    }
}

static bool make_room(struct command *m, size_t bytes)
{
    struct scsi_command *s = &m->scsi;

    if (s->room < bytes) {
        size_t room = (bytes + 4095) & ~(size_t)4095;
        uint8_t *data = fault_aligned(4096, room);

        if (data == NULL) {
            return false;
        }
        if (m->got > 0) {
            memcpy(data, s->data, m->got < s->room ? m->got : s->room);
        }
        free(s->data);
        s->data = data;
        s->room = room;
    }
    m->c->held += s->room - m->held;
    m->held = s->room;
    return true;
}

struct scsi_nexus *iscsi_nexus(const struct connection *c, const uint8_t lun[8])
{
    unsigned method = lun[0] >> 6;
    unsigned number = method == 0 ? lun[1] : get16(lun) & 0x3fffu;

    if (method > 1 || (method == 0 && lun[0] != 0) || get16(lun + 2) != 0 ||
        get32(lun + 4) != 0) {
        return NULL;
    }
    for (unsigned i = 0; i < c->view.count; i++) {
        if (c->view.nexus[i].unit->lun == number) {
            return &c->view.nexus[i];
        }
    }
    return NULL;
}

/* ---- ends ---- */

static void finished(struct scsi_command *s)
{
    struct command *m = (struct command *)s;
    struct connection *c = m->c;
    struct task *t = m->aborted;

    leave(m);
    if (t != NULL || c->broken) {
        iscsi_command_put(m);
        loop_later(c->server->loop, &c->send_task);
        if (t != NULL) {
            iscsi_task_done(t);
        }
        return;
    }
    iscsi_answer(m);
}

void iscsi_command_abort(struct command *m, struct task *t)
{
    struct connection *c = m->c;
    struct command **at = &c->waiting_first;

    if (m->state == STATE_RUNNING) {
        if (t != NULL && m->aborted == NULL) {
            m->aborted = t;
            t->waits++;
        }
        return;
    }
    if (c->incoming.command == m) { /* the rest of its data goes nowhere */
        c->incoming.command = NULL;
        c->incoming.to = NULL;
    }
    if (m->state == STATE_WAITING) {
        struct command *before = NULL;

        while (*at != m) {
            before = *at;
            at = &(*at)->next;
        }
        *at = m->next;
        if (c->waiting_last == m) {
            c->waiting_last = before;
        }
    }
    leave(m);
    iscsi_command_put(m);
}

/* Over before its data came: the answer is known. */
static void answer_now(struct command *m)
{
    m->state = STATE_RUNNING;
    finished(&m->scsi);
}

static void violated(struct command *m, enum scsi_sense why)
{
    m->over = true;
    m->state = STATE_RUNNING;
    scsi_fail(&m->scsi, SCSI_ABORTED_COMMAND, why);
}

void iscsi_reap(struct connection *c)
{
    for (unsigned i = 0; i < c->view.count; i++) {
        if (c->view.nexus[i].unit->queue.done_first != NULL) {
            scsi_unit_reap(c->view.nexus[i].unit);
        }
    }
    iscsi_commands_resume(c);
}

/* ---- its turn ---- */

static void run(struct command *m)
{
    struct scsi_unit *u = m->scsi.unit;

    m->state = STATE_RUNNING;
    m->scsi.out_bytes = m->got < m->total ? m->got : m->total;
    scsi_run(&m->scsi);
    if (u != NULL && u->queue.done_first != NULL) {
        scsi_unit_reap(u);
    }
}

/* There is memory: ask for the rest of the data, or run. */
static void proceed(struct command *m)
{
    size_t room = m->scsi.out ? m->total : scsi_room(&m->scsi);

    if (!make_room(m, room)) {
        m->over = true;
        m->state = STATE_RUNNING;
        scsi_finish(&m->scsi, -ENOMEM);
        return;
    }
    if (m->got < m->total) {
        m->state = STATE_SOLICITED;
        iscsi_ask_data(m);
    } else {
        run(m);
    }
}

static void wait_or_proceed(struct command *m)
{
    struct connection *c = m->c;
    size_t room = m->scsi.out ? m->total : scsi_room(&m->scsi);

    if (room > m->held && c->held + room - m->held > ISCSI_HELD_MOST &&
        c->held > m->held) {
        m->state = STATE_WAITING;
        m->next = NULL;
        if (c->waiting_first == NULL) {
            c->waiting_first = m;
        } else {
            c->waiting_last->next = m;
        }
        c->waiting_last = m;
        return;
    }
    proceed(m);
}

void iscsi_commands_resume(struct connection *c)
{
    while (c->phase == PHASE_FULL && c->waiting_first != NULL) {
        struct command *m = c->waiting_first;
        size_t room = m->scsi.out ? m->total : scsi_room(&m->scsi);

        if (c->held + room - m->held > ISCSI_HELD_MOST && c->held > m->held) {
            return;
        }
        c->waiting_first = m->next;
        m->next = NULL;
        proceed(m);
    }
}

/* ---- a command comes ---- */

static void read_head(struct command *m, const uint8_t *h)
{
    struct scsi_nexus *n;

    m->immediate = (h[0] & ISCSI_IMMEDIATE) != 0;
    m->flags = h[1];
    memcpy(m->lun, h + 8, sizeof m->lun);
    m->tag = get32(h + 16);
    m->announced = get32(h + 20);
    m->scsi.announced = (m->flags & ISCSI_COMMAND_WRITE) != 0 ? m->announced : 0;
    n = iscsi_nexus(m->c, m->lun);
    m->scsi.nexus = n;
    m->scsi.unit = n != NULL ? n->unit : NULL;
    m->scsi.view = &m->c->view;
    m->scsi.done = finished;
    memcpy(m->scsi.cdb, h + 32, SCSI_CDB_BYTES);
}

/* How much of its data may come unasked. */
static uint32_t unasked(const struct command *m)
{
    return m->announced < m->c->settings.first_burst ? m->announced
                                                     : m->c->settings.first_burst;
}

int iscsi_command_begin(struct connection *c)
{
    struct incoming *n = &c->incoming;
    struct command *m = get(c);
    uint32_t room;

    if (m == NULL) {
        return -ENOMEM;
    }
    read_head(m, n->head);
    m->state = STATE_RECEIVING;
    enter(m);
    n->command = m;
    m->over = !scsi_prepare(&m->scsi);
    if (m->over) {
        return 0;
    }
    if (m->scsi.out && (m->flags & ISCSI_COMMAND_WRITE) != 0) {
        m->total = m->announced < m->scsi.wanted ? m->announced : m->scsi.wanted;
    }
    room = m->total < unasked(m) ? m->total : unasked(m);
    if (n->bytes > unasked(m) || (n->bytes > 0 && !c->settings.immediate_data)) {
        scsi_fail(&m->scsi, SCSI_ABORTED_COMMAND, SCSI_ASC_UNEXPECTED_DATA);
        n->command = NULL;
        return 0;
    }
    if (!make_room(m, room)) {
        m->over = true;
        m->scsi.status = SCSI_BUSY;
        return 0;
    }
    n->to = m->scsi.data;
    n->keep = n->bytes < room ? n->bytes : room;
    if (n->keep == 0) {
        n->to = NULL;
    }
    return 0;
}

int iscsi_command_came(struct connection *c)
{
    struct incoming *n = &c->incoming;
    struct command *m = n->command;

    if (m == NULL) {
        return 0;
    }
    n->command = NULL;
    m->got = n->bytes;
    if (m->over) {
        answer_now(m);
    } else if ((n->head[1] & ISCSI_FINAL) != 0 || (m->flags & ISCSI_COMMAND_WRITE) == 0 ||
               c->settings.initial_r2t) {
        if (m->got > m->total) {
            m->got = m->total;
        }
        wait_or_proceed(m);
    }
    return 0;
}

/* ---- its data comes ---- */

static struct command *find(const struct connection *c, uint32_t tag)
{
    struct command *m = c->live;

    while (m != NULL && m->tag != tag) {
        m = m->live_next;
    }
    return m;
}

int iscsi_data_begin(struct connection *c)
{
    struct incoming *n = &c->incoming;
    struct command *m = find(c, get32(n->head + 16));
    uint32_t limit;

    if (m == NULL || (m->state != STATE_RECEIVING && m->state != STATE_SOLICITED) ||
        m->over) {
        return 0; /* of a command that is over: aborted, or failed */
    }
    limit = m->state == STATE_SOLICITED ? m->burst_end : unasked(m);
    if (get32(n->head + 20) != m->transfer_tag || get32(n->head + 36) != m->data_sn) {
        violated(m, SCSI_ASC_PROTOCOL_CRC);
        return 0;
    }
    if (get32(n->head + 40) != m->got || n->bytes > limit - m->got || m->got > limit) {
        violated(m, SCSI_ASC_UNEXPECTED_DATA);
        return 0;
    }
    m->data_sn++;
    n->command = m;
    if (m->got < m->total) {
        n->to = m->scsi.data + m->got;
        n->keep = n->bytes < m->total - m->got ? n->bytes : m->total - m->got;
    }
    return 0;
}

int iscsi_data_came(struct connection *c)
{
    struct incoming *n = &c->incoming;
    struct command *m = n->command;
    bool final = (n->head[1] & ISCSI_FINAL) != 0;

    if (m == NULL) {
        return 0;
    }
    n->command = NULL;
    m->got += n->bytes;
    if (!final) {
        return 0;
    }
    if (m->state == STATE_RECEIVING) {
        if (m->got > m->total) {
            m->got = m->total;
        }
        wait_or_proceed(m);
    } else if (m->got < m->burst_end) {
        violated(m, SCSI_ASC_PROTOCOL_CRC);
    } else if (m->got < m->total) {
        iscsi_ask_data(m);
    } else {
        run(m);
    }
    return 0;
}
