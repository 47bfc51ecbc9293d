/* option.c - limits, traces and caches of disks, from orders to records and words. */
#include "node/volume/option.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "node/volume/option_layer.h"

#define BURST_SECONDS 10 /* when nobody says how long */
#define BURST_MOST    3600
#define CACHE_BYTES   ((uint64_t)1 << 30)
#define CACHE_LEAST   ((uint64_t)8 << 20)
#define TRACE_BYTES   ((uint64_t)1 << 30) /* then it ends */

/* ---- limits ---- */

/* Members of orders and of `limits`, and the words of a throttle. */
static const struct limit {
    const char *member;
    const char *word;  /* of the rate */
    const char *burst; /* of its burst; NULL: it is one itself */
} limits[] = {
    {"iops", "iops", "burst_iops"},
    {"bandwidth", "bytes", "burst_bandwidth"},
    {"burst_iops", "burst-iops", NULL},
    {"burst_bandwidth", "burst-bytes", NULL},
};

#define LIMITS (sizeof limits / sizeof limits[0])

/* -1 in an order takes a limit away; one that is missing stays. */
static void take_number(const json_t *order, const char *member, json_t *into)
{
    const json_t *value = json_object_get(order, member);

    if (value != NULL && json_integer_value(value) > 0) {
        (void)json_object_set(into, member, (json_t *)(uintptr_t)value);
    } else if (value != NULL) {
        (void)json_object_del(into, member);
    }
}

static int check_limits(const json_t *l, struct err *e)
{
    for (size_t i = 0; i < LIMITS; i++) {
        uint64_t rate = volume_number(l, limits[i].member);
        uint64_t burst = limits[i].burst != NULL ? volume_number(l, limits[i].burst) : 0;

        if (burst > 0 && burst < rate) {
            return err_set(e, -EINVAL,
                           "a burst is not less than the limit in the long run");
        }
        if (burst > 0 && rate == 0) {
            return err_set(e, -EINVAL, "a burst wants a limit in the long run");
        }
    }
    if (volume_number(l, "burst_seconds") > BURST_MOST) {
        return err_set(e, -EINVAL, "a burst lasts at most an hour");
    }
    return 0;
}

static int take_limits(const json_t *order, json_t *volume, struct err *e)
{
    json_t *now = json_object_get(volume, "limits");
    SCOPED(scope_json) json_t *l = now != NULL ? json_copy(now) : json_object();
    uint64_t seconds = volume_number(order, "burst_time") / 1000000000u;
    int r;

    for (size_t i = 0; i < LIMITS; i++) {
        take_number(order, limits[i].member, l);
    }
    if (seconds > 0) {
        (void)json_object_set_new(l, "burst_seconds", json_integer((json_int_t)seconds));
    }
    r = check_limits(l, e);
    if (r == 0 && json_object_size(l) > 0) {
        (void)json_object_set(volume, "limits", l);
    } else if (r == 0) {
        (void)json_object_del(volume, "limits");
    }
    return r;
}

void option_limit_words(const json_t *volume, const char *before, struct str *ret)
{
    const json_t *l = json_object_get(volume, "limits");
    uint64_t seconds = volume_number(l, "burst_seconds");

    for (size_t i = 0; i < LIMITS; i++) {
        uint64_t value = volume_number(l, limits[i].member);
        bool burst = limits[i].burst == NULL;

        str_addf(ret, "%s%s=%llu", before, limits[i].word, (unsigned long long)value);
        if (burst) {
            str_addf(ret, "%s%s-ms=%llu", before, limits[i].word,
                     value == 0
                         ? 0ull
                         : (unsigned long long)(seconds > 0 ? seconds : BURST_SECONDS) *
                               1000);
        }
    }
}

/* ---- the trace ---- */

/* A file that is empty, or was a trace before. */
static int open_trace(const char *path, struct err *e)
{
    SCOPED(scope_close)
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    uint32_t kind = 0;
    struct stat s;

    if (fd < 0 || fstat(fd, &s) < 0) {
        return err_sys(e, -errno, "cannot write the trace '%s'", path);
    }
    if (!S_ISREG(s.st_mode) ||
        (s.st_size > 0 && (pread(fd, &kind, sizeof kind, 0) != sizeof kind ||
                           kind != OPTION_TRACE_MAGIC))) {
        return err_set(e, -EEXIST, "'%s' is there already, and is no trace", path);
    }
    return scope_take_fd(&fd);
}

