/* convert.c - one word becomes one value of a row's type. */
#include "cli/convert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/err.h"
#include "base/units.h"
#include "base/word.h"

#define IMAGE_TEXT_MOST 512 /* bytes of an image's reference */

/* "cannot use '--memory 12Q': WHY", or "cannot use NAME 'a b': WHY". */
static int refuse(const struct wire_item *item, const char *text, const char *why,
                  struct err *e)
{
    if ((item->flags & WIRE_POSITIONAL) != 0) {
        return err_set(e, -EINVAL, "cannot use '%s' as %s: %s", text,
                       wire_text(item->value), why);
    }
    return err_set(e, -EINVAL, "cannot use '--%s %s': %s", wire_text(item->name), text,
                   why);
}

static int parse_u64(const char *text, uint64_t *ret)
{
    uint64_t value = 0;
    if (*text == 0) {
        return -EINVAL;
    }
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9') {
            return -EINVAL;
        }
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value)) {
            return -ERANGE;
        }
    }
    *ret = value;
    return 0;
}

/* Less than the smallest part of one, of a number that is refused for its size. */
static bool is_tiny(const char *text)
{
    return text[0] == '0' && strchr(".m", text[strspn(text, "0")]) != NULL;
}

static int convert_number(const struct wire_item *item, const char *text, void *to,
                          struct err *e)
{
    static const struct {
        int (*parse)(const char *, uint64_t *);
        const char *why;
    } kinds[WIRE_TYPE_COUNT] = {
        [WIRE_SIZE] = {units_parse_size, "it is no size (512M, 2G)"},
        [WIRE_DURATION] = {units_parse_duration, "it is no duration (10s, 5m)"},
        [WIRE_CPUS] = {units_parse_cpus, "it is no number of processors (2, 0.5)"},
        [WIRE_U64] = {parse_u64, "it is no number"},
    };

    uint64_t value = WIRE_NONE;
    if ((item->flags & WIRE_NONE_OK) == 0 || strcmp(text, "none") != 0) {
        int r = kinds[item->type].parse(text, &value);
        if (r == -ERANGE) {
            return refuse(item, text,
                          is_tiny(text) ? "it is too small" : "it is too large", e);
        }
        if (r < 0) {
            return refuse(item, text, kinds[item->type].why, e);
        }
        if (value < item->least) {
            return refuse(item, text, "it is too small", e);
        }
        if (value > item->most) {
            return refuse(item, text, "it is too large", e);
        }
    }
    memcpy(to, &value, sizeof value);
    return 0;
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int convert_when(const struct wire_item *item, const char *text, void *to,
                        struct err *e)
{
    int64_t when = 0;
    uint64_t ago_ms;
    if (units_parse_time(text, &when) < 0) {
        int64_t now = now_ns();
        if (units_parse_duration(text, &ago_ms) < 0 || ago_ms > (uint64_t)now / 1000000) {
            return refuse(item, text,
                          "it is neither a time (2026-01-02T03:04:05Z) nor a duration "
                          "before now (10m)",
                          e);
        }
        when = now - (int64_t)ago_ms * 1000000;
    }
    memcpy(to, &when, sizeof when);
    return 0;
}

int convert_signal(const char *text)
{
    uint64_t number;
    if (parse_u64(text, &number) == 0) {
        return number >= 1 && number < NSIG ? (int)number : 0;
    }
    if (strncasecmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    if (strncasecmp(text, "RTMIN+", 6) == 0 && parse_u64(text + 6, &number) == 0 &&
        number <= (uint64_t)(SIGRTMAX - SIGRTMIN)) {
        return SIGRTMIN + (int)number;
    }
    for (int s = 1; s < NSIG; s++) {
        const char *name = sigabbrev_np(s);
        if (name != NULL && strcasecmp(name, text) == 0) {
            return s;
        }
    }
    return 0;
}

static int convert_one_of(const struct wire_item *item, const char *text, void *to,
                          struct err *e)
{
    const char *words[UINT8_MAX];
    for (unsigned i = 0; i < item->n_words; i++) {
        words[i] = wire_word(item->words, i);
        if (strcmp(words[i], text) == 0) {
            unsigned value = i + item->first_word;
            memcpy(to, &value, sizeof value);
            return 0;
        }
    }
    struct str why = {0};
    const char *nearest = word_nearest(text, words, item->n_words);
    if (nearest != NULL) {
        str_addf(&why, "did you mean '%s'?", nearest);
    } else {
        str_add(&why, "it is none of ");
        for (unsigned i = 0; i < item->n_words; i++) {
            str_addf(&why, "%s%s", i > 0 ? ", " : "", words[i]);
        }
    }
    int r = refuse(item, text, str_text(&why), e);
    str_fini(&why);
    return r;
}

static int convert_bool(const struct wire_item *item, const char *text, void *to,
                        struct err *e)
{
    bool yes = strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "no") != 0) {
        return refuse(item, text, "it is neither true nor false", e);
    }
    memcpy(to, &yes, sizeof yes);
    return 0;
}

