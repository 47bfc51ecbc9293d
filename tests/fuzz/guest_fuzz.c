/* guest_fuzz.c - what keepers, checks and other versions wrote never breaks a command that
 * reads it: the first byte chooses which file or record the rest is. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/kv.h"
#include "host/file.h"
#include "node/private.h"
#include "tests/fuzz/target.h"

#define ID "0123456789ab"

static struct node *made;
static char place[] = "/tmp/strata-fuzz-XXXXXX";

static void end(void)
{
    node_close(made);
    (void)file_remove_tree(AT_FDCWD, place);
}

/* One node for all inputs. */
static struct node *node_of_all(void)
{
    struct node_options o = {.state = place, .program = "/x", .libexec = "/x"};

    if (made == NULL && mkdtemp(place) != NULL && node_open(&o, &made, NULL) == 0) {
        (void)atexit(end);
    }
    return made;
}

static int ignore(void *arg, const json_t *event)
{
    (void)arg;
    (void)event;
    return 0;
}

static int ignore_line(void *arg, const struct node_log_line *line)
{
    volatile char last = line->len > 0 ? line->text[line->len - 1] : '\0';

    (void)arg;
    (void)last;
    return 0;
}

static void put(const char *file, const uint8_t *data, size_t size)
{
    char path[PATH_MAX];
    char *slash;

    (void)str_print(path, sizeof path, "%s/%s", place, file);
    slash = strrchr(path, '/');
    *slash = '\0';
    (void)file_make_dirs(path, 0700);
    *slash = '/';
    (void)file_replace(AT_FDCWD, path, data, size, 0600, false);
}

static void look(struct node *n)
{
    const struct node_log_query q = {.tail = 3, .fn = ignore_line};
    struct guest g = {0};
    struct guest_status st;

    if (guest_load(n, ID, &g, NULL) == 0 && guest_status(n, ID, &st, NULL) == 0) {
        json_decref(guest_describe(&g, &st));
        json_decref(guest_inspection(n, &g, &st));
        json_decref(guest_limits(&g));
        (void)node_guest_logs(n, ID, &q, NULL);
    }
    guest_fini(&g);
    (void)node_events(n, 0, false, ignore, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {
        "run/guests/" ID "/status", "run/guests/" ID "/health", "run/guests/" ID "/notes",
        "guests/" ID "/logs/log", "events.log"};
    static const char good[] =
        "{\"id\":\"" ID
        "\",\"name\":\"g\",\"config\":{},\"network\":{\"driver\":\"none\"}}";
    struct node *n = node_of_all();
    size_t which = size > 0 ? data[0] % (sizeof files / sizeof files[0] + 1) : 0;
    struct kv *kv;

    if (n == NULL || size == 0 || node_kv(n, &kv, NULL) < 0) {
        return 0;
    }
    if (which == sizeof files / sizeof files[0]) {
        const struct kv_bytes record = {data + 1, size - 1};

        (void)kv_put(kv, "/guests/" ID, record, NULL, NULL);
    } else {
        (void)kv_put(kv, "/guests/" ID, kv_text(good), NULL, NULL);
        put(files[which], data + 1, size - 1);
    }
    look(n);
    return 0;
}
