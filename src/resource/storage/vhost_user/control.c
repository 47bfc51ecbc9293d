/* control.c - what each message of the front end does.
 *
 * A table says of each message how long it is, how many descriptors it may bring, and
 * whether it has an answer of its own.  Where the front end wants to know and there is
 * none, the answer is 0 or 1; where it does not, a message that fails ends the session. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "resource/storage/vhost_user/private.h"

#define OFFERED_PROTOCOL                                                                 \
    (VHOST_USER_P_MQ | VHOST_USER_P_LOG_SHMFD | VHOST_USER_P_REPLY_ACK |                 \
     VHOST_USER_P_BACKEND | VHOST_USER_P_CONFIG | VHOST_USER_P_INFLIGHT |                \
     VHOST_USER_P_RESET | VHOST_USER_P_MEM_SLOTS)

#define INFLIGHT_PADDED_BYTES 24

static uint64_t offered(const struct vhost_session *s)
{
    return virtio_blk_features(&s->server->device) | VHOST_F_LOG_ALL |
           VHOST_USER_F_PROTOCOL;
}

static unsigned queues_of(const struct vhost_session *s)
{
    return s->server->device.queues;
}

static struct vhost_ring *ring_at(struct vhost_session *s, uint64_t index)
{
    return index < queues_of(s) ? &s->ring[index] : NULL;
}

static int answer_number(struct vhost_message *m, uint64_t number)
{
    m->payload.number = number;
    m->reply_bytes = sizeof number;
    return 0;
}

/* ---- features ---- */

static int get_features(struct vhost_session *s, struct vhost_message *m)
{
    return answer_number(m, offered(s));
}

/* The format of a queue does not change while it is at work. */
static int set_features(struct vhost_session *s, struct vhost_message *m)
{
    uint64_t f = m->payload.number;

    if ((f & ~offered(s)) != 0) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < queues_of(s); i++) {
        if (s->ring[i].started && ((f ^ s->features) & VIRTQ_FEATURES) != 0) {
            return -EBUSY;
        }
    }
    s->features = f;
    s->server->device.features = f;
    vhost_memory_log(&s->memory, (f & VHOST_F_LOG_ALL) != 0);
    return 0;
}

static int get_protocol(struct vhost_session *s, struct vhost_message *m)
{
    (void)s;
    return answer_number(m, OFFERED_PROTOCOL);
}

static int set_protocol(struct vhost_session *s, struct vhost_message *m)
{
    if ((m->payload.number & ~OFFERED_PROTOCOL) != 0) {
        return -EINVAL;
    }
    s->protocol = m->payload.number;
    return 0;
}

static int nothing(struct vhost_session *s, struct vhost_message *m)
{
    (void)s;
    (void)m;
    return 0;
}

static int get_queue_num(struct vhost_session *s, struct vhost_message *m)
{
    return answer_number(m, queues_of(s));
}

/* ---- memory ---- */

/* No request is under way and none begins; in a strand. */
static void pause_rings(struct vhost_session *s)
{
    s->paused = true;
    for (unsigned i = 0; i < queues_of(s); i++) {
        vhost_ring_wait(&s->ring[i]);
    }
}

/* Rings go on, where they are still to be found; the others are broken. */
static void resume_rings(struct vhost_session *s)
{
    s->paused = false;
    for (unsigned i = 0; i < queues_of(s); i++) {
        if (vhost_ring_place(&s->ring[i]) == 0) {
            (void)vhost_ring_update(&s->ring[i]);
        }
    }
}

static int set_mem_table(struct vhost_session *s, struct vhost_message *m)
{
    const struct vhost_user_table *t = &m->payload.table;
    uint64_t bytes = offsetof(struct vhost_user_table, region);
    int r = 0;

    if (t->count > VHOST_USER_TABLE_MOST || t->count != m->fds ||
        m->head.bytes < bytes + t->count * sizeof t->region[0]) {
        return -EINVAL;
    }
    pause_rings(s);
    vhost_memory_clear(&s->memory);
    for (unsigned i = 0; i < t->count && r == 0; i++) {
        r = vhost_memory_add(&s->memory, m->fd[i], &t->region[i]);
    }
    if (r != 0) {
        vhost_memory_clear(&s->memory);
    }
    resume_rings(s);
    return r;
}

static int get_slots(struct vhost_session *s, struct vhost_message *m)
{
    (void)s;
    return answer_number(m, VHOST_MEMORY_REGIONS_MOST);
}

