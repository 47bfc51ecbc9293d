/* ignore.c - patterns of paths, part by part. */
#include "resource/image/build/ignore.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"

#define PART_BYTES 256

static const char *next_part(const char *p, char out[PART_BYTES])
{
    size_t n = strcspn(p, "/");

    (void)str_print(out, PART_BYTES, "%.*s", (int)(n < PART_BYTES ? n : PART_BYTES - 1),
                    p);
    return p[n] == '/' ? p + n + 1 : p + n;
}

/* Only the last "**" is ever taken up again, as in matching "*" in a word: what an
 * earlier one could take, the later can take as well. */
bool ignore_match(const char *pattern, const char *path)
{
    char want[PART_BYTES], have[PART_BYTES];
    const char *again = NULL, *from = NULL; /* behind the last "**", and its path */

    while (*path != '\0') {
        const char *rest = next_part(pattern, want);

        if (strcmp(want, "**") == 0) {
            again = pattern = rest;
            from = path;
            if (*rest == '\0') {
                return true;
            }
            continue;
        }
        if (*pattern != '\0') {
            const char *after = next_part(path, have);

            if (fnmatch(want, have, 0) == 0) {
                pattern = rest;
                path = after;
                continue;
            }
        }
        if (again == NULL) {
            return false;
        }
        path = from = next_part(from, have);
        pattern = again;
    }
    while (*pattern != '\0') {
        pattern = next_part(pattern, want);
        if (strcmp(want, "**") != 0) {
            return false;
        }
    }
    return true;
}

/* "./a//b/" becomes "a/b". */
static void add_rule(struct ignore *g, char *line)
{
    bool back = *line == '!';
    char *p = line + (back ? 1 : 0), *part;
    struct str rule = {0};

    str_add(&rule, back ? "!" : "");
    while ((part = strsep(&p, "/")) != NULL) {
        if (part[0] != '\0' && strcmp(part, ".") != 0) {
            str_addf(&rule, "%s%s", rule.len > (back ? 1 : 0) ? "/" : "", part);
        }
    }
    if (rule.len > (back ? 1 : 0)) {
        g->has_exceptions |= back;
        strv_add(&g->rules, rule.data);
    }
    str_fini(&rule);
}

int ignore_parse(const char *text, struct ignore *ret)
{
    SCOPED(scope_free) char *copy = strdup(text);
    char *rest = copy, *line;

    if (copy == NULL) {
        return -ENOMEM;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        size_t n;

        line += strspn(line, " \t");
        n = strlen(line);
        while (n > 0 && strchr(" \t\r", line[n - 1]) != NULL) {
            line[--n] = '\0';
        }
        if (n > 0 && line[0] != '#') {
            add_rule(ret, line);
        }
    }
    return strv_failed(&ret->rules) ? -ENOMEM : 0;
}

static bool covers(const char *rule, const char *path)
{
    SCOPED(scope_free) char *head = strdup(path);
    char *slash;

    while (head != NULL) {
        if (ignore_match(rule, head)) {
            return true;
        }
        slash = strrchr(head, '/');
        if (slash == NULL) {
            break;
        }
        *slash = '\0';
    }
    return false;
}

bool ignore_has(const struct ignore *g, const char *path)
{
    bool out = false;

    for (size_t i = 0; i < g->rules.n; i++) {
        const char *rule = g->rules.items[i];
        bool back = rule[0] == '!';

        if (out == back && covers(rule + (back ? 1 : 0), path)) {
            out = !back;
        }
    }
    return out;
}

void ignore_fini(struct ignore *g)
{
    strv_fini(&g->rules);
    *g = (struct ignore){0};
}
