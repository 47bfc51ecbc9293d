/* request.c - the words of a request, and the disks that they name. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/err.h"
#include "base/str.h"
#include "base/units.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/tool/private.h"

/* Of every operation. */
static const char *const common[] = {"node", "top", "driver", NULL};

static bool word_is(const char *word, const char *key)
{
    size_t n = strlen(key);

    return strncmp(word, key, n) == 0 && (word[n] == '=' || word[n] == '\0');
}

const char *request_get(const struct request *r, const char *key)
{
    size_t n = strlen(key);

    for (unsigned i = 0; i < r->count; i++) {
        if (word_is(r->words[i], key)) {
            return r->words[i][n] == '=' ? r->words[i] + n + 1 : "";
        }
    }
    return NULL;
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

int request_answer(const struct request *r, const char *key, const char *value)
{
    return dprintf(r->answer_fd, "%s=%s\n", key, value) < 0 ? -errno : 0;
}

int request_answer_number(const struct request *r, const char *key, uint64_t value)
{
    return dprintf(r->answer_fd, "%s=%llu\n", key, (unsigned long long)value) < 0 ? -errno
                                                                                  : 0;
}

int request_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
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

int request_make(const struct request *r, struct blk **ret_disk)
{
    const char *top = request_get(r, "top");
    int e = graph_make(r->graph, false, r->e);

    if (e == 0) {
        *ret_disk =
            top != NULL ? graph_disk(r->graph, top, r->e) : graph_top(r->graph, r->e);
        e = *ret_disk != NULL ? 0 : -ENOENT;
    }
    return e;
}
