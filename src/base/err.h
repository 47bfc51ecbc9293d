/* err.h - one caller-owned error record for the control plane. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define ERR_TEXT_BYTES 512

struct err {
    int code;                  /* 0 while nothing failed, else -errno */
    char text[ERR_TEXT_BYTES]; /* what failed, for a person; no newline */
};

/* Record a failure and hand its code back, so that a caller can write
 * `return err_set(e, -EINVAL, "...")`.  Keeps an earlier failure.  `code` is
 * negative; `e` may be NULL when nobody wants the text. */
int err_set(struct err *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As `err_set`, with ": " and the name of the errno behind the text. */
int err_sys(struct err *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " in front of the recorded text; returns the code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Forget what was recorded. */
void err_clear(struct err *e);

#endif