static int add_region(struct vhost_session *s, struct vhost_message *m)
{
    return m->fds != 1
               ? -EINVAL
               : vhost_memory_add(&s->memory, m->fd[0], &m->payload.one_region.region);
}

static int remove_region(struct vhost_session *s, struct vhost_message *m)
{
    int r;

    pause_rings(s);
    r = vhost_memory_remove(&s->memory, &m->payload.one_region.region);
    resume_rings(s);
    return r;
}

static int set_log_base(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_mapping log;
    int r = -EINVAL;

    if (m->fds == 1 && m->head.bytes == sizeof m->payload.area) {
        r = vhost_map(m->fd[0], &m->payload.area, &log);
    }
    if (r == 0) {
        vhost_unmap(&s->memory.log);
        s->memory.log = log;
        s->memory.log_bytes = m->payload.area.bytes;
    }
    return answer_number(m, r == 0 ? 0 : 1);
}

/* ---- queues ---- */

static int set_num(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *r = ring_at(s, m->payload.state.index);
    uint32_t size = m->payload.state.number;

    if (r == NULL || r->started || size == 0 || size > VIRTQ_SIZE_MOST) {
        return -EINVAL;
    }
    r->size = size;
    return 0;
}

static int set_base(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *r = ring_at(s, m->payload.state.index);

    if (r == NULL || r->started) {
        return -EINVAL;
    }
    r->base = m->payload.state.number;
    return 0;
}

/* May come again while the queue is at work: to begin or to end logging. */
static int set_addr(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *r = ring_at(s, m->payload.addresses.index);

    if (r == NULL) {
        return -EINVAL;
    }
    r->addresses = m->payload.addresses;
    r->placed = true;
    return r->started ? vhost_ring_place(r) : vhost_ring_update(r);
}

static int get_base(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *r = ring_at(s, m->payload.state.index);

    if (r == NULL) {
        return -EINVAL;
    }
    vhost_ring_stop(r);
    vhost_ring_set_kick(r, -1);
    r->kickable = false;
    vhost_ring_set_call(r, -1);
    m->payload.state.number = r->base;
    m->reply_bytes = sizeof m->payload.state;
    return 0;
}

static int set_enable(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *r = ring_at(s, m->payload.state.index);

    if (r == NULL || (s->features & VHOST_USER_F_PROTOCOL) == 0) {
        return -EINVAL;
    }
    r->enabled = m->payload.state.number != 0;
    return vhost_ring_update(r);
}

/* The queue and the eventfd (-1: none) of a message.  Only anonymous descriptors are taken,
 * and none that lets us wait. */
static int take_event(struct vhost_session *s, struct vhost_message *m,
                      struct vhost_ring **ret_ring, int *ret_fd)
{
    uint64_t v = m->payload.number;
    bool none = (v & VHOST_USER_NO_FD) != 0;
    struct stat st;
    int flags;

    *ret_ring = ring_at(s, v & VHOST_USER_INDEX_MASK);
    *ret_fd = -1;
    if (*ret_ring == NULL || m->fds != (none ? 0u : 1u)) {
        return -EINVAL;
    }
    if (none) {
        return 0;
    }
    flags = fcntl(m->fd[0], F_GETFL);
    if (fstat(m->fd[0], &st) != 0 || (st.st_mode & S_IFMT) != 0 || flags < 0 ||
        fcntl(m->fd[0], F_SETFL, flags | O_NONBLOCK) != 0) {
        return -EBADF;
    }
    *ret_fd = vhost_message_take_fd(m, 0);
    return 0;
}

static int set_kick(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *ring;
    int fd;
    int r = take_event(s, m, &ring, &fd);

    if (r != 0) {
        return r;
    }
    vhost_ring_set_kick(ring, fd);
    return vhost_ring_update(ring);
}

static int set_call(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *ring;
    int fd;
    int r = take_event(s, m, &ring, &fd);

    if (r == 0) {
        vhost_ring_set_call(ring, fd);
    }
    return r;
}

static int set_error(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_ring *ring;
    int fd;
    int r = take_event(s, m, &ring, &fd);

    if (r == 0) {
        if (ring->error >= 0) {
            (void)close(ring->error);
        }
        ring->error = fd;
    }
    return r;
}

