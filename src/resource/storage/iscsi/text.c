/* text.c - negotiation in keys and values, RFC 7143 sections 6 and 13. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resource/storage/iscsi/private.h"

char *iscsi_text_next(char **at, char *end, char **ret_value)
{
    while (*at < end) {
        char *key = *at;
        char *equals;

        *at += strlen(key) + 1;
        equals = strchr(key, '=');
        if (equals != NULL && equals != key) {
            *equals = '\0';
            *ret_value = equals + 1;
            return key;
        }
    }
    return NULL;
}

void iscsi_text_put(struct text *t, const char *key, const char *value)
{
    size_t n = strlen(key) + 1 + strlen(value) + 1;

    if (t->full || t->room - t->bytes < n) {
        t->full = true;
        return;
    }
    (void)snprintf(t->at + t->bytes, n, "%s=%s", key, value);
    t->bytes += n;
}

void iscsi_text_put_number(struct text *t, const char *key, uint32_t value)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", value);
    iscsi_text_put(t, key, text);
}

/* How the two sides' values make one (13.x: "Result function"). */
enum rule {
    RULE_LESS,   /* the smaller number */
    RULE_MORE,   /* the larger number */
    RULE_AND,    /* yes if both say so */
    RULE_OR,     /* yes if one says so */
    RULE_DIGEST, /* the first of the list that we know */
    RULE_TOLD,   /* the initiator says it, no answer */
    RULE_FIRST   /* the first of a list, whatever it is */
};

enum key {
    KEY_OTHER,
    KEY_HEADER_DIGEST,
    KEY_DATA_DIGEST,
    KEY_SEGMENT,
    KEY_BURST,
    KEY_FIRST_BURST,
    KEY_INITIAL_R2T,
    KEY_IMMEDIATE
};

struct key_row {
    const char *name;
    enum rule rule;
    uint32_t ours;
    uint32_t least;
    uint32_t most;
    enum key key;
};

/* clang-format off */
static const struct key_row keys[] = {
    {"HeaderDigest", RULE_DIGEST, 0, 0, 0, KEY_HEADER_DIGEST},
    {"DataDigest", RULE_DIGEST, 0, 0, 0, KEY_DATA_DIGEST},
    {"MaxConnections", RULE_LESS, 1, 1, 65535, KEY_OTHER},
    {"InitialR2T", RULE_OR, 0, 0, 0, KEY_INITIAL_R2T},
    {"ImmediateData", RULE_AND, 1, 0, 0, KEY_IMMEDIATE},
    {"MaxRecvDataSegmentLength", RULE_TOLD, 0, 512, 16777215, KEY_SEGMENT},
    {"MaxBurstLength", RULE_LESS, ISCSI_BURST_MOST, 512, 16777215, KEY_BURST},
    {"FirstBurstLength", RULE_LESS, ISCSI_FIRST_MOST, 512, 16777215, KEY_FIRST_BURST},
    {"DefaultTime2Wait", RULE_MORE, 0, 0, 3600, KEY_OTHER},
    {"DefaultTime2Retain", RULE_LESS, 0, 0, 3600, KEY_OTHER},
    {"MaxOutstandingR2T", RULE_LESS, 1, 1, 65535, KEY_OTHER},
    {"DataPDUInOrder", RULE_OR, 1, 0, 0, KEY_OTHER},
    {"DataSequenceInOrder", RULE_OR, 1, 0, 0, KEY_OTHER},
    {"ErrorRecoveryLevel", RULE_LESS, 0, 0, 2, KEY_OTHER},
    {"OFMarker", RULE_AND, 0, 0, 0, KEY_OTHER}, /* obsolete, refused */
    {"IFMarker", RULE_AND, 0, 0, 0, KEY_OTHER},
    {"TaskReporting", RULE_FIRST, 0, 0, 0, KEY_OTHER},
    {"iSCSIProtocolLevel", RULE_LESS, 1, 0, 31, KEY_OTHER},
};

/* clang-format on */

