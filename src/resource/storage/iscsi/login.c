/* login.c - from the first byte of a connection to the full feature phase: RFC 7143
 * sections 6.3, 11.12, 11.13.
 *
 * A strand reads requests; each may be continued over several PDUs (C bit), up to
 * `LOGIN_BYTES` of text.  Nothing is told before the initiator has named itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/private.h"

#define LOGIN_BYTES   16384u
#define STEPS_MOST    64 /* requests of one login */
#define NS_PER_SECOND INT64_C(1000000000)
#define TRANSIT       0x80
#define CONTINUE      0x40

struct login {
    struct connection *c;
    uint8_t head[ISCSI_HEAD_BYTES];
    char *in;  /* owned, LOGIN_BYTES and a NUL */
    char *out; /* owned, ISCSI_TEXT_MOST */
    size_t in_bytes;
    struct text text;
    struct chap chap;
    bool first; /* the first whole request */
    bool began; /* a head was read before: fields must be the same */
    bool auth;  /* a method was chosen */
    bool named;
    bool told_segment;
    unsigned stage;
};

static int wait_for(struct connection *c, uint32_t events)
{
    int r = loop_wait_fd(c->server->loop, c->fd, events,
                         (int64_t)c->server->options.login_seconds * NS_PER_SECOND);

    return r < 0 ? r : 0;
}

