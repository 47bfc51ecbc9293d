/* request.c - the words of a request, and the disks that they name. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "base/units.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/tool/private.h"

#define PROGRESS_NS 200000000u /* between two lines */

/* Of every operation. */
static const char *const common[] = {"node", "top", "driver", NULL};

static bool word_is(const char *word, const char *key)
{
    size_t n = strlen(key);

    return strncmp(word, key, n) == 0 && (word[n] == '=' || word[n] == '\0');
}

const char *request_nth(const struct request *r, const char *key, unsigned n)
{
    size_t bytes = strlen(key);

    for (unsigned i = 0; i < r->count; i++) {
        if (word_is(r->words[i], key) && n-- == 0) {
            return r->words[i][bytes] == '=' ? r->words[i] + bytes + 1 : "";
        }
    }
    return NULL;
}

const char *request_get(const struct request *r, const char *key)
{
    return request_nth(r, key, 0);
}

bool request_has(const struct request *r, const char *key)
{
    return request_get(r, key) != NULL;
}

int request_number(const struct request *r, const char *key, uint64_t without,
                   uint64_t *ret)
{
    const char *text = request_get(r, key);

    if (text == NULL) {
        *ret = without;
        return 0;
    }
    return units_parse_size(text, ret) == 0
               ? 0
               : err_set(r->e, -EINVAL, "%s=%.40s is no number", key, text);
}

static bool is_among(const char *word, const char *const *keys)
{
    while (*keys != NULL && !word_is(word, *keys)) {
        keys++;
    }
    return *keys != NULL;
}

int request_check(const struct request *r, const char *const *keys)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (!is_among(r->words[i], keys) && !is_among(r->words[i], common)) {
            return err_set(r->e, -EINVAL, "'%.*s' is no word of this operation",
                           (int)strcspn(r->words[i], "="), r->words[i]);
        }
    }
    return 0;
}

/* ---- answers ---- */

int request_answer(const struct request *r, const char *key, const char *value)
{
    struct str line = {0};
    int e = -ENOMEM;

    str_addf(&line, "%s=", key);
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;

        if (c < ' ' || c == 0x7f || c == '\\') {
            str_addf(&line, "\\x%02x", c);
        } else {
            str_add_bytes(&line, value, 1);
        }
    }
    if (!str_failed(&line)) {
        e = dprintf(r->answer_fd, "%s\n", str_text(&line)) < 0 ? -errno : 0;
    }
    str_fini(&line);
    return e;
}

int request_answer_number(const struct request *r, const char *key, uint64_t value)
{
    return dprintf(r->answer_fd, "%s=%llu\n", key, (unsigned long long)value) < 0 ? -errno
                                                                                  : 0;
}

int request_answer_flag(const struct request *r, const char *key, bool value)
{
    return request_answer(r, key, value ? "yes" : "no");
}

int request_progress(void *arg, uint64_t done, uint64_t total)
{
    struct request_progress *p = arg;
    struct signalfd_siginfo signal;
    uint64_t now = loop_now_ns(p->r->loop);

    if (read(p->r->signals, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        return -ECANCELED;
    }
    if (now - p->told_ns >= PROGRESS_NS || done == total) {
        p->told_ns = now;
        (void)dprintf(p->r->answer_fd, "progress=%llu %llu\n", (unsigned long long)done,
                      (unsigned long long)total);
    }
    return 0;
}

void request_catch_signals(struct request *r)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- disks ---- */

int request_plan(const struct request *r)
{
    int e = 0;

    for (unsigned i = 0; e == 0 && i < r->count; i++) {
        if (strncmp(r->words[i], "node=", 5) == 0) {
            e = graph_plan(r->graph, r->words[i] + 5, r->e);
        }
    }
    return e != 0 ? e : graph_make(r->graph, true, r->e);
}

/* A value in a word of a node: commas doubled. */
static void add_value(struct str *s, const char *value)
{
    for (; *value != '\0'; value++) {
        str_add_bytes(s, ",", *value == ',');
        str_add_bytes(s, value, 1);
    }
}

/* The words of one file as a node. */
static int plan_file(const struct request *r)
{
    const char *fd = request_get(r, "fd");
    struct str word = {0};
    int e;

    str_addf(&word, "file,file,%s=", fd != NULL ? "fd" : "path");
    add_value(&word, fd != NULL ? fd : request_get(r, "file"));
    str_add(&word, request_has(r, "read-only") ? ",read-only" : "");
    str_add(&word, request_has(r, "direct") ? ",direct" : "");
    e = str_failed(&word) ? err_sys(r->e, -ENOMEM, "cannot open a disk")
                          : graph_plan(r->graph, str_text(&word), r->e);
    str_fini(&word);
    return e;
}

static int plan_format(const struct request *r)
{
    const char *format = request_get(r, "format");
    struct str word = {0};
    int e;

    if (format == NULL || strcmp(format, "raw") == 0) {
        return 0;
    }
    str_add(&word, "disk,");
    add_value(&word, format);
    str_add(&word, ",file=file");
    e = str_failed(&word) ? err_sys(r->e, -ENOMEM, "cannot open a disk")
                          : graph_plan(r->graph, str_text(&word), r->e);
    str_fini(&word);
    return e;
}

int request_plan_file(const struct request *r)
{
    int e;

    if (request_has(r, "node")) {
        return request_plan(r);
    }
    if (!request_has(r, "fd") && !request_has(r, "file")) {
        return err_set(r->e, -EINVAL,
                       "no disk is named (node=NAME,TYPE... or file=PATH)");
    }
    e = plan_file(r);
    e = e != 0 ? e : plan_format(r);
    return e != 0 ? e : graph_make(r->graph, true, r->e);
}

const char *request_top(const struct request *r)
{
    const char *top = request_get(r, "top");

    return top != NULL ? top : graph_last(r->graph);
}

int request_make(const struct request *r, struct blk **ret_disk)
{
    const char *top = request_top(r);
    int e = graph_make(r->graph, false, r->e);

    if (e == 0 && ret_disk != NULL) {
        *ret_disk =
            top != NULL ? graph_disk(r->graph, top, r->e) : graph_top(r->graph, r->e);
        e = *ret_disk != NULL ? 0 : -ENOENT;
    }
    return e;
}

int request_open(const struct request *r, const char *const *keys, struct blk **ret_disk)
{
    int e = request_check(r, keys);

    e = e != 0 ? e : request_plan(r);
    e = e != 0 ? e : tool_confine(r, NULL);
    return e != 0 ? e : request_make(r, ret_disk);
}

int request_disk(const struct request *r, const char *key, struct blk **ret_disk)
{
    const char *name = request_get(r, key);

    if (name == NULL) {
        return err_set(r->e, -EINVAL, "no disk is named (%s=NODE)", key);
    }
    *ret_disk = graph_disk(r->graph, name, r->e);
    return *ret_disk != NULL ? 0 : -ENOENT;
}
