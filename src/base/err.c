/* err.c - fill, wrap and clear the error record. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    if (e == NULL || e->code != 0) {
        return code;
    }
    e->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return code;
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    size_t used;

    if (e == NULL || e->code != 0) {
        return code;
    }
    e->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    used = strlen(e->text);
    (void)snprintf(e->text + used, sizeof e->text - used, ": %s", strerror(-code));
    return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char old[ERR_TEXT_BYTES];
    va_list ap;
    size_t used;

    if (e == NULL) {
        return 0;
    }
    memcpy(old, e->text, sizeof old);
    va_start(ap, fmt);
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    used = strlen(e->text);
    (void)snprintf(e->text + used, sizeof e->text - used, ": %s", old);
    return e->code;
}

void err_clear(struct err *e)
{
    if (e != NULL) {
        e->code = 0;
        e->text[0] = '\0';
    }
}
