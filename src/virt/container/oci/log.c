/* log.c - failures and warnings where the caller of a runtime looks for them.
 *
 * With --log FILE each is one line of that file, as text or (--log-format json) an
 * object with "level", "msg" and "time"; a failure also goes to standard error. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "virt/container/oci/oci.h"

static void append(const struct oci *o, const char *level, const char *text)
{
    SCOPED(scope_close)
    int fd = open(o->log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    SCOPED(scope_json) json_t *line = NULL;
    SCOPED(scope_free) char *out = NULL;
    char now[UNITS_TEXT_BYTES];
    struct timespec t;
    struct str s = {0};

    if (fd < 0) {
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &t);
    units_print_time(t.tv_sec * 1000000000LL + t.tv_nsec, now);
    if (o->log_json) {
        line = json_pack("{s:s, s:s, s:s}", "level", level, "msg", text, "time", now);
        out = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
        str_addf(&s, "%s\n", out != NULL ? out : "{\"level\":\"error\"}");
    } else {
        str_addf(&s, "time=\"%s\" level=%s msg=\"%s\"\n", now, level, text);
    }
    (void)file_write_all(fd, str_text(&s), s.len);
    str_fini(&s);
}

static void sink(void *arg, enum log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const struct oci *o = arg;

    if (o->log_file != NULL) {
        append(o, names[level], line);
    } else {
        (void)fprintf(stderr, "%s: %s\n", names[level], line);
    }
}

void oci_log_start(struct oci *o)
{
    o->log = (struct log){
        .sink = sink, .arg = o, .most = o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN};
}

void oci_log_failure(const struct oci *o, const struct err *e)
{
    if (o->log_file != NULL) {
        append(o, "error", e->text);
    }
    (void)fprintf(stderr, "%s\n", e->text);
}
