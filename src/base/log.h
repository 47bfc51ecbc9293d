/* log.h - one line per event, led by the object it is about.
 *
 * A `struct log` names the object ("container web1"); a NULL or missing sink
 * drops the line.  The program chooses the sink once; libraries only speak. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_COUNT
};

/* Write one finished line (no newline at its end). */
typedef void log_sink_fn(void *arg, enum log_level level, const char *line);

struct log {
    const char *name;    /* "container web1"; NULL: no prefix */
    log_sink_fn *sink;   /* NULL: lines are dropped */
    void *arg;           /* borrowed, for `sink` */
    enum log_level most; /* lines above this level are dropped */
};

void log_line(const struct log *ctx, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(ctx, ...) log_line(ctx, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(ctx, ...)  log_line(ctx, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(ctx, ...)  log_line(ctx, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(ctx, ...) log_line(ctx, LOG_LEVEL_DEBUG, __VA_ARGS__)

/* A sink that writes "strata: LEVEL: line" to standard error; `arg` is unused. */
void log_to_stderr(void *arg, enum log_level level, const char *line);

#endif