static int reset_device(struct vhost_session *s, struct vhost_message *m)
{
    (void)m;
    for (unsigned i = 0; i < queues_of(s); i++) {
        vhost_ring_stop(&s->ring[i]);
        vhost_ring_reset(&s->ring[i]);
    }
    s->server->device.write_through = false;
    return 0;
}

/* The message of old front ends: rings are disabled, nothing is forgotten. */
static int reset_owner(struct vhost_session *s, struct vhost_message *m)
{
    (void)m;
    for (unsigned i = 0; i < queues_of(s); i++) {
        s->ring[i].enabled = false;
    }
    return 0;
}

/* ---- the account of requests under way ---- */

static int keep_inflight(struct vhost_session *s, int fd, struct vhost_user_inflight f)
{
    struct vhost_user_area area;
    struct vhost_mapping map;
    int r;

    for (unsigned i = 0; i < queues_of(s); i++) {
        if (s->ring[i].started) {
            return -EBUSY;
        }
    }
    if (f.queues == 0 || (f.area.offset & 7) != 0) {
        return -EINVAL;
    }
    area = f.area;
    r = vhost_map(fd, &area, &map);
    if (r == 0) {
        vhost_unmap(&s->inflight);
        s->inflight = map;
        s->inflight_shape = f;
    }
    return r;
}

