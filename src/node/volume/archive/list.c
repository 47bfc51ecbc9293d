/* list.c - the lists of backups of directories: lines, sums, names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "node/volume/archive/private.h"

int64_t archive_number(const json_t *entry, const char *key)
{
    return json_integer_value(json_object_get(entry, key));
}

const char *archive_text(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));

    return text != NULL ? text : "";
}

/* ---- names ---- */

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '%' && c != '"' && c != '\\';
}

char *archive_quote(const char *bytes)
{
    struct str s = {0};

    for (; *bytes != '\0'; bytes++) {
        if (is_plain((unsigned char)*bytes)) {
            str_add_bytes(&s, bytes, 1);
        } else {
            str_addf(&s, "%%%02X", (unsigned char)*bytes);
        }
    }
    return str_take(&s);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int archive_unquote(const char *text, char *out, size_t size)
{
    size_t n = 0;

    for (; *text != '\0' && n + 1 < size; n++) {
        if (*text != '%') {
            out[n] = *text++;
            continue;
        }
        if (digit(text[1]) < 0 || digit(text[2]) < 0) {
            return -EINVAL;
        }
        out[n] = (char)(digit(text[1]) << 4 | digit(text[2]));
        if (out[n] == '\0') {
            return -EINVAL;
        }
        text += 3;
    }
    out[n] = '\0';
    return *text == '\0' ? 0 : -ENAMETOOLONG;
}

/* What is in a directory stands right behind it: the stroke is less than any byte of a name. */
int archive_compare(const char *a, const char *b)
{
    if (strcmp(a, ".") == 0 || strcmp(b, ".") == 0) {
        return strcmp(a, b) == 0 ? 0 : strcmp(a, ".") == 0 ? -1 : 1;
    }
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return (*a == '\0'  ? 0
            : *a == '/' ? 1
                        : 1 + (int)(unsigned char)*a) -
           (*b == '\0'  ? 0
            : *b == '/' ? 1
                        : 1 + (int)(unsigned char)*b);
}

int archive_parent(int top, const char *path, char name[NAME_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    const char *last = slash != NULL ? slash + 1 : path;
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                      RESOLVE_NO_MAGICLINKS};
    char dir[ARCHIVE_PATH_MOST];
    int fd;

    if (last[0] == '\0' || strcmp(last, "..") == 0 ||
        (strcmp(last, ".") == 0 && slash != NULL) ||
        str_print(name, NAME_MAX + 1, "%s", last) < 0 ||
        str_print(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - path) : 1,
                  slash != NULL ? path : ".") < 0) {
        return -EINVAL;
    }
    fd = (int)syscall(SYS_openat2, top, dir, &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

int archive_open(int dir, const char *name, const char *what, int flags, struct err *e)
{
    char file[16];
    int fd;

    if (strlen(name) != 4 || strspn(name, "0123456789") != 4) {
        return err_set(e, -EINVAL, "'%s' is no name of a backup", name);
    }
    (void)str_print(file, sizeof file, "%s.%s", name, what);
    fd = openat(dir, file, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(e, -errno, "cannot open the backup '%s'", file) : fd;
}

/* ---- reading ---- */

int archive_reader_open(struct archive_reader *r, int take_fd, struct err *e)
{
    *r = (struct archive_reader){.file = fdopen(take_fd, "r")};
    if (r->file == NULL) {
        (void)close(take_fd);
        return err_set(e, -ENOMEM, "no memory");
    }
    rewind(r->file);
    sha256_init(&r->sum);
    return 0;
}

void archive_reader_fini(struct archive_reader *r)
{
    if (r->file != NULL) {
        (void)fclose(r->file);
    }
    free(r->line);
    *r = (struct archive_reader){.file = NULL};
}

/* A line, whatever it is: 0 at the end. */
static ssize_t next_line(struct archive_reader *r)
{
    ssize_t n = getline(&r->line, &r->room, r->file);

    if (n > 0) {
        sha256_add(&r->sum, r->line, (size_t)n);
        r->number++;
    }
    return n > 0 ? n : ferror(r->file) ? -EIO : 0;
}

int archive_read(struct archive_reader *r, json_t **ret, struct err *e)
{
    char what[48];
    ssize_t n = next_line(r);
    int done;

    *ret = NULL;
    if (n <= 0) {
        return n < 0 ? err_set(e, -EIO, "cannot read a list") : 0;
    }
    (void)str_print(what, sizeof what, "line %lu of its list", r->number);
    done = json_parse(r->line, (size_t)n, what, ret, e);
    if (done == 0 && (archive_text(*ret, "path")[0] == '\0' ||
                      archive_text(*ret, "type")[0] == '\0')) {
        json_decref(*ret);
        *ret = NULL;
        done = err_set(e, -EUCLEAN, "%s is no entry", what);
    }
    return done;
}

int archive_check(struct archive_reader *r, const char *sum, struct err *e)
{
    uint8_t bytes[SHA256_BYTES];
    char digits[SHA256_HEX_BYTES];
    ssize_t n;

    while ((n = next_line(r)) > 0) {
    }
    sha256_end(&r->sum, bytes);
    sha256_hex(bytes, digits);
    return n == 0 && strcmp(digits, sum) == 0
               ? 0
               : err_set(e, -EUCLEAN, "its list is damaged: it has another sum");
}

/* ---- writing ---- */

int archive_writer_open(struct archive_writer *w, int take_fd, struct err *e)
{
    *w = (struct archive_writer){.file = fdopen(take_fd, "w")};
    if (w->file == NULL) {
        (void)close(take_fd);
        return err_set(e, -ENOMEM, "no memory");
    }
    sha256_init(&w->sum);
    return 0;
}

void archive_writer_fini(struct archive_writer *w)
{
    if (w->file != NULL) {
        (void)fclose(w->file);
    }
    *w = (struct archive_writer){.file = NULL};
}

int archive_write(struct archive_writer *w, const json_t *entry, struct err *e)
{
    SCOPED(scope_free) char *line = json_dumps(entry, JSON_COMPACT);
    size_t n = line != NULL ? strlen(line) : 0;

    if (line == NULL) {
        return err_set(e, -ENOMEM, "no memory");
    }
    line[n] = '\n'; /* in place of the end */
    sha256_add(&w->sum, line, n + 1);
    w->count++;
    return fwrite(line, 1, n + 1, w->file) == n + 1
               ? 0
               : err_sys(e, errno != 0 ? -errno : -EIO, "cannot write a list");
}

int archive_writer_end(struct archive_writer *w, char sum[SHA256_HEX_BYTES],
                       struct err *e)
{
    uint8_t bytes[SHA256_BYTES];

    if (fflush(w->file) != 0 || fsync(fileno(w->file)) < 0) {
        return err_sys(e, -errno, "cannot write a list");
    }
    sha256_end(&w->sum, bytes);
    sha256_hex(bytes, sum);
    return 0;
}
