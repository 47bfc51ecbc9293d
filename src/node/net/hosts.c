/* hosts.c - the names that guests know.
 *
 * One hosts file per network, RUN/networks/NAME.hosts, is mounted into every guest of
 * it.  A line per guest ends in "# ID"; the file is changed in place under its own
 * lock, so that all guests see a new name at once. */
#include "node/net/private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/private.h"

#define HOSTS_MOST_BYTES (4 << 20)
#define HOSTS_HEAD       "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"

static int hosts_path(const struct node *n, const char *network, char out[PATH_MAX])
{
    char dir[PATH_MAX];

    (void)str_print(dir, sizeof dir, "%s/networks", n->run);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    return str_print(out, PATH_MAX, "%s/%s.hosts", dir, network);
}

/* Copy the lines of `text` that do not end in "# ID". */
static void keep_others(const char *text, const char *id, struct str *out)
{
    char mark[32];

    (void)str_print(mark, sizeof mark, "# %s", id);
    while (*text != '\0') {
        const char *end = strchrnul(text, '\n');
        size_t len = (size_t)(end - text);
        size_t m = strlen(mark);

        if (len < m || strncmp(end - m, mark, m) != 0) {
            str_add_bytes(out, text, len);
            str_add(out, "\n");
        }
        text = *end == '\n' ? end + 1 : end;
    }
}

static void add_lines(const struct guest *g, struct str *out)
{
    static const char *const keys[] = {"addr4", "addr6"};
    const json_t *network = json_object_get(g->record, "network");
    const char *hostname =
        json_string_value(json_object_get(guest_config(g), "hostname"));

    for (size_t i = 0; i < 2; i++) {
        const char *address = json_string_value(json_object_get(network, keys[i]));

        if (address != NULL) {
            str_addf(out, "%s %s%s%s # %s\n", address, guest_text(g, "name"),
                     hostname != NULL ? " " : "", hostname != NULL ? hostname : "",
                     g->id);
        }
    }
}

int net_change_hosts(struct node *n, const struct guest *g, const char *network, bool add,
                     struct err *e)
{
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_free) char *text = NULL;
    struct str out = {0};
    int r = hosts_path(n, network, path);

    fd = r == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot write '%s'", path);
    }
    r = file_read(AT_FDCWD, path, HOSTS_MOST_BYTES, &text, NULL);
    if (r == 0) {
        keep_others(text[0] != '\0' ? text : HOSTS_HEAD, g->id, &out);
    }
    if (add) {
        add_lines(g, &out);
    }
    if (r == 0 && strcmp(text, str_text(&out)) != 0) {
        r = str_failed(&out) ? -ENOMEM : 0;
        if (r == 0 && (pwrite(fd, out.data, out.len, 0) != (ssize_t)out.len ||
                       ftruncate(fd, (off_t)out.len) < 0)) {
            r = -errno;
        }
    }
    str_fini(&out);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int write_resolv(struct node *n, const struct guest *g, struct err *e)
{
    char path[PATH_MAX];
    struct str text = {0};
    bool user = strcmp(json_string_value(json_object_get(
                           json_object_get(g->record, "network"), "driver")),
                       "user") == 0;
    int r = network_resolv_conf_of_host("", user ? "10.0.2.3" : NULL, &text);

    (void)guest_run_path(n, g->id, "resolv.conf", path);
    if (r < 0 || str_failed(&text)) {
        str_fini(&text);
        str_add(&text, "");
    }
    r = file_replace(AT_FDCWD, path, str_text(&text), text.len, 0644, false);
    str_fini(&text);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

int net_write_hosts(struct node *n, const struct guest *g, struct err *e)
{
    const char *network = net_bridge_name(g);
    char own[PATH_MAX];
    char shared[PATH_MAX];
    struct str text = {0};
    int r = write_resolv(n, g, e);

    if (r < 0) {
        return r;
    }
    (void)guest_run_path(n, g->id, "hosts", own);
    if (network != NULL) {
        r = net_change_hosts(n, g, network, true, e);
        if (r < 0) {
            return r;
        }
        (void)hosts_path(n, network, shared);
        (void)unlink(own);
        return link(shared, own) < 0 ? err_sys(e, -errno, "cannot write '%s'", own) : 0;
    }
    str_addf(&text, HOSTS_HEAD "127.0.1.1 %s\n", guest_text(g, "name"));
    r = str_failed(&text) ? -ENOMEM
                          : file_replace(AT_FDCWD, own, text.data, text.len, 0644, false);
    str_fini(&text);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", own) : 0;
}

void net_forget_hosts(struct node *n, const char *network)
{
    char path[PATH_MAX];

    if (hosts_path(n, network, path) == 0) {
        (void)unlink(path);
    }
}