static int take_log(const json_t *order, json_t *volume, struct err *e)
{
    const char *path = volume_text(order, "log");
    char full[PATH_MAX];
    int fd;

    if (path[0] == '\0') {
        return 0;
    }
    if (strcmp(path, "none") == 0) {
        (void)json_object_del(volume, "log");
        return 0;
    }
    fd = open_trace(path, e);
    if (fd < 0) {
        return fd;
    }
    (void)close(fd);
    if (realpath(path, full) == NULL) {
        return err_sys(e, -errno, "cannot write the trace '%s'", path);
    }
    (void)json_object_set_new(volume, "log", json_string(full));
    return 0;
}

/* ---- the cache ---- */

/* POOL, POOL,class=CLASS or class=CLASS. */
static int parse_place(const char *text, char pool[WORD_NAME_BYTES], const char **class,
                       struct err *e)
{
    const char *comma = strchr(text, ',');
    const char *rest = comma != NULL ? comma + 1 : text;

    pool[0] = '\0';
    *class = "fast";
    if (strncmp(rest, "class=", 6) == 0) {
        *class = rest + 6;
        if (comma == NULL) {
            return 0;
        }
    } else if (comma != NULL) {
        return err_set(e, -EINVAL, "'%s' is no place for a cache: POOL[,class=CLASS]",
                       text);
    }
    return str_print(pool, WORD_NAME_BYTES, "%.*s",
                     comma != NULL ? (int)(comma - text) : (int)strlen(text), text) < 0 ||
                   !word_is_name(pool)
               ? err_set(e, -EINVAL, "'%s' cannot be the name of a pool", text)
               : 0;
}

static int take_cache(struct node *n, const json_t *order, json_t *volume, struct err *e)
{
    const char *place = volume_text(order, "cache");
    const char *mode = volume_text(order, "cache_mode");
    uint64_t size = volume_number(order, "cache_size");
    SCOPED(scope_json) json_t *found = NULL;
    char pool[WORD_NAME_BYTES];
    const char *class;
    int r;

    if (place[0] == '\0' || strcmp(place, "none") == 0) {
        return place[0] == '\0' && (mode[0] != '\0' || size > 0)
                   ? err_set(e, -EINVAL,
                             "--cache-size and --cache-mode want --cache POOL")
                   : 0;
    }
    size = size > 0 ? (size + 4095) & ~(uint64_t)4095 : CACHE_BYTES;
    if (size < CACHE_LEAST) {
        return err_set(e, -EINVAL, "a cache takes 8 MiB at least");
    }
    if (json_is_true(json_object_get(volume, "encrypted")) &&
        strcmp(mode, "write-back") == 0) {
        return err_set(e, -EOPNOTSUPP,
                       "the disk is encrypted: what a cache held back could be written "
                       "with the passphrase alone (--cache-mode write-through)");
    }
    r = parse_place(place, pool, &class, e);
    if (r == 0 && pool[0] == '\0') {
        const char *own = volume_text(volume, "pool");

        (void)str_print(pool, sizeof pool, "%s", own[0] != '\0' ? own : POOL_DEFAULT);
    }
    r = r == 0 ? pool_load(n, pool, &found, e) : r;
    if (r == 0) {
        (void)json_object_set_new(volume, "cache",
                                  json_pack("{s:s, s:s, s:I, s:s}", "pool", pool, "class",
                                            class, "size_bytes", (json_int_t)size, "mode",
                                            mode[0] != '\0' ? mode : "write-through"));
    }
    return r;
}

/* ---- all of them ---- */

static const char *const members[] = {
    "iops", "bandwidth", "burst_iops", "burst_bandwidth", "burst_time",
    "log",  "cache",     "cache_size", "cache_mode"};

bool option_are_named(const json_t *order)
{
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (json_object_get(order, members[i]) != NULL) {
            return true;
        }
    }
    return false;
}

int option_take(struct node *n, const json_t *order, json_t *volume, struct err *e)
{
    int r = take_limits(order, volume, e);

    r = r == 0 ? take_cache(n, order, volume, e) : r;
    return r == 0 ? take_log(order, volume, e) : r;
}

bool option_stands_over(const json_t *volume)
{
    return json_object_get(volume, "cache") != NULL ||
           json_object_get(volume, "limits") != NULL ||
           json_object_get(volume, "log") != NULL;
}

/* ---- words ---- */

/* That of an encrypted disk is encrypted, too, and opens with the same passphrase; `w` has it. */
int option_store_words(struct node *n, const struct layer *store, struct words *w,
                       struct err *e)
{
    char name[LAYER_ID_DIGITS + 8];
    const struct arrange_name as = {.name = name, .writes = true};
    int r;

