/* handshake.c - the options of fixed newstyle, until a client goes to an export.
 *
 * Everything here is foreign: lengths are checked against what was announced, data
 * of options that we do not look at is read and dropped, and a client that talks
 * for too long, or sends too many options, is let go.
 *
 * Source: doc/proto.md of the NetworkBlockDevice project, "Negotiation" and "Option
 * types". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/protocol.h"

#define OPTIONS_MOST 256 /* of one handshake */
#define GONE         1   /* the client has gone to an export */

struct option {
    struct connection *c;
    uint32_t number;
    uint32_t length;
    char *data; /* owned; `length` bytes */
    bool no_zeroes;
};

/* ---- answers ---- */

static int answer(const struct option *o, uint32_t type, const char *data, size_t bytes)
{
    char head[20];
    int r;

    nbd_put64(head, NBD_REPLY_MAGIC);
    nbd_put32(head + 8, o->number);
    nbd_put32(head + 12, type);
    nbd_put32(head + 16, (uint32_t)bytes);
    r = nbd_write_all(o->c, head, sizeof head);
    return r != 0 || bytes == 0 ? r : nbd_write_all(o->c, data, bytes);
}

static int acknowledge(const struct option *o)
{
    return answer(o, NBD_REP_ACK, NULL, 0);
}

static int refuse(const struct option *o, enum nbd_option_error why, const char *text)
{
    return answer(o, NBD_REP_ERROR | (uint32_t)why, text, strlen(text));
}

/* ---- exports ---- */

static int send_listed(const struct option *o, const struct export *x)
{
    size_t name = strlen(x->name);
    size_t text = x->description != NULL ? strlen(x->description) : 0;
    SCOPED(scope_free) char *data = fault_malloc(4 + name + text + 1);

    if (data == NULL) {
        return -ENOMEM;
    }
    nbd_put32(data, (uint32_t)name);
    memcpy(data + 4, x->name, name);
    if (text > 0) {
        memcpy(data + 4 + name, x->description, text);
    }
    return answer(o, NBD_REP_SERVER, data, 4 + name + text);
}

static int list(const struct option *o)
{
    int r = 0;

    if (o->length != 0) {
        return refuse(o, NBD_ERR_INVALID, "a list takes no data");
    }
    for (const struct export *x = o->c->server->exports; r == 0 && x != NULL;
         x = x->next) {
        r = send_listed(o, x);
    }
    return r != 0 ? r : acknowledge(o);
}

/* A string with its length before it, at `*at` of the data; NULL: it does not fit. */
static const char *next_string(const struct option *o, uint32_t *at, uint32_t *length)
{
    const char *text;

    if (o->length - *at < 4) {
        return NULL;
    }
    *length = nbd_get32(o->data + *at);
    *at += 4;
    if (*length > NBD_NAME_MOST || *length > o->length - *at) {
        return NULL;
    }
    text = o->data + *at;
    *at += *length;
    return text;
}

static int send_size(const struct option *o, const struct export *x)
{
    char info[12];

    nbd_put16(info, NBD_INFO_EXPORT);
    nbd_put64(info + 2, blk_size(x->edge.disk));
    nbd_put16(info + 10, nbd_export_flags(x));
    return answer(o, NBD_REP_INFO, info, sizeof info);
}

static int send_block_size(const struct option *o, const struct export *x)
{
    uint32_t least = blk_block_bytes(x->edge.disk);
    uint32_t best = x->edge.disk->best_bytes;
    char info[14];

    /* A power of two that divides it: NBD, doc/proto.md, "Block size constraints". */
    best &= ~best + 1;
    nbd_put16(info, NBD_INFO_BLOCK_SIZE);
    nbd_put32(info + 2, least);
    nbd_put32(info + 6, best > 4096 ? best : 4096);
    nbd_put32(info + 10, NBD_PAYLOAD_MOST);
    return answer(o, NBD_REP_INFO, info, sizeof info);
}

static int send_text(const struct option *o, uint16_t type, const char *text)
{
    size_t n = strlen(text);
    SCOPED(scope_free) char *info = fault_malloc(2 + n);

    if (info == NULL) {
        return -ENOMEM;
    }
    nbd_put16(info, type);
    memcpy(info + 2, text, n);
    return answer(o, NBD_REP_INFO, info, 2 + n);
}

static int send_wanted(const struct option *o, const struct export *x, uint32_t at)
{
    uint16_t count = nbd_get16(o->data + at);
    int r = 0;

    for (uint16_t i = 0; r == 0 && i < count; i++) {
        uint16_t type = nbd_get16(o->data + at + 2 + 2 * i);

        if (type == NBD_INFO_NAME) {
            r = send_text(o, type, x->name);
        } else if (type == NBD_INFO_DESCRIPTION && x->description != NULL) {
            r = send_text(o, type, x->description);
        }
    }
    return r;
}

