/* log.c - one line per event. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES 1024

void log_line(const struct log *ctx, enum log_level level, const char *fmt, ...)
{
    char line[LINE_BYTES];
    va_list ap;
    int n = 0;

    if (ctx == NULL || ctx->sink == NULL || level > ctx->most) {
        return;
    }
    if (ctx->name != NULL) {
        n = snprintf(line, sizeof line, "%s: ", ctx->name);
        n = n < 0 ? 0 : n < LINE_BYTES ? n : LINE_BYTES - 1;
    }
    va_start(ap, fmt);
    (void)vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    ctx->sink(ctx->arg, level, line);
}

void log_to_stderr(void *arg, enum log_level level, const char *line)
{
    static const char *const names[LOG_LEVEL_COUNT] = {"error: ", "warning: ", "", ""};

    (void)arg;
    (void)fprintf(stderr, "strata: %s%s\n", names[level], line);
}