/* Room for either format: the features may not have been settled. */
static int get_inflight(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_user_inflight *f = &m->payload.inflight;
    int fd;
    int r;

    if (f->queues == 0 || f->queues > queues_of(s) || f->size == 0 ||
        f->size > VIRTQ_SIZE_MOST || m->head.bytes > INFLIGHT_PADDED_BYTES) {
        return -EINVAL;
    }
    f->area.bytes = f->queues * vhost_inflight_bytes(true, f->size);
    f->area.offset = 0;
    fd = memfd_create("vhost-user-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    m->reply_fd = fd;
    if (ftruncate(fd, (off_t)f->area.bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return -errno;
    }
    r = keep_inflight(s, fd, *f);
    m->reply_bytes = m->head.bytes; /* QEMU pads it to 24 bytes, others do not */
    return r;
}

static int set_inflight(struct vhost_session *s, struct vhost_message *m)
{
    return m->fds != 1 ? -EINVAL : keep_inflight(s, m->fd[0], m->payload.inflight);
}

/* ---- the rest ---- */

static int set_backend(struct vhost_session *s, struct vhost_message *m)
{
    struct stat st;

    if (m->fds != 1 || fstat(m->fd[0], &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return -EINVAL;
    }
    if (s->backend >= 0) {
        (void)close(s->backend);
    }
    s->backend = vhost_message_take_fd(m, 0);
    return 0;
}

/* Nothing at all is the answer for what cannot be. */
static int get_config(struct vhost_session *s, struct vhost_message *m)
{
    struct vhost_user_config *c = &m->payload.config;
    uint32_t head = offsetof(struct vhost_user_config, payload);

    if (c->bytes <= VHOST_USER_CONFIG_MOST && c->offset <= VHOST_USER_CONFIG_MOST &&
        m->head.bytes == head + c->bytes) {
        virtio_blk_config_read(&s->server->device, c->offset, c->payload, c->bytes);
        m->reply_bytes = head + c->bytes;
    }
    return 0;
}

static int set_config(struct vhost_session *s, struct vhost_message *m)
{
    const struct vhost_user_config *c = &m->payload.config;

    if (c->bytes > VHOST_USER_CONFIG_MOST ||
        m->head.bytes != offsetof(struct vhost_user_config, payload) + c->bytes) {
        return -EINVAL;
    }
    if (c->flags == 1) {
        return 0; /* migration: what is there comes from the disk, which is the same */
    }
    return virtio_blk_config_write(&s->server->device, c->offset, c->payload, c->bytes);
}

/* ---- the table ---- */

struct handler {
    uint32_t least_bytes; /* of the payload; 0 also where there is none */
    uint32_t fds;         /* most */
    bool answers;         /* has an answer of its own */
    uint64_t needs;       /* protocol features */
    int (*fn)(struct vhost_session *s, struct vhost_message *m);
};

#define BYTES(member) sizeof(((union vhost_user_payload *)0)->member)

/* clang-format off */
static const struct handler handlers[VHOST_USER_MESSAGE_COUNT] = {
    [VHOST_USER_GET_FEATURES]          = {0, 0, true, 0, get_features},
    [VHOST_USER_SET_FEATURES]          = {BYTES(number), 0, false, 0, set_features},
    [VHOST_USER_SET_OWNER]             = {0, 0, false, 0, nothing},
    [VHOST_USER_RESET_OWNER]           = {0, 0, false, 0, reset_owner},
    [VHOST_USER_SET_MEM_TABLE]         = {8, VHOST_USER_TABLE_MOST, false, 0, set_mem_table},
    [VHOST_USER_SET_LOG_BASE]          = {BYTES(number), 1, true, VHOST_USER_P_LOG_SHMFD, set_log_base},
    [VHOST_USER_SET_LOG_FD]            = {0, 1, false, 0, nothing},
    [VHOST_USER_SET_VRING_NUM]         = {BYTES(state), 0, false, 0, set_num},
    [VHOST_USER_SET_VRING_ADDR]        = {BYTES(addresses), 0, false, 0, set_addr},
    [VHOST_USER_SET_VRING_BASE]        = {BYTES(state), 0, false, 0, set_base},
    [VHOST_USER_GET_VRING_BASE]        = {BYTES(state), 0, true, 0, get_base},
    [VHOST_USER_SET_VRING_KICK]        = {BYTES(number), 1, false, 0, set_kick},
    [VHOST_USER_SET_VRING_CALL]        = {BYTES(number), 1, false, 0, set_call},
    [VHOST_USER_SET_VRING_ERR]         = {BYTES(number), 1, false, 0, set_error},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {0, 0, true, 0, get_protocol},
    [VHOST_USER_SET_PROTOCOL_FEATURES] = {BYTES(number), 0, false, 0, set_protocol},
    [VHOST_USER_GET_QUEUE_NUM]         = {0, 0, true, VHOST_USER_P_MQ, get_queue_num},
    [VHOST_USER_SET_VRING_ENABLE]      = {BYTES(state), 0, false, 0, set_enable},
    [VHOST_USER_SET_BACKEND_FD]        = {0, 1, false, VHOST_USER_P_BACKEND, set_backend},
    [VHOST_USER_GET_CONFIG]            = {12, 0, true, VHOST_USER_P_CONFIG, get_config},
    [VHOST_USER_SET_CONFIG]            = {12, 0, false, VHOST_USER_P_CONFIG, set_config},
    [VHOST_USER_GET_INFLIGHT_FD]       = {BYTES(inflight), 0, true, VHOST_USER_P_INFLIGHT, get_inflight},
    [VHOST_USER_SET_INFLIGHT_FD]       = {BYTES(inflight), 1, false, VHOST_USER_P_INFLIGHT, set_inflight},
    [VHOST_USER_RESET_DEVICE]          = {0, 0, false, VHOST_USER_P_RESET, reset_device},
    [VHOST_USER_GET_MAX_MEM_SLOTS]     = {0, 0, true, VHOST_USER_P_MEM_SLOTS, get_slots},
    [VHOST_USER_ADD_MEM_REG]           = {BYTES(one_region), 1, false, VHOST_USER_P_MEM_SLOTS, add_region},
    [VHOST_USER_REM_MEM_REG]           = {BYTES(one_region), 1, false, VHOST_USER_P_MEM_SLOTS, remove_region},
};

/* clang-format on */

static int handle(struct vhost_session *s, struct vhost_message *m,
                  const struct handler *h)
{
    if (m->head.bytes < h->least_bytes || m->fds > h->fds ||
        (h->needs & ~s->protocol) != 0) {
        return -EPROTO;
    }
    return h->fn(s, m);
}

int vhost_session_handle(struct vhost_session *s, struct vhost_message *m)
{
    const struct handler *h =
        m->head.request < VHOST_USER_MESSAGE_COUNT ? &handlers[m->head.request] : NULL;
    bool wants_reply = (m->head.flags & VHOST_USER_NEED_REPLY) != 0 &&
                       (s->protocol & VHOST_USER_P_REPLY_ACK) != 0;
    int r = -EPROTO;

    if (h != NULL && h->fn != NULL) {
        r = handle(s, m, h);
    }
    if (h != NULL && h->answers) {
        return r != 0 ? r : vhost_message_reply(s, m);
    }
    if (!wants_reply) {
        return r;
    }
    (void)answer_number(m, r == 0 ? 0 : 1);
    return vhost_message_reply(s, m);
}
