/* look.c - list, ps, features, spec, and signals by name. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "virt/container/oci/oci.h"

#define SIGNAL_MOST 64

int oci_print(const json_t *value, struct err *e)
{
    if (value == NULL || json_dumpf(value, stdout, JSON_INDENT(2)) < 0 ||
        putchar('\n') < 0 || fflush(stdout) < 0) {
        return err_set(e, -EIO, "cannot print the result");
    }
    return 0;
}

int oci_signal(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;

    if (end != text && *end == '\0') {
        return n > 0 && n <= SIGNAL_MOST ? (int)n : 0;
    }
    for (int i = 1; i < SIGRTMIN; i++) {
        const char *known = sigabbrev_np(i);

        if (known != NULL && strcasecmp(known, name) == 0) {
            return i;
        }
    }
    if (strncasecmp(name, "RTMIN+", 6) == 0) {
        n = strtol(name + 6, &end, 10);
        return *end == '\0' && n >= 0 && SIGRTMIN + n <= SIGRTMAX ? SIGRTMIN + (int)n : 0;
    }
    return 0;
}

static const char *text_of(const json_t *obj, const char *key)
{
    const char *text = json_string_value(json_object_get(obj, key));

    return text != NULL ? text : "";
}

static void print_table(const json_t *all)
{
    size_t i;
    const json_t *one;

    (void)printf("%-24s %-8s %-9s %-32s %s\n", "ID", "PID", "STATUS", "CREATED",
                 "BUNDLE");
    json_array_foreach(all, i, one)
    {
        (void)printf("%-24s %-8lld %-9s %-32s %s\n", text_of(one, "id"),
                     (long long)json_integer_value(json_object_get(one, "pid")),
                     text_of(one, "status"), text_of(one, "created"),
                     text_of(one, "bundle"));
    }
}

/* json rather than table; -EINVAL for anything else. */
static int wants_json(const struct oci_args *a, struct err *e)
{
    const char *format = oci_arg(a, "format");

    if (format == NULL || strcmp(format, "table") == 0) {
        return 0;
    }
    return strcmp(format, "json") == 0
               ? 1
               : err_set(e, -EINVAL, "'%s' is no format: table or json", format);
}

int oci_list(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_json) json_t *all = NULL;
    int json = wants_json(a, e);
    size_t i;
    const json_t *one;

    if (json < 0 || container_list(o->root, &all, e) < 0) {
        return OCI_EXIT_FAILED;
    }
    if (oci_has(a, "quiet")) {
        json_array_foreach(all, i, one)
        {
            (void)printf("%s\n", text_of(one, "id"));
        }
        return 0;
    }
    if (json) {
        return oci_print(all, e) < 0 ? OCI_EXIT_FAILED : 0;
    }
    print_table(all);
    return 0;
}

static void print_process(pid_t pid)
{
    SCOPED(scope_free) char *text = NULL;
    char path[64];
    size_t len = 0;

    (void)str_print(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    if (file_read(AT_FDCWD, path, 1 << 20, &text, &len) < 0) {
        return;
    }
    for (size_t i = 0; i + 1 < len; i++) {
        text[i] = (char)(text[i] == '\0' ? ' ' : text[i]);
    }
    (void)printf("%-8d %s\n", (int)pid, text);
}

int oci_ps(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_free) pid_t *pids = NULL;
    SCOPED(scope_json) json_t *list = NULL;
    struct container *c = NULL;
    int json = wants_json(a, e);
    size_t n = 0;
    int r = json < 0 ? json : container_open(o->root, a->rest[0], &c, e);

    if (r < 0) {
        return OCI_EXIT_FAILED;
    }
    r = container_pids(c, &pids, &n, e);
    task_close(container_task(c));
    if (r < 0) {
        return OCI_EXIT_FAILED;
    }
    if (!json) {
        (void)printf("%-8s %s\n", "PID", "COMMAND");
    }
    list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json) {
            (void)json_array_append_new(list, json_integer(pids[i]));
        } else {
            print_process(pids[i]);
        }
    }
    return json && oci_print(list, e) < 0 ? OCI_EXIT_FAILED : 0;
}

int oci_features(struct oci *o, const struct oci_args *a, struct err *e)
{
    SCOPED(scope_json) json_t *features = container_features();

    (void)o;
    (void)a;
    return oci_print(features, e) < 0 ? OCI_EXIT_FAILED : 0;
}
