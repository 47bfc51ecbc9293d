/* config.c - the keeper's command line, both ways, from one table. */
#include "node/keeper/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

enum word_kind {
    WORD_TEXT,
    WORD_INT,
    WORD_U64,
    WORD_BOOL,
    WORD_RESTART
};

static const struct word {
    const char *key;
    enum word_kind kind;
    size_t at;
} words_table[] = {
    {"id", WORD_TEXT, offsetof(struct keeper_config, id)},
    {"program", WORD_TEXT, offsetof(struct keeper_config, program)},
    {"run-dir", WORD_TEXT, offsetof(struct keeper_config, run_dir)},
    {"pid", WORD_INT, offsetof(struct keeper_config, pid)},
    {"input", WORD_INT, offsetof(struct keeper_config, input)},
    {"output", WORD_INT, offsetof(struct keeper_config, output)},
    {"error", WORD_INT, offsetof(struct keeper_config, error)},
    {"master", WORD_INT, offsetof(struct keeper_config, master)},
    {"status", WORD_INT, offsetof(struct keeper_config, status)},
    {"control", WORD_INT, offsetof(struct keeper_config, control)},
    {"log", WORD_INT, offsetof(struct keeper_config, log)},
    {"log-dir", WORD_INT, offsetof(struct keeper_config, log_dir)},
    {"lock", WORD_INT, offsetof(struct keeper_config, lock)},
    {"events", WORD_INT, offsetof(struct keeper_config, events)},
    {"events-dir", WORD_INT, offsetof(struct keeper_config, events_dir)},
    {"owner", WORD_BOOL, offsetof(struct keeper_config, owner)},
    {"finishes", WORD_BOOL, offsetof(struct keeper_config, finishes)},
    {"keeps-input", WORD_BOOL, offsetof(struct keeper_config, keeps_input)},
    {"reboots", WORD_BOOL, offsetof(struct keeper_config, reboots)},
    {"restart", WORD_RESTART, offsetof(struct keeper_config, restart)},
    {"restart-most", WORD_U64, offsetof(struct keeper_config, restart_most)},
    {"run-ms", WORD_U64, offsetof(struct keeper_config, run_ms)},
    {"restarts", WORD_U64, offsetof(struct keeper_config, restarts)},
    {"backoff-ms", WORD_U64, offsetof(struct keeper_config, backoff_ms)},
    {"log-bytes", WORD_U64, offsetof(struct keeper_config, log_bytes)},
    {"log-count", WORD_U64, offsetof(struct keeper_config, log_count)},
    {"health-interval-ms", WORD_U64, offsetof(struct keeper_config, health_interval_ms)},
    {"health-timeout-ms", WORD_U64, offsetof(struct keeper_config, health_timeout_ms)},
    {"health-retries", WORD_U64, offsetof(struct keeper_config, health_retries)},
    {"health-start-ms", WORD_U64, offsetof(struct keeper_config, health_start_ms)},
};

#define WORDS_COUNT (sizeof words_table / sizeof words_table[0])

void keeper_config_init(struct keeper_config *c)
{
    memset(c, 0, sizeof *c);
    c->input = c->output = c->error = c->master = -1;
    c->status = c->control = c->log = c->log_dir = c->lock = c->events = -1;
    c->events_dir = -1;
}

static int parse_number(const char *text, int64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno != 0 || end == text || *end != '\0' ? -EINVAL : 0;
}

static int parse_value(struct keeper_config *c, const struct word *w, const char *text)
{
    void *at = (char *)c + w->at;
    int64_t n = 0;

    if (w->kind == WORD_TEXT) {
        *(const char **)at = text;
        return 0;
    }
    if (parse_number(text, &n) < 0) {
        return -EINVAL;
    }
    switch (w->kind) {
    case WORD_INT:
        *(int *)at = (int)n;
        return n < INT32_MIN || n > INT32_MAX ? -ERANGE : 0;
    case WORD_BOOL:
        *(bool *)at = n != 0;
        return 0;
    case WORD_RESTART:
        *(enum keeper_restart *)at = (enum keeper_restart)n;
        return n < 0 || n >= KEEPER_RESTART_COUNT ? -ERANGE : 0;
    case WORD_TEXT:
    case WORD_U64:
        break;
    }
    *(uint64_t *)at = (uint64_t)n;
    return n < 0 ? -ERANGE : 0;
}

static int parse_word(struct keeper_config *c, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t len = equals != NULL ? (size_t)(equals - word) : 0;
    int64_t n;

    if (len == strlen("viewer") && strncmp(word, "viewer", len) == 0) {
        if (c->n_viewers >= KEEPER_VIEWERS_MAX || parse_number(equals + 1, &n) < 0) {
            return -EINVAL;
        }
        c->viewers[c->n_viewers] = (int)n;
        c->n_viewers += 1;
        return 0;
    }
    for (size_t i = 0; i < WORDS_COUNT && len != 0; i++) {
        const struct word *w = &words_table[i];

        if (strlen(w->key) == len && strncmp(w->key, word, len) == 0) {
            return parse_value(c, w, equals + 1);
        }
    }
    return -EINVAL;
}

int keeper_config_parse(struct keeper_config *c, char *const *words, struct err *e)
{
    keeper_config_init(c);
    for (size_t i = 0; words[i] != NULL; i++) {
        int r = parse_word(c, words[i]);

        if (r < 0) {
            return err_set(e, r, "keeper: cannot use '%s'", words[i]);
        }
    }
    if (c->pid <= 0 || c->id == NULL || c->run_dir == NULL) {
        return err_set(e, -EINVAL, "keeper: 'id', 'run-dir' and 'pid' are needed");
    }
    return 0;
}

void keeper_config_words(const struct keeper_config *c, struct strv *words)
{
    for (size_t i = 0; i < WORDS_COUNT; i++) {
        const struct word *w = &words_table[i];
        const void *at = (const char *)c + w->at;

        switch (w->kind) {
        case WORD_TEXT:
            if (*(const char *const *)at != NULL) {
                strv_addf(words, "%s=%s", w->key, *(const char *const *)at);
            }
            break;
        case WORD_INT:
            strv_addf(words, "%s=%d", w->key, *(const int *)at);
            break;
        case WORD_BOOL:
            strv_addf(words, "%s=%d", w->key, *(const bool *)at ? 1 : 0);
            break;
        case WORD_RESTART:
            strv_addf(words, "%s=%d", w->key, (int)*(const enum keeper_restart *)at);
            break;
        case WORD_U64:
            strv_addf(words, "%s=%" PRIu64, w->key, *(const uint64_t *)at);
            break;
        }
    }
    for (uint64_t i = 0; i < c->n_viewers; i++) {
        strv_addf(words, "viewer=%d", c->viewers[i]);
    }
}