static int info_or_go(struct option *o)
{
    struct connection *c = o->c;
    uint32_t at = 0;
    uint32_t length = 0;
    const char *name = next_string(o, &at, &length);
    struct export *x;
    int r;

    if (name == NULL || o->length - at < 2 ||
        o->length - at != 2u + 2u * nbd_get16(o->data + at)) {
        return refuse(o, NBD_ERR_INVALID, "the data of the option does not add up");
    }
    x = nbd_export_find(c->server, name, length);
    if (x == NULL) {
        return refuse(o, NBD_ERR_UNKNOWN, "there is no export of that name");
    }
    r = send_size(o, x);
    r = r != 0 ? r : send_block_size(o, x);
    r = r != 0 ? r : send_wanted(o, x, at);
    r = r != 0 ? r : acknowledge(o);
    if (r != 0 || o->number == NBD_OPT_INFO) {
        return r;
    }
    if (c->export != x) {
        c->context_mask = 0; /* chosen for another export */
    }
    c->export = x;
    return GONE;
}

/* The oldest way in: no answer but the export's size; a wrong name ends it all. */
static int export_name(struct option *o)
{
    struct connection *c = o->c;
    char reply[10 + 124] = {0};
    struct export *x = nbd_export_find(c->server, o->data, o->length);
    int r;

    if (x == NULL) {
        return -ENOENT;
    }
    if (c->export != x) {
        c->context_mask = 0;
    }
    c->export = x;
    nbd_put64(reply, blk_size(x->edge.disk));
    nbd_put16(reply + 8, nbd_export_flags(x));
    r = nbd_write_all(c, reply, o->no_zeroes ? 10 : sizeof reply);
    return r != 0 ? r : GONE;
}

/* ---- contexts ---- */

static const char *context_name(const struct export *x, unsigned i)
{
    return i == 0 ? "base:allocation" : x->contexts[i - 1].name;
}

/* A query names a context, or all of a name space with nothing behind its colon. */
static bool query_matches(const char *query, uint32_t length, const char *name,
                          bool lists)
{
    if (strlen(name) == length && memcmp(name, query, length) == 0) {
        return true;
    }
    return lists && length > 0 && query[length - 1] == ':' &&
           strncmp(name, query, length) == 0;
}

static int send_context(const struct option *o, const struct export *x, unsigned i,
                        bool lists)
{
    const char *name = context_name(x, i);
    size_t n = strlen(name);
    SCOPED(scope_free) char *data = fault_malloc(4 + n);

    if (data == NULL) {
        return -ENOMEM;
    }
    nbd_put32(data, lists ? 0 : i);
    memcpy(data + 4, name, n);
    return answer(o, NBD_REP_META_CONTEXT, data, 4 + n);
}

/* The contexts that the queries behind `at` name; -EINVAL: they do not add up. */
static int match_contexts(const struct option *o, const struct export *x, uint32_t at,
                          uint32_t *ret_mask)
{
    bool lists = o->number == NBD_OPT_LIST_META_CONTEXT;
    uint32_t queries = nbd_get32(o->data + at);
    uint32_t mask = 0;

    at += 4;
    if (queries == 0 && lists) {
        mask = (2u << x->context_count) - 1;
    }
    for (uint32_t q = 0; q < queries; q++) {
        uint32_t length = 0;
        const char *query = next_string(o, &at, &length);

        if (query == NULL) {
            return -EINVAL;
        }
        for (unsigned i = 0; i <= x->context_count; i++) {
            if (query_matches(query, length, context_name(x, i), lists)) {
                mask |= 1u << i;
            }
        }
    }
    *ret_mask = mask;
    return at == o->length ? 0 : -EINVAL;
}

static int meta_context(struct option *o)
{
    struct connection *c = o->c;
    bool lists = o->number == NBD_OPT_LIST_META_CONTEXT;
    uint32_t at = 0;
    uint32_t length = 0;
    uint32_t mask = 0;
    const char *name = next_string(o, &at, &length);
    struct export *x;
    int r = 0;

    if (!c->structured) {
        return refuse(o, NBD_ERR_INVALID, "needs structured replies");
    }
    if (name == NULL || o->length - at < 4) {
        return refuse(o, NBD_ERR_INVALID, "the data of the option does not add up");
    }
    x = nbd_export_find(c->server, name, length);
    if (x == NULL) {
        return refuse(o, NBD_ERR_UNKNOWN, "there is no export of that name");
    }
    if (match_contexts(o, x, at, &mask) != 0) {
        return refuse(o, NBD_ERR_INVALID, "the queries do not add up");
    }
    for (unsigned i = 0; r == 0 && i <= x->context_count; i++) {
        if ((mask & (1u << i)) != 0) {
            r = send_context(o, x, i, lists);
        }
    }
    if (!lists) {
        c->context_mask = mask;
        c->export = x;
    }
    return r != 0 ? r : acknowledge(o);
}