    (void)str_print(name, sizeof name, "%s.file", store->id);
    r = arrange_words(n, store, &as, w, e);
    words_add(w, "node=%s,%s,file=%s%s", store->id, volume_text(store->record, "format"),
              name,
              !layer_is_encrypted(store) ? ""
              : w->key[0] != '\0'        ? w->key
                                         : ",locked");
    return r;
}

static int add_cache(struct node *n, const json_t *cache, const char *disk,
                     struct words *w, struct err *e)
{
    struct layer store = {.record = NULL};
    int r = layer_load(n, volume_text(cache, "layer"), &store, e);

    r = r == 0 ? option_store_words(n, &store, w, e) : r;
    words_add(w, "node=cache,cache,slow=%s,fast=%s,mode=%s", disk, store.id,
              volume_text(cache, "mode"));
    layer_fini(&store);
    return r < 0 ? err_wrap(e, "its cache") : 0;
}

static int add_log(const char *path, const char *disk, struct words *w, struct err *e)
{
    int file = open_trace(path, e);
    char fd[32];

    if (file < 0) {
        return file;
    }
    words_add(w, "node=trace.file,file,%s", words_fd(w, "fd", file, fd));
    words_add(w, "node=trace.room,quota,file=trace.file,bound=%llu",
              (unsigned long long)TRACE_BYTES);
    words_add(w, "node=trace,log,file=%s,trace=trace.room", disk);
    return 0;
}

int option_words(struct node *n, const struct volume *v, const char *disk,
                 struct words *w, struct err *e)
{
    const json_t *cache = json_object_get(v->record, "cache");
    const char *path = volume_text(v->record, "log");
    int r = 0;

    if (volume_text(cache, "layer")[0] != '\0') {
        r = add_cache(n, cache, disk, w, e);
        disk = "cache";
    }
    if (r == 0 && json_object_get(v->record, "limits") != NULL) {
        struct str text = {0};

        option_limit_words(v->record, ",", &text);
        words_add(w, "node=limits,throttle,file=%s%s", disk, str_text(&text));
        str_fini(&text);
        disk = "limits";
    }
    return r == 0 && path[0] != '\0' ? add_log(path, disk, w, e) : r;
}

/* ---- figures ---- */

/* The numbers behind KIND=NODE of the line, by name. */
static const struct figures {
    const char *kind;
    const char *names[8]; /* ends with NULL */
} figures[] = {
    {"checksum", {"wrong_blocks", "mended_blocks"}},
    {"cache",
     {"hits", "misses", "hit_bytes", "miss_bytes", "dirty_lines", "written_back_bytes"}},
    {"tier", {"fast_requests", "slow_requests", "moved_up", "moved_down"}},
    {"throttle", {"requests", "bytes", "waits", "waited_ns"}},
    {"dedup", {"logical_blocks", "stored_blocks", "damaged_blocks"}},
};

/* Those of several layers together. */
static void add_figures(const struct figures *f, const char *at, json_t *all)
{
    json_t *row = json_object_get(all, f->kind);

    if (row == NULL) {
        row = json_object();
        (void)json_object_set_new(all, f->kind, row);
    }
    at += strcspn(at, " ");
    for (size_t i = 0; f->names[i] != NULL && *at == ' '; i++) {
        char *end;
        unsigned long long value = strtoull(at, &end, 10);

        (void)json_object_set_new(
            row, f->names[i],
            json_integer((json_int_t)(volume_number(row, f->names[i]) + value)));
        at = end;
    }
}

static void take_figures(void *arg, const char *line)
{
    size_t n = strcspn(line, "=");

    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        if (strlen(figures[i].kind) == n && strncmp(figures[i].kind, line, n) == 0 &&
            line[n] == '=') {
            add_figures(&figures[i], line + n + 1, arg);
        }
    }
}

void option_figures(struct node *n, struct volume *v)
{
    SCOPED(scope_close) int control = volume_worker_peek(n, v->name);
    struct words w = {.message = true};
    json_t *all = json_object();
    const struct worker_ask ask = {.words = &w, .line = take_figures, .arg = all};

    words_add(&w, "status");
    if (control >= 0 && volume_worker_ask(n, control, &ask, NULL) == 0 &&
        json_object_size(all) > 0) {
        (void)json_object_set(v->record, "figures", all);
    }
    json_decref(all);
    words_fini(&w);
}