/* K=V as it is; K with the caller's value; NULL when that is not set. */
static int convert_env(const struct wire_item *item, const char *text,
                       const char **ret_text, struct strv *made, struct err *e)
{
    *ret_text = text;
    if (*text == 0 || *text == '=') {
        return refuse(item, text, "it has no name (K=V)", e);
    }
    if (strchr(text, '=') != NULL) {
        return 0;
    }
    const char *value = getenv(text);
    *ret_text = NULL;
    if (value != NULL) {
        strv_addf(made, "%s=%s", text, value);
        if (strv_failed(made)) {
            return err_set(e, -ENOMEM, "out of memory");
        }
        *ret_text = made->items[made->n - 1];
    }
    return 0;
}

static bool is_image(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (isspace((unsigned char)text[i]) || iscntrl((unsigned char)text[i])) {
            return false;
        }
    }
    return len > 0 && len <= IMAGE_TEXT_MOST;
}

/* Why `text` is none of the type, or NULL. */
static const char *fault_of_text(enum wire_type type, const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];
    switch (type) {
    case WIRE_NAME:
    case WIRE_GUEST:
    case WIRE_NETWORK:
        return word_is_name(text) ? NULL
                                  : "a name has 1 to 63 of a-z A-Z 0-9 _ . - and begins "
                                    "with a letter or digit";
    case WIRE_IMAGE:
        return is_image(text) ? NULL : "it is no image reference";
    case WIRE_PATH:
        return *text != 0 ? NULL : "it is empty";
    case WIRE_KV:
        return *text != '=' && strchr(text, '=') != NULL ? NULL : "it is not K=V";
    case WIRE_IP:
        return inet_pton(AF_INET, text, address) == 1 ||
                       inet_pton(AF_INET6, text, address) == 1
                   ? NULL
                   : "it is no IP address";
    default:
        return NULL;
    }
}

/* The types that are read by `wire_parse_publish` and its sisters. */
static int check_structured(const struct wire_item *item, const char *text, struct err *e)
{
    struct err why = {0};
    struct wire_publish port;
    struct wire_volume volume;
    struct wire_restart restart;
    int r = 0;
    if (item->type == WIRE_PUBLISH) {
        r = wire_parse_publish(text, &port, &why);
    } else if (item->type == WIRE_VOLUME) {
        r = wire_parse_volume(text, &volume, &why);
    } else if (item->type == WIRE_RESTART) {
        r = wire_parse_restart(text, &restart, &why);
    }
    return r < 0 ? refuse(item, text, why.text, e) : 0;
}

static int convert_text(const struct wire_item *item, const char *text, void *to,
                        struct strv *made, struct err *e)
{
    const char *why = fault_of_text((enum wire_type)item->type, text);
    if (why != NULL) {
        return refuse(item, text, why, e);
    }
    int r = check_structured(item, text, e);
    if (r == 0 && item->type == WIRE_ENV) {
        r = convert_env(item, text, &text, made, e);
    }
    if (r == 0) {
        memcpy(to, &text, sizeof text);
    }
    return r;
}

int convert_word(const struct wire_item *item, const char *text, void *to,
                 struct strv *made, struct err *e)
{
    int signal;
    switch ((enum wire_type)item->type) {
    case WIRE_SIZE:
    case WIRE_DURATION:
    case WIRE_CPUS:
    case WIRE_U64:
        return convert_number(item, text, to, e);
    case WIRE_WHEN:
        return convert_when(item, text, to, e);
    case WIRE_ONE_OF:
        return convert_one_of(item, text, to, e);
    case WIRE_BOOL:
        return convert_bool(item, text, to, e);
    case WIRE_SIGNAL:
        signal = convert_signal(text);
        if (signal == 0) {
            return refuse(item, text, "there is no such signal (TERM, KILL, 15)", e);
        }
        memcpy(to, &signal, sizeof signal);
        return 0;
    default:
        return convert_text(item, text, to, made, e);
    }
}