static int read_all(struct connection *c, void *to, size_t bytes)
{
    uint8_t *at = to;

    while (bytes > 0) {
        ssize_t n = recv(c->fd, at, bytes, MSG_DONTWAIT);
        int r = 0;

        if (n < 0 && errno == EAGAIN) {
            r = wait_for(c, EPOLLIN);
        } else if (n <= 0) {
            r = n == 0 ? -ECONNRESET : -errno;
        } else {
            at += n;
            bytes -= (size_t)n;
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static int write_all(struct connection *c, const void *from, size_t bytes)
{
    const uint8_t *at = from;

    while (bytes > 0) {
        ssize_t n = send(c->fd, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        int r = 0;

        if (n < 0 && errno == EAGAIN) {
            r = wait_for(c, EPOLLOUT);
        } else if (n < 0) {
            r = -errno;
        } else {
            at += n;
            bytes -= (size_t)n;
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* ---- answers ---- */

static int respond(struct login *l, unsigned status, uint8_t flags)
{
    struct connection *c = l->c;
    uint8_t head[ISCSI_HEAD_BYTES] = {ISCSI_LOGIN_RESPONSE, flags};
    size_t bytes = status == ISCSI_LOGIN_GOOD ? l->text.bytes : 0;
    static const uint8_t zeros[4];
    int r;

    put24(head + 5, (uint32_t)bytes);
    memcpy(head + 8, c->isid, sizeof c->isid);
    put16(head + 14, c->tsih);
    memcpy(head + 16, l->head + 16, 4);
    put32(head + 24, c->stat_sn++);
    put32(head + 28, c->command_sn);
    put32(head + 32, c->command_sn + ISCSI_WINDOW - 1);
    put16(head + 36, status);
    r = write_all(c, head, sizeof head);
    if (r == 0) {
        r = write_all(c, l->text.at, bytes);
    }
    return r != 0 ? r : write_all(c, zeros, -bytes & 3);
}

static int refuse(struct login *l, unsigned status)
{
    (void)respond(l, status, 0);
    return -EACCES;
}

/* ---- requests ---- */

static int read_head(struct login *l)
{
    struct connection *c = l->c;
    uint8_t h[ISCSI_HEAD_BYTES];
    int r = read_all(c, h, sizeof h);

    if (r != 0) {
        return r;
    }
    if ((h[0] & ISCSI_OPCODE_MASK) != ISCSI_LOGIN || h[4] != 0) {
        return -EPROTO;
    }
    if (!l->began) {
        l->began = true;
        memcpy(c->isid, h + 8, sizeof c->isid);
        c->cid = get16(h + 20);
        c->command_sn = get32(h + 24);
        c->stat_sn = get32(h + 28);
        l->stage = h[1] >> 2 & 3;
    } else if (memcmp(c->isid, h + 8, sizeof c->isid) != 0 || c->cid != get16(h + 20)) {
        memcpy(l->head, h, sizeof h);
        return refuse(l, ISCSI_LOGIN_BAD);
    }
    memcpy(l->head, h, sizeof h);
    if (h[3] != 0) {
        return refuse(l, ISCSI_LOGIN_VERSION);
    }
    return 0;
}

/* A whole request: its keys end up in `in`, with a NUL behind. */
static int read_request(struct login *l)
{
    l->in_bytes = 0;
    for (;;) {
        int r = read_head(l);
        uint32_t bytes = get24(l->head + 5);
        uint32_t padded = (bytes + 3) & ~3u;

        if (r != 0) {
            return r;
        }
        if (bytes > ISCSI_TEXT_MOST || l->in_bytes + padded > LOGIN_BYTES) {
            return refuse(l, ISCSI_LOGIN_NO_RESOURCES);
        }
        r = read_all(l->c, l->in + l->in_bytes, padded);
        if (r != 0) {
            return r;
        }
        l->in_bytes += bytes;
        if ((l->head[1] & CONTINUE) == 0) {
            break;
        }
        l->text.bytes = 0;
        r = respond(l, ISCSI_LOGIN_GOOD, (uint8_t)(l->head[1] & 0x0c));
        if (r != 0) {
            return r;
        }
    }
    l->in[l->in_bytes] = '\0';
    return 0;
}

/* ---- who, and to what ---- */

static const char *find_key(const struct login *l, const char *key)
{
    size_t n = strlen(key);

    for (size_t at = 0; at < l->in_bytes; at += strlen(l->in + at) + 1) {
        if (strncmp(l->in + at, key, n) == 0 && l->in[at + n] == '=') {
            return l->in + at + n + 1;
        }
    }
    return NULL;
}

static unsigned name_initiator(struct connection *c, const char *name)
{
    if (name == NULL) {
        return ISCSI_LOGIN_MISSING;
    }
    if (*name == '\0' || strlen(name) >= ISCSI_NAME_BYTES) {
        return ISCSI_LOGIN_BAD;
    }
    (void)strcpy(c->initiator, name);
    (void)snprintf(c->port_name, sizeof c->port_name, "%s,i,0x%02x%02x%02x%02x%02x%02x",
                   name, c->isid[0], c->isid[1], c->isid[2], c->isid[3], c->isid[4],
                   c->isid[5]);
    return ISCSI_LOGIN_GOOD;
}

/* The first request names both sides (6.3.1). */
static unsigned identify(struct login *l)
{
    struct connection *c = l->c;
    const char *type = find_key(l, "SessionType");
    const char *target = find_key(l, "TargetName");
    unsigned status = name_initiator(c, find_key(l, "InitiatorName"));

    if (status != ISCSI_LOGIN_GOOD) {
        return status;
    }
    c->discovery = type != NULL && strcmp(type, "Discovery") == 0;
    if (type != NULL && !c->discovery && strcmp(type, "Normal") != 0) {
        return ISCSI_LOGIN_TYPE;
    }
    if (get16(l->head + 14) != 0) {
        for (const struct connection *o = c->server->connections; o != NULL;
             o = o->next) {
            if (o != c && o->tsih == get16(l->head + 14) && o->phase == PHASE_FULL) {
                return ISCSI_LOGIN_CONNECTIONS; /* one per session */
            }
        }
        return ISCSI_LOGIN_NO_SESSION;
    }
    if (c->discovery) {
        return ISCSI_LOGIN_GOOD;
    }
    if (target == NULL) {
        return ISCSI_LOGIN_MISSING;
    }
    c->target = iscsi_target_find(c->server, target);
    if (c->target == NULL) {
        return ISCSI_LOGIN_NOT_FOUND;
    }
    if (!iscsi_target_lets(c->target, c->initiator)) {
        return ISCSI_LOGIN_FORBIDDEN;
    }
    iscsi_text_put_number(&l->text, "TargetPortalGroupTag", c->port);
    if (c->target->alias != NULL) {
        iscsi_text_put(&l->text, "TargetAlias", c->target->alias);
    }
    return ISCSI_LOGIN_GOOD;
}

/* ---- stages ---- */

static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; *at != '\0';) {
        size_t have = strcspn(at, ",");

        if (have == n && strncmp(at, word, n) == 0) {
            return true;
        }
        at += have + (at[have] == ',');
    }
    return false;
}

static bool needs_proof(const struct login *l)
{
    return l->c->target != NULL && l->c->target->user != NULL && !l->chap.proved;
}

static unsigned choose_method(struct login *l, const char *methods)
{
    const char *method = needs_proof(l) ? "CHAP" : "None";

    if (!lists(methods, method)) {
        return ISCSI_LOGIN_DENIED;
    }
    l->auth = true;
    iscsi_text_put(&l->text, "AuthMethod", method);
    return ISCSI_LOGIN_GOOD;
}

static bool is_named(const char *key)
{
    static const char *const names[] = {
        "InitiatorName", "InitiatorAlias", "TargetName",          "SessionType",
        "TargetAlias",   "TargetAddress",  "TargetPortalGroupTag"};

    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_chap(struct chap_keys *k, const char *key, const char *value)
{
    const struct {
        const char *name;
        const char **at;
    } rows[] = {{"CHAP_A", &k->algorithms},
                {"CHAP_N", &k->name},
                {"CHAP_R", &k->response},
                {"CHAP_I", &k->id},
                {"CHAP_C", &k->challenge}};

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, key) == 0) {
            *rows[i].at = value;
            return true;
        }
    }
    return false;
}

/* All keys of a request. */
static unsigned negotiate(struct login *l)
{
    struct chap_keys k = {0};
    char *at = l->in;
    char *value = NULL;
    char *key;

    while ((key = iscsi_text_next(&at, l->in + l->in_bytes, &value)) != NULL) {
        if (strcmp(key, "AuthMethod") == 0) {
            unsigned status = choose_method(l, value);

            if (status != ISCSI_LOGIN_GOOD) {
                return status;
            }
        } else if (!is_named(key) && !is_chap(&k, key, value) &&
                   !iscsi_settle(&l->c->settings, key, value, &l->text)) {
            iscsi_text_put(&l->text, key, "NotUnderstood");
        }
    }
    if (l->c->target != NULL && l->c->target->user != NULL) {
        return iscsi_chap_step(&l->chap, l->c->target, &k, &l->text);
    }
    return ISCSI_LOGIN_GOOD;
}

/* Where the login goes from here, as flags of the response; the status of a refusal is
 * written to `ret_status`. */
static uint8_t move_on(struct login *l, unsigned *ret_status)
{
    unsigned now = l->head[1] >> 2 & 3;
    unsigned next = l->head[1] & 3;

    if (now != l->stage || now > ISCSI_STAGE_OPERATION ||
        ((l->head[1] & TRANSIT) != 0 && (next <= now || next == 2))) {
        *ret_status = ISCSI_LOGIN_OUT_OF_STAGE;
        return 0;
    }
    if ((l->head[1] & TRANSIT) == 0) {
        if (now == ISCSI_STAGE_OPERATION && needs_proof(l)) {
            *ret_status = ISCSI_LOGIN_DENIED;
        }
        return (uint8_t)(now << 2);
    }
    if (needs_proof(l)) {
        if (now == ISCSI_STAGE_SECURITY && l->auth && l->chap.algorithm == 0) {
            return (uint8_t)(now << 2); /* the method is chosen, the proof to come */
        }
        *ret_status = ISCSI_LOGIN_DENIED;
        return 0;
    }
    l->stage = next;
    return (uint8_t)(TRANSIT | now << 2 | next);
}

static unsigned step(struct login *l, uint8_t *ret_flags)
{
    unsigned status = ISCSI_LOGIN_GOOD;

    l->text = (struct text){.at = l->out, .room = ISCSI_TEXT_MOST};
    if (!l->named) {
        status = identify(l);
        l->named = status == ISCSI_LOGIN_GOOD;
    }
    if (status == ISCSI_LOGIN_GOOD) {
        status = negotiate(l);
    }
    if (status == ISCSI_LOGIN_GOOD && (l->head[1] >> 2 & 3) == ISCSI_STAGE_OPERATION &&
        !l->told_segment) {
        l->told_segment = true;
        iscsi_text_put_number(&l->text, "MaxRecvDataSegmentLength", ISCSI_SEGMENT_MOST);
    }
    if (status == ISCSI_LOGIN_GOOD) {
        *ret_flags = move_on(l, &status);
    }
    if (status == ISCSI_LOGIN_GOOD && l->text.full) {
        status = ISCSI_LOGIN_NO_RESOURCES;
    }
    return status;
}

/* A handle that no session has. */
static uint16_t new_handle(struct iscsi_server *s)
{
    for (;;) {
        const struct connection *c = s->connections;
        uint16_t h = ++s->last_tsih;

        while (c != NULL && c->tsih != h) {
            c = c->next;
        }
        if (h != 0 && c == NULL) {
            return h;
        }
    }
}

static int begin_session(struct login *l)
{
    struct connection *c = l->c;

    if (c->settings.first_burst > c->settings.burst) {
        c->settings.first_burst = c->settings.burst;
    }
    iscsi_reinstate(c);
    if (iscsi_enter_units(c) != 0) {
        return refuse(l, ISCSI_LOGIN_NO_RESOURCES);
    }
    c->tsih = new_handle(c->server);
    return 0;
}

static int run(struct login *l)
{
    for (unsigned i = 0; i < STEPS_MOST; i++) {
        int r = read_request(l);
        uint8_t flags = 0;
        unsigned status;

        if (r != 0) {
            return r;
        }
        status = step(l, &flags);
        if (status != ISCSI_LOGIN_GOOD) {
            return refuse(l, status);
        }
        if (l->stage == ISCSI_STAGE_FULL) {
            r = begin_session(l);
            return r != 0 ? r : respond(l, ISCSI_LOGIN_GOOD, flags);
        }
        r = respond(l, ISCSI_LOGIN_GOOD, flags);
        if (r != 0) {
            return r;
        }
    }
    return -EPROTO;
}

int iscsi_login(struct connection *c)
{
    SCOPED(scope_free) char *in = fault_malloc(LOGIN_BYTES + 1);
    SCOPED(scope_free) char *out = fault_malloc(ISCSI_TEXT_MOST);
    SCOPED(scope_free) struct login *l = fault_calloc(1, sizeof *l);

    if (in == NULL || out == NULL || l == NULL) {
        return -ENOMEM;
    }
    /* What holds where nothing is negotiated, section 13. */
    c->settings = (struct settings){.segment = 8192,
                                    .burst = 262144,
                                    .first_burst = 65536,
                                    .initial_r2t = true,
                                    .immediate_data = true};
    l->c = c;
    l->in = in;
    l->out = out;
    return run(l);
}
