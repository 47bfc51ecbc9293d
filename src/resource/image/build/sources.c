/* sources.c - read /etc/apt (sources.list(5)): deb822 stanzas and one-line entries.
 *
 * A source belongs to the host's own archive when one of its suites is the
 * host's code name, or that name with "-updates" or "-security" ("/updates" of
 * old).  Those are kept, renamed to the wanted suite; others (third parties)
 * are not for a base system. */
#include "resource/image/build/sources.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

#define SOURCES_BYTES_MAX (1u << 20)
#define KEYRING           "/usr/share/keyrings/debian-archive-keyring.gpg"

static const char *const endings[] = {"", "-updates", "-security", "/updates"};

struct source { /* texts are owned */
    char *types, *uris, *suites, *components, *signed_by;
    bool disabled;
};

static void fini(struct source *s)
{
    free(s->types);
    free(s->uris);
    free(s->suites);
    free(s->components);
    free(s->signed_by);
    *s = (struct source){0};
}

/* The words of `suites` that are the host's own, renamed; "" when none is. */
static void rename_suites(const char *suites, const char *own, const char *suite,
                          struct str *ret)
{
    SCOPED(scope_free) char *copy = strdup(suites);
    char *rest = copy, *word;
    size_t len = strlen(own);

    while ((word = strsep(&rest, " \t\n")) != NULL) {
        for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
            if (strncmp(word, own, len) == 0 && strcmp(word + len, endings[i]) == 0) {
                str_addf(ret, "%s%s%s", ret->len > 0 ? " " : "", suite,
                         strcmp(endings[i], "/updates") == 0 ? "-security" : endings[i]);
            }
        }
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n) {
        if ((p == list || isspace((unsigned char)p[-1])) &&
            (p[n] == '\0' || isspace((unsigned char)p[n]))) {
            return true;
        }
    }
    return false;
}

/* Write the source out when it is one of ours; `s` is empty afterwards. */
static void flush(struct source *s, const char *own, const char *suite, struct str *ret)
{
    struct str suites = {0};

    if (s->types != NULL && s->uris != NULL && s->suites != NULL &&
        s->components != NULL && !s->disabled && has_word(s->types, "deb")) {
        rename_suites(s->suites, own, suite, &suites);
    }
    if (suites.len > 0) {
        str_addf(ret, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", s->uris,
                 suites.data, s->components);
        if (s->signed_by != NULL) {
            str_addf(ret, "Signed-By: %s\n", s->signed_by);
        }
        str_add(ret, "\n");
    }
    str_fini(&suites);
    fini(s);
}

static void set(char **field, const char *value)
{
    free(*field);
    *field = strdup(value);
}

static void take_field(struct source *s, char *line)
{
    char *value = strchr(line, ':');

    if (value == NULL) {
        return;
    }
    *value++ = '\0';
    value += strspn(value, " \t");
    if (strcasecmp(line, "Types") == 0) {
        set(&s->types, value);
    } else if (strcasecmp(line, "URIs") == 0) {
        set(&s->uris, value);
    } else if (strcasecmp(line, "Suites") == 0) {
        set(&s->suites, value);
    } else if (strcasecmp(line, "Components") == 0) {
        set(&s->components, value);
    } else if (strcasecmp(line, "Signed-By") == 0 && value[0] == '/') {
        set(&s->signed_by, value);
    } else if (strcasecmp(line, "Enabled") == 0) {
        s->disabled = strcasecmp(value, "no") == 0;
    }
}

/* "deb [signed-by=/x arch=y] URI SUITE COMPONENT..." */
static void take_line(struct source *s, char *line)
{
    char *p = line + strspn(line, " \t");
    char *options = NULL, *word;

    p[strcspn(p, "#")] = '\0';
    if (strncmp(p, "deb", 3) != 0 || !isspace((unsigned char)p[3])) {
        return;
    }
    p += 3 + strspn(p + 3, " \t");
    if (*p == '[') {
        options = p + 1;
        p = strchr(p, ']');
        if (p == NULL) {
            return;
        }
        *p++ = '\0';
        p += strspn(p, " \t");
    }
    while (options != NULL && (word = strsep(&options, " \t")) != NULL) {
        if (strncasecmp(word, "signed-by=/", 11) == 0) {
            set(&s->signed_by, word + 10);
        }
    }
    set(&s->types, "deb");
    if ((word = strsep(&p, " \t")) != NULL) {
        set(&s->uris, word);
    }
    p += p != NULL ? strspn(p, " \t") : 0;
    if (p != NULL && (word = strsep(&p, " \t")) != NULL) {
        set(&s->suites, word);
    }
    if (p != NULL) {
        set(&s->components, p + strspn(p, " \t"));
    }
}

void sources_convert(const char *text, bool one_line, const char *own, const char *suite,
                     struct str *ret)
{
    SCOPED(scope_free) char *copy = strdup(text);
    char *rest = copy, *line;
    struct source s = {0};

    while ((line = strsep(&rest, "\n")) != NULL) {
        if (one_line) {
            take_line(&s, line);
            flush(&s, own, suite, ret);
        } else if (line[strspn(line, " \t\r")] == '\0') {
            flush(&s, own, suite, ret);
        } else if (line[0] != '#' && line[0] != ' ' && line[0] != '\t') {
            take_field(&s, line);
        }
    }
    flush(&s, own, suite, ret);
}

static int read_file(int dir, const char *name, const char *own, const char *suite,
                     struct str *ret)
{
    SCOPED(scope_free) char *text = NULL;
    bool one_line = str_ends(name, ".list");
    size_t len;
    int r;

    if (!one_line && !str_ends(name, ".sources")) {
        return 0;
    }
    r = file_read(dir, name, SOURCES_BYTES_MAX, &text, &len);
    if (r == 0) {
        sources_convert(text, one_line, own, suite, ret);
    }
    return r == -ENOENT ? 0 : r;
}

static int read_parts(int etc, const char *own, const char *suite, struct str *ret)
{
    int fd = openat(etc, "apt/sources.list.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;
    int r = 0;

    while (r == 0 && d != NULL && (x = readdir(d)) != NULL) {
        r = read_file(dirfd(d), x->d_name, own, suite, ret);
    }
    return r;
}

int sources_read(const char *etc, const char *own, const char *suite, struct str *ret,
                 struct err *e)
{
    SCOPED(scope_close) int dir = open(etc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = 0;

    if (dir >= 0 && own[0] != '\0') {
        r = read_file(dir, "apt/sources.list", own, suite, ret);
        r = r < 0 ? r : read_parts(dir, own, suite, ret);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read the package sources in '%s/apt'", etc);
    }
    if (ret->len == 0) {
        str_addf(ret,
                 "Types: deb\nURIs: http://deb.debian.org/debian\n"
                 "Suites: %s %s-updates\nComponents: main\nSigned-By: " KEYRING "\n\n"
                 "Types: deb\nURIs: http://deb.debian.org/debian-security\n"
                 "Suites: %s-security\nComponents: main\nSigned-By: " KEYRING "\n",
                 suite, suite, suite);
    }
    return str_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

int sources_of_mirror(const char *mirror, const char *suite, struct str *ret,
                      struct err *e)
{
    str_addf(ret,
             "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: " KEYRING
             "\n",
             mirror, suite);
    return str_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}