static bool read_number(const char *text, const struct key_row *k, uint32_t *ret)
{
    char *end = NULL;
    unsigned long v;

    if (*text < '0' || *text > '9') {
        return false;
    }
    v = strtoul(text, &end, 0);
    if (*end != '\0' || v < k->least || v > k->most) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static bool read_flag(const char *text, uint32_t *ret)
{
    *ret = strcmp(text, "Yes") == 0;
    return *ret != 0 || strcmp(text, "No") == 0;
}

/* CRC32C or None, whichever the list has first. */
static bool read_digest(const char *list, uint32_t *ret)
{
    for (const char *at = list; *at != '\0';) {
        size_t n = strcspn(at, ",");

        *ret = n == 6 && strncmp(at, "CRC32C", 6) == 0;
        if (*ret != 0 || (n == 4 && strncmp(at, "None", 4) == 0)) {
            return true;
        }
        at += n + (at[n] == ',');
    }
    return false;
}

static bool combine(const struct key_row *k, const char *value, uint32_t *ret)
{
    uint32_t v = 0;

    switch (k->rule) {
    case RULE_LESS:
        if (!read_number(value, k, &v)) {
            return false;
        }
        *ret = v < k->ours ? v : k->ours;
        return true;
    case RULE_MORE:
        if (!read_number(value, k, &v)) {
            return false;
        }
        *ret = v > k->ours ? v : k->ours;
        return true;
    case RULE_AND:
        if (!read_flag(value, &v)) {
            return false;
        }
        *ret = v & k->ours;
        return true;
    case RULE_OR:
        if (!read_flag(value, &v)) {
            return false;
        }
        *ret = v | k->ours;
        return true;
    case RULE_DIGEST:
        return read_digest(value, ret);
    case RULE_TOLD:
        return read_number(value, k, ret);
    default:
        return true;
    }
}

static void store(struct settings *s, enum key key, uint32_t v)
{
    switch (key) {
    case KEY_HEADER_DIGEST:
        s->header_digest = v != 0;
        break;
    case KEY_DATA_DIGEST:
        s->data_digest = v != 0;
        break;
    case KEY_SEGMENT:
        s->segment = v;
        break;
    case KEY_BURST:
        s->burst = v;
        break;
    case KEY_FIRST_BURST:
        s->first_burst = v;
        break;
    case KEY_INITIAL_R2T:
        s->initial_r2t = v != 0;
        break;
    case KEY_IMMEDIATE:
        s->immediate_data = v != 0;
        break;
    default:
        break;
    }
}

static void answer(const struct key_row *k, uint32_t v, const char *value, struct text *t)
{
    char first[64];

    switch (k->rule) {
    case RULE_LESS:
    case RULE_MORE:
        iscsi_text_put_number(t, k->name, v);
        break;
    case RULE_AND:
    case RULE_OR:
        iscsi_text_put(t, k->name, v != 0 ? "Yes" : "No");
        break;
    case RULE_DIGEST:
        iscsi_text_put(t, k->name, v != 0 ? "CRC32C" : "None");
        break;
    case RULE_FIRST:
        (void)snprintf(first, sizeof first, "%.*s", (int)strcspn(value, ","), value);
        iscsi_text_put(t, k->name, first);
        break;
    default:
        break;
    }
}

bool iscsi_settle(struct settings *s, const char *key, const char *value, struct text *t)
{
    for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct key_row *k = &keys[i];
        uint32_t v = 0;

        if (strcmp(k->name, key) != 0) {
            continue;
        }
        if (combine(k, value, &v)) {
            store(s, k->key, v);
            answer(k, v, value, t);
        } else {
            iscsi_text_put(t, key, "Reject");
        }
        return true;
    }
    return false;
}

static void put_target(const struct connection *c, const struct target *x, struct text *t)
{
    const struct iscsi_server *s = c->server;

    iscsi_text_put(t, "TargetName", x->name);
    for (unsigned i = 0; i < s->listen_count; i++) {
        char line[300];

        (void)snprintf(line, sizeof line, "%s,%u", s->listen[i].address,
                       s->listen[i].port);
        iscsi_text_put(t, "TargetAddress", line);
    }
}

char *iscsi_send_targets(const struct connection *c, const char *which, size_t *ret_bytes)
{
    struct text t = {0};
    bool all = strcmp(which, "All") == 0;

    for (const struct target *x = c->server->targets; x != NULL; x = x->next) {
        t.room += ISCSI_NAME_BYTES + 16 + c->server->listen_count * 320;
    }
    t.room += 64;
    t.at = fault_malloc(t.room);
    if (t.at == NULL) {
        return NULL;
    }
    if (all && !c->discovery) {
        iscsi_text_put(&t, "SendTargets", "Reject");
    } else {
        for (const struct target *x = c->server->targets; x != NULL; x = x->next) {
            bool meant =
                all || strcmp(which, x->name) == 0 || (*which == '\0' && x == c->target);

            if (meant && iscsi_target_lets(x, c->initiator)) {
                put_target(c, x, &t);
            }
        }
    }
    *ret_bytes = t.bytes;
    return t.at;
}
