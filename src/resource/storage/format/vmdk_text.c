/* vmdk_text.c - descriptors: lines of `key=value`, and one line for each extent.
 *
 * VMware, Virtual Disk Format 5.0, "The Descriptor File". */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/format/vmdk_parts.h"

static char *skip_blanks(char *s)
{
    return s + strspn(s, " \t");
}

/* Cut the next word off the line; NULL: there is none. */
static char *next_word(char **line)
{
    char *word = skip_blanks(*line);
    size_t n = strcspn(word, " \t");

    *line = word[n] != '\0' ? word + n + 1 : word + n;
    word[n] = '\0';
    return n > 0 ? word : NULL;
}

static int parse_number(const char *text, uint64_t *ret)
{
    char *end = NULL;

    if (text == NULL || !isdigit((unsigned char)text[0])) {
        return -EUCLEAN;
    }
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret <= BLK_SIZE_MOST_BYTES / VMDK_SECTOR
               ? 0
               : -EUCLEAN;
}

static int parse_name(char *line, struct vmdk_line *x, char **ret_rest)
{
    char *from = skip_blanks(line);
    char *end = from[0] == '"' ? strchr(from + 1, '"') : NULL;
    size_t n = end != NULL ? (size_t)(end - from) - 1 : 0;

    if (n == 0 || n >= sizeof x->name) {
        return -EUCLEAN;
    }
    memcpy(x->name, from + 1, n);
    x->name[n] = '\0';
    *ret_rest = end + 1;
    return 0;
}

static const struct {
    const char *word;
    enum vmdk_extent_kind kind;
} kinds[] = {
    {"FLAT", VMDK_EXTENT_FLAT},
    {"VMFS", VMDK_EXTENT_FLAT},
    {"SPARSE", VMDK_EXTENT_SPARSE},
    {"ZERO", VMDK_EXTENT_ZERO},
};

static int parse_kind(const char *word, struct vmdk_line *x)
{
    for (unsigned i = 0; word != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(word, kinds[i].word) == 0) {
            x->kind = kinds[i].kind;
            return 0;
        }
    }
    return -EOPNOTSUPP;
}

/* RW 4192256 SPARSE "disk-s001.vmdk" [0] */
static int parse_line(const struct format_base *b, char *line, struct vmdk_line *x,
                      struct err *e)
{
    const char *access = next_word(&line);
    const char *kind;

    if (access == NULL || strcmp(access, "NOACCESS") == 0) {
        return format_refuse(b, -EOPNOTSUPP, e, "an extent has no access");
    }
    if (parse_number(next_word(&line), &x->sectors) != 0 || x->sectors == 0) {
        return format_refuse(b, -EUCLEAN, e, "an extent has no valid size");
    }
    kind = next_word(&line);
    if (parse_kind(kind, x) != 0) {
        return format_refuse(b, -EOPNOTSUPP, e, "extents of type '%.20s' are not known",
                             kind != NULL ? kind : "");
    }
    if (x->kind != VMDK_EXTENT_ZERO && parse_name(line, x, &line) != 0) {
        return format_refuse(b, -EUCLEAN, e, "an extent has no valid name");
    }
    if (x->kind == VMDK_EXTENT_FLAT && *skip_blanks(line) != '\0' &&
        parse_number(next_word(&line), &x->at) != 0) {
        return format_refuse(b, -EUCLEAN, e, "an extent has no valid offset");
    }
    return 0;
}

static int add_line(const struct format_base *b, char *line, struct vmdk_text *t,
                    struct err *e)
{
    struct vmdk_line *more;

    if (t->count == VMDK_EXTENTS_MOST) {
        return format_refuse(b, -EUCLEAN, e, "it has more than %u extents",
                             VMDK_EXTENTS_MOST);
    }
    if ((t->count & (t->count + 1)) == 0 || t->lines == NULL) { /* full: 0, 1, 3, 7 ... */
        more = fault_realloc(t->lines, (t->count + 1) * 2 * sizeof *more);
        if (more == NULL) {
            return format_refuse(b, -ENOMEM, e, "no memory");
        }
        t->lines = more;
    }
    t->lines[t->count] = (struct vmdk_line){0};
    return parse_line(b, line, &t->lines[t->count++], e);
}

static bool begins_extent(const char *line)
{
    return strncmp(line, "RW ", 3) == 0 || strncmp(line, "RDONLY ", 7) == 0 ||
           strncmp(line, "NOACCESS ", 9) == 0;
}

/* The value of a line `key = value`; NULL: it is another key. */
static char *value_of(char *line, const char *key)
{
    size_t n = strlen(key);

    if (strncasecmp(line, key, n) != 0) {
        return NULL;
    }
    line = skip_blanks(line + n);
    return *line == '=' ? skip_blanks(line + 1) : NULL;
}

int vmdk_text_parse(const struct format_base *b, char *text, bool with_lines,
                    struct vmdk_text *ret, struct err *e)
{
    char *rest = text;
    char *line;
    int r = 0;

    *ret = (struct vmdk_text){.parent = VMDK_NO_PARENT};
    while (r == 0 && (line = strsep(&rest, "\r\n")) != NULL) {
        const char *value;

        line = skip_blanks(line);
        value = value_of(line, "parentCID");
        if (value != NULL) {
            ret->parent = (uint32_t)strtoul(value, NULL, 16);
        } else if (with_lines && begins_extent(line)) {
            r = add_line(b, line, ret, e);
        }
    }
    if (r == 0 && with_lines && ret->count == 0) {
        r = format_refuse(b, -EUCLEAN, e, "its descriptor names no extents");
    }
    if (r != 0) {
        free(ret->lines);
        ret->lines = NULL;
    }
    return r;
}
