/* subid.c - subordinate ids: subuid(5). */
#include "node/id/subid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

#define FILE_MOST_BYTES (1 << 20)

/* The name of user `uid` in /etc/passwd, since a static program cannot ask NSS. */
static bool user_name(uid_t uid, char *out, size_t size)
{
    SCOPED(scope_free) char *text = NULL;
    char *save = NULL;

    if (file_read(AT_FDCWD, "/etc/passwd", FILE_MOST_BYTES, &text, NULL) < 0) {
        return false;
    }
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        char *id = colon != NULL ? strchr(colon + 1, ':') : NULL;

        if (id != NULL && strtoul(id + 1, NULL, 10) == uid) {
            return str_print(out, size, "%.*s", (int)(colon - line), line) == 0;
        }
    }
    return false;
}

/* "NAME:START:COUNT", the name or the number of the user. */
static bool find_range(const char *path, unsigned long *start, unsigned long *count)
{
    SCOPED(scope_free) char *text = NULL;
    char name[256] = "";
    char number[24];
    char *save = NULL;

    (void)user_name(geteuid(), name, sizeof name);
    (void)str_print(number, sizeof number, "%u", (unsigned)geteuid());
    if (file_read(AT_FDCWD, path, FILE_MOST_BYTES, &text, NULL) < 0) {
        return false;
    }
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        char *end;

        if (colon == NULL) {
            continue;
        }
        *colon = '\0';
        if (strcmp(line, number) != 0 && (name[0] == '\0' || strcmp(line, name) != 0)) {
            continue;
        }
        *start = strtoul(colon + 1, &end, 10);
        *count = *end == ':' ? strtoul(end + 1, NULL, 10) : 0;
        return *count != 0;
    }
    return false;
}

static bool has_helpers(void)
{
    return access("/usr/bin/newuidmap", X_OK) == 0 &&
           access("/usr/bin/newgidmap", X_OK) == 0;
}

json_t *subid_map(bool groups)
{
    unsigned long start = 0;
    unsigned long count = 0;
    unsigned long other = 0;
    json_int_t own = groups ? (json_int_t)getegid() : (json_int_t)geteuid();
    bool both = has_helpers() && find_range("/etc/subuid", &start, &other) &&
                find_range("/etc/subgid", &start, &count);

    if (!both || !find_range(groups ? "/etc/subgid" : "/etc/subuid", &start, &count)) {
        return json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID", own, "size", 1);
    }
    return json_pack("[{s:i, s:I, s:i}, {s:i, s:I, s:I}]", "containerID", 0, "hostID",
                     own, "size", 1, "containerID", 1, "hostID", (json_int_t)start,
                     "size", (json_int_t)count);
}

json_int_t subid_count(const json_t *map)
{
    json_int_t sum = 0;
    size_t i;
    json_t *item;

    json_array_foreach(map, i, item)
    {
        sum += json_integer_value(json_object_get(item, "size"));
    }
    return sum;
}
