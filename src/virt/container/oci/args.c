/* args.c - flags as the callers of other runtimes write them.
 *
 * "--flag value", "--flag=value", "-f value" and, since some callers do so, one
 * dash for a long name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "virt/container/oci/oci.h"

#define FLAG_WORDS_MOST 64

static const struct oci_flag *find_long(const struct oci_flag *flags, const char *name,
                                        size_t len)
{
    for (; flags->name != NULL; flags++) {
        if (strlen(flags->name) == len && strncmp(flags->name, name, len) == 0) {
            return flags;
        }
    }
    return NULL;
}

static const struct oci_flag *find_letter(const struct oci_flag *flags, char letter)
{
    for (; flags->name != NULL; flags++) {
        if (flags->letter == letter) {
            return flags;
        }
    }
    return NULL;
}

static int unknown(const struct oci_flag *flags, const char *word, struct err *e)
{
    const char *names[FLAG_WORDS_MOST];
    const char *bare = word + strspn(word, "-");
    const char *near;
    size_t n = 0;

    for (; flags->name != NULL && n < FLAG_WORDS_MOST; flags++) {
        names[n++] = flags->name;
    }
    near = word_nearest(bare, names, n);
    if (near != NULL) {
        return err_set(e, -EINVAL, "unknown flag '%s'; did you mean '--%s'?", word, near);
    }
    return err_set(e, -EINVAL, "unknown flag '%s'", word);
}

/* One flag at `*at`, which moves to the last word that was used. */
static int take(const struct oci_flag *flags, char ***at, struct oci_args *a,
                struct err *e)
{
    const char *word = **at;
    const char *name = word + (word[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct oci_flag *flag = find_long(flags, name, len);
    const char *value = equals != NULL ? equals + 1 : NULL;

    if (flag == NULL && word[1] != '-') {
        flag = find_letter(flags, word[1]);
        if (flag != NULL && word[2] != '\0' && equals != word + 2) {
            if (!flag->has_value) {
                return unknown(flags, word, e);
            }
            value = word + 2; /* -fVALUE */
        }
    }
    if (flag == NULL) {
        return unknown(flags, word, e);
    }
    if (flag->has_value && value == NULL) {
        value = (*at)[1];
        if (value == NULL) {
            return err_set(e, -EINVAL, "flag '%s' needs a value", word);
        }
        (*at)++;
    }
    if (a->n == OCI_FLAGS_MOST) {
        return err_set(e, -E2BIG, "more than %d flags", OCI_FLAGS_MOST);
    }
    a->given[a->n++] =
        (struct oci_given){.flag = flag, .value = value != NULL ? value : ""};
    return 0;
}

int oci_args_parse(const struct oci_flag *flags, char **argv, int words_before_rest,
                   struct oci_args *ret, struct err *e)
{
    char **out = argv;

    ret->n = 0;
    ret->rest = argv;
    while (*argv != NULL) {
        int r;

        if (words_before_rest > 0 && out - ret->rest >= words_before_rest) {
            break;
        }
        if (strcmp(*argv, "--") == 0) {
            argv++;
            break;
        }
        if ((*argv)[0] != '-' || (*argv)[1] == '\0') {
            if (words_before_rest == 0) {
                break;
            }
            *out++ = *argv++;
            continue;
        }
        r = take(flags, &argv, ret, e);
        if (r < 0) {
            return r;
        }
        argv++;
    }
    while (*argv != NULL) {
        *out++ = *argv++;
    }
    *out = NULL;
    ret->n_rest = (int)(out - ret->rest);
    return 0;
}

const char *oci_arg(const struct oci_args *a, const char *name)
{
    for (size_t i = a->n; i-- > 0;) {
        const struct oci_given *g = &a->given[i];

        if (strcmp(g->flag->name, name) == 0) {
            return !g->flag->has_value && strcmp(g->value, "false") == 0 ? NULL
                                                                         : g->value;
        }
    }
    return NULL;
}

bool oci_has(const struct oci_args *a, const char *name)
{
    return oci_arg(a, name) != NULL;
}

int oci_number(const struct oci_args *a, const char *name, long most, long *ret,
               struct err *e)
{
    const char *text = oci_arg(a, name);
    char *end;
    long v;

    *ret = 0;
    if (text == NULL) {
        return 0;
    }
    errno = 0;
    v = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < 0 || v > most) {
        return err_set(e, -EINVAL, "'%s' is no value for '--%s'", text, name);
    }
    *ret = v;
    return 0;
}
