/* record.c - what is known of a worker, in the guest's directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/monitor/remote/private.h"

#define RECORD_MOST_BYTES 65536
#define FIELD_STARTED     22 /* proc(5), /proc/PID/stat */

uint64_t far_started(pid_t pid)
{
    SCOPED(scope_free) char *text = NULL;
    char path[64];
    char *at;

    (void)str_print(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (pid <= 0 || file_read(AT_FDCWD, path, 4096, &text, NULL) < 0) {
        return 0;
    }
    at = strrchr(text, ')'); /* the name, field 2, may hold blanks */
    for (int field = 2; at != NULL && field < FIELD_STARTED; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

int far_record_write(const char *directory, pid_t pid, const struct cgroup *cg,
                     struct err *e)
{
    SCOPED(scope_free) char *place = cg != NULL ? cgroup_place(cg) : strdup("");
    SCOPED(scope_json)
    json_t *record =
        json_pack("{s:i, s:I, s:s}", "pid", (int)pid, "started",
                  (json_int_t)far_started(pid), "cgroup", place != NULL ? place : "");
    SCOPED(scope_free)
    char *text = record != NULL ? json_dumps(record, JSON_COMPACT) : NULL;
    char path[PATH_MAX];
    int r;

    if (text == NULL || place == NULL) {
        return err_set(e, -ENOMEM, "cannot record the machine's worker: no memory");
    }
    (void)str_print(path, sizeof path, "%s/" FAR_RECORD, directory);
    r = file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

void far_record_remove(const char *directory)
{
    static const char *const files[] = {FAR_RECORD, FAR_SOCKET};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)str_print(path, sizeof path, "%s/%s", directory, files[i]);
        (void)unlink(path);
    }
}

int far_open(const char *directory, const char *id, struct far **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *record = NULL;
    char path[PATH_MAX];
    const char *place = "";
    struct far *f;
    size_t len = 0;
    int r;

    (void)str_print(path, sizeof path, "%s/" FAR_RECORD, directory);
    r = file_read(AT_FDCWD, path, RECORD_MOST_BYTES, &text, &len);
    if (r == -ENOENT) {
        return err_set(e, r, "machine '%s' does not run", id);
    }
    r = r < 0 ? err_sys(e, r, "cannot read '%s'", path)
              : json_parse(text, len, path, &record, e);
    r = r < 0 ? r : json_want_str(record, "", "cgroup", &place, e);
    f = r < 0 ? NULL : calloc(1, sizeof *f);
    if (f == NULL) {
        return r < 0 ? r : err_set(e, -ENOMEM, "cannot open machine '%s': no memory", id);
    }
    f->task.ops = &far_task_ops;
    (void)str_print(f->directory, sizeof f->directory, "%s", directory);
    (void)str_print(f->id, sizeof f->id, "%s", id);
    f->pid = (pid_t)json_integer_value(json_object_get(record, "pid"));
    f->started = (uint64_t)json_integer_value(json_object_get(record, "started"));
    r = place[0] != '\0' ? cgroup_open(place, &f->cgroup, e) : 0;
    if (r < 0) {
        free(f);
        return r;
    }
    *ret = f;
    return 0;
}