/* ---- the rest ---- */

static int start_tls(const struct option *o)
{
    struct connection *c = o->c;
    int r;

    if (o->length != 0) {
        return refuse(o, NBD_ERR_INVALID, "the option takes no data");
    }
    if (c->server->options.tls == NULL) {
        return refuse(o, NBD_ERR_POLICY, "TLS is not set up here");
    }
    if (c->ssl != NULL) {
        return refuse(o, NBD_ERR_INVALID, "TLS is on already");
    }
    r = acknowledge(o);
    if (r == 0) {
        c->structured = false; /* what was agreed in the clear does not count */
        c->extended = false;
        c->context_mask = 0;
        c->export = NULL;
        r = nbd_tls_accept(c, c->server->options.tls);
    }
    return r;
}

static int agree(const struct option *o, bool *on, bool *also)
{
    if (o->length != 0) {
        return refuse(o, NBD_ERR_INVALID, "the option takes no data");
    }
    *on = true;
    *also = true;
    return acknowledge(o);
}

static int take_option(struct option *o)
{
    struct connection *c = o->c;

    if (c->server->options.tls_required && c->ssl == NULL &&
        o->number != NBD_OPT_STARTTLS && o->number != NBD_OPT_ABORT) {
        if (o->number == NBD_OPT_EXPORT_NAME) {
            return -EACCES; /* it knows no refusal */
        }
        return refuse(o, NBD_ERR_TLS_REQD, "nothing is told without TLS");
    }
    switch (o->number) {
    case NBD_OPT_EXPORT_NAME:
        return export_name(o);
    case NBD_OPT_ABORT:
        (void)acknowledge(o);
        return -ECONNRESET;
    case NBD_OPT_LIST:
        return list(o);
    case NBD_OPT_STARTTLS:
        return start_tls(o);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return info_or_go(o);
    case NBD_OPT_STRUCTURED_REPLY:
        return agree(o, &c->structured, &c->structured);
    case NBD_OPT_EXTENDED_HEADERS:
        return agree(o, &c->extended, &c->structured);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return meta_context(o);
    default:
        return refuse(o, NBD_ERR_UNSUP, "the option is not known");
    }
}

/* Data of an option that is too long to look at. */
static int drop_data(const struct option *o)
{
    char room[4096];

    for (uint32_t left = o->length; left > 0;) {
        uint32_t n = left < sizeof room ? left : (uint32_t)sizeof room;
        int r = nbd_read_all(o->c, room, n);

        if (r != 0) {
            return r;
        }
        left -= n;
    }
    return refuse(o, NBD_ERR_TOO_BIG, "the data of the option is too long");
}

static int one_option(struct connection *c, bool no_zeroes)
{
    char head[16];
    struct option o = {.c = c, .no_zeroes = no_zeroes};
    SCOPED(scope_free) char *data = NULL;
    int r = nbd_read_all(c, head, sizeof head);

    if (r != 0) {
        return r;
    }
    o.number = nbd_get32(head + 8);
    o.length = nbd_get32(head + 12);
    if (nbd_get64(head) != NBD_OPTION_MAGIC || o.length > NBD_PAYLOAD_MOST) {
        return -EBADMSG;
    }
    if (o.length > NBD_OPTION_MOST) {
        return o.number == NBD_OPT_EXPORT_NAME ? -EBADMSG : drop_data(&o);
    }
    data = fault_malloc(o.length + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    o.data = data;
    r = nbd_read_all(c, data, o.length);
    return r != 0 ? r : take_option(&o);
}

int nbd_handshake(struct connection *c)
{
    char hello[18];
    char flags[4];
    int r;

    nbd_put64(hello, NBD_MAGIC);
    nbd_put64(hello + 8, NBD_OPTION_MAGIC);
    nbd_put16(hello + 16, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    r = nbd_write_all(c, hello, sizeof hello);
    r = r != 0 ? r : nbd_read_all(c, flags, sizeof flags);
    if (r == 0 &&
        (nbd_get32(flags) & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) != 0) {
        r = -EBADMSG;
    }
    for (unsigned i = 0; r == 0 && i < OPTIONS_MOST; i++) {
        r = one_option(c, (nbd_get32(flags) & NBD_NO_ZEROES) != 0);
    }
    return r == GONE ? 0 : (r == 0 ? -E2BIG : r);
}
