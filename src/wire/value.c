/* value.c - ports, volumes and restart policies as people write them. */
#include "wire/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "base/word.h"

#define PUBLISH_TEXT_BYTES 128

static int fail(struct err *e, const char *what, const char *text, const char *why)
{
    return err_set(e, -EINVAL, "'%s' is no %s: %s", text, what, why);
}

/* One decimal number of at most `most`, ending at `end`; -1 else. */
static long read_number(const char *text, const char *end, long most)
{
    long value = 0;
    if (text == end) {
        return -1;
    }
    for (; text < end; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }
        value = value * 10 + (*text - '0');
        if (value > most) {
            return -1;
        }
    }
    return value;
}

/* "80" or "80-90"; the first port and how many, or false. */
static bool read_ports(const char *text, uint16_t *ret_first, uint16_t *ret_count)
{
    const char *end = text + strlen(text);
    const char *dash = strchr(text, '-');
    long first = read_number(text, dash != NULL ? dash : end, UINT16_MAX);
    long last = dash != NULL ? read_number(dash + 1, end, UINT16_MAX) : first;
    if (first < 1 || last < first) {
        return false;
    }
    *ret_first = (uint16_t)first;
    *ret_count = (uint16_t)(last - first + 1);
    return true;
}

/* Cut "IP:" or "[IP]:" off the front; the rest begins at the return value. */
static char *cut_address(char *text, struct wire_publish *p, bool *ret_ok)
{
    char *rest = text, *ip = text;
    unsigned char raw[sizeof(struct in6_addr)];
    *ret_ok = true;
    if (*text == '[') {
        char *close = strchr(text, ']');
        *ret_ok = close != NULL && close[1] == ':';
        if (*ret_ok) {
            *close = 0;
            ip = text + 1;
            rest = close + 2;
            *ret_ok = inet_pton(AF_INET6, ip, raw) == 1;
        }
    } else if (strchr(text, '.') != NULL) {
        char *colon = strchr(text, ':');
        *ret_ok = colon != NULL;
        if (*ret_ok) {
            *colon = 0;
            rest = colon + 1;
            *ret_ok = inet_pton(AF_INET, ip, raw) == 1;
        }
    }
    if (*ret_ok && rest != text) {
        *ret_ok = str_print(p->host_ip, sizeof p->host_ip, "%s", ip) == 0;
    }
    return rest;
}

int wire_parse_publish(const char *text, struct wire_publish *ret, struct err *e)
{
    struct wire_publish p = {0};
    char copy[PUBLISH_TEXT_BYTES];
    if (str_print(copy, sizeof copy, "%s", text) < 0) {
        return fail(e, "port", text, "it is too long");
    }
    char *slash = strrchr(copy, '/');
    if (slash != NULL) {
        *slash = 0;
        p.udp = strcmp(slash + 1, "udp") == 0;
        if (!p.udp && strcmp(slash + 1, "tcp") != 0) {
            return fail(e, "port", text, "the protocol is tcp or udp");
        }
    }
    bool ok;
    char *host = cut_address(copy, &p, &ok);
    if (!ok) {
        return fail(e, "port", text, "the address is not valid");
    }
    char *colon = strchr(host, ':');
    char *guest = colon != NULL ? colon + 1 : host;
    uint16_t n_host = 0;
    if (colon != NULL) {
        *colon = 0;
    }
    if (!read_ports(guest, &p.guest_port, &p.n_ports) ||
        (colon != NULL && *host != 0 && !read_ports(host, &p.host_port, &n_host))) {
        return fail(e, "port", text, "a port is a number from 1 to 65535");
    }
    if (n_host != 0 && n_host != p.n_ports) {
        return fail(e, "port", text, "the two ranges differ in length");
    }
    *ret = p;
    return 0;
}

/* "ro", "rw", "partition=N", "key-file=/FILE". */
static bool is_volume_word(const char *word, size_t len)
{
    if (len == 2 && (memcmp(word, "ro", 2) == 0 || memcmp(word, "rw", 2) == 0)) {
        return true;
    }
    if (len > 10 && memcmp(word, "partition=", 10) == 0) {
        return read_number(word + 10, word + len, 4096) > 0;
    }
    return len > 10 && memcmp(word, "key-file=/", 10) == 0;
}

int wire_parse_volume(const char *text, struct wire_volume *ret, struct err *e)
{
    struct wire_volume v = {0};
    const char *path = strstr(text, ":/");
    const char *colon = path != NULL ? path : strchrnul(text, ':');
    if (colon == text) {
        return fail(e, "volume", text,
                    "it is written SOURCE:/PATH[:ro], or of a machine's disk NAME[:ro]");
    }
    const char *target = path != NULL ? path + 1 : colon;
    const char *option = strchr(target, ':');
    size_t target_len = option != NULL ? (size_t)(option - target) : strlen(target);
    for (const char *word = option; word != NULL; word = strchr(word, ',')) {
        size_t len = strcspn(++word, ",");
        if (!is_volume_word(word, len)) {
            return fail(e, "volume", text,
                        "what follows is ro, rw, partition=N or key-file=/FILE");
        }
        if (len == 2) {
            v.read_only = word[1] == 'o';
        }
    }
    if (str_print(v.source, sizeof v.source, "%.*s", (int)(colon - text), text) < 0 ||
        str_print(v.target, sizeof v.target, "%.*s", (int)target_len, target) < 0) {
        return fail(e, "volume", text, "a path is too long");
    }
    v.source_is_path = strchr(v.source, '/') != NULL || v.source[0] == '.';
    if (v.source_is_path ? path == NULL : !word_is_name(v.source)) {
        return fail(e, "volume", text, "its source is neither a name nor a path");
    }
    *ret = v;
    return 0;
}

int wire_parse_restart(const char *text, struct wire_restart *ret, struct err *e)
{
    static const char *const words[] = {"no", "on-failure", "always", "unless-stopped"};
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    for (unsigned i = 0; i < WIRE_RESTART_COUNT; i++) {
        if (strlen(words[i]) != len || strncmp(words[i], text, len) != 0) {
            continue;
        }
        long most = 0;
        if (colon != NULL) {
            most = read_number(colon + 1, text + strlen(text), 1000000);
        }
        if (most < 0 || (colon != NULL && i != WIRE_RESTART_ON_FAILURE)) {
            break;
        }
        ret->when = (enum wire_restart_when)i;
        ret->most = (uint32_t)most;
        return 0;
    }
    return fail(e, "restart policy", text,
                "it is no, on-failure[:N], always or unless-stopped");
}
