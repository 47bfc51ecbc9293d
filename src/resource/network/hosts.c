/* The two files that tell a guest names: hosts and resolv.conf. */
#include "resource/network/address.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

#define RESOLV_BYTES     65536
#define RESOLV_SERVERS   3 /* resolv.conf(5), MAXNS */
#define NAMESERVER       "nameserver"
#define NAMESERVER_BYTES (sizeof NAMESERVER - 1)

static void add_loopback(struct str *s)
{
    str_add(s, "127.0.0.1\tlocalhost\n"
               "::1\tlocalhost ip6-localhost ip6-loopback\n");
}

/* Write first, cut afterwards: a reader never meets an empty file. */
static int write_in_place(const char *path, const char *text, size_t len)
{
    SCOPED(scope_close)
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n;
    do {
        n = pwrite(fd, text, len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 || (size_t)n != len) {
        return n < 0 ? -errno : -ENOSPC;
    }
    return ftruncate(fd, (off_t)len) < 0 ? -errno : 0;
}

int network_write_hosts(const char *path, const struct network_host_entry *entries,
                        size_t n, struct err *e)
{
    char ip[NETWORK_TEXT_BYTES];
    SCOPED(str_fini) struct str s = {0};
    add_loopback(&s);
    for (size_t i = 0; i < n; i++) {
        if (entries[i].ip.version != 0) {
            str_addf(&s, "%s\t%s\n", network_ip_text(&entries[i].ip, ip),
                     entries[i].names);
        }
    }
    int r = str_failed(&s) ? -ENOMEM : write_in_place(path, str_text(&s), s.len);
    return r < 0 ? err_sys(e, r, "cannot write host names to '%s'", path) : 0;
}

/* A guest's loopback is its own: a server there, or none at all, is of no use to it. */
static bool reachable(const char *address, size_t len)
{
    char text[NETWORK_TEXT_BYTES];
    struct network_ip ip;
    if (str_print(text, sizeof text, "%.*s", (int)len, address) < 0 ||
        network_ip_parse(text, &ip) < 0) {
        return false; /* with a zone (fe80::1%eth0): means nothing elsewhere */
    }
    static const uint8_t zero[15];
    if (ip.version == 4) {
        return ip.bytes[0] != 127 && ip.bytes[0] != 0;
    }
    return memcmp(ip.bytes, zero, sizeof zero) != 0 || ip.bytes[15] > 1;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t')) {
        at++;
    }
    return at;
}

/* Copy the usable name servers, and with `others` the lines of other kinds. */
static unsigned copy_lines(const char *text, bool others, struct str *out)
{
    unsigned servers = 0;
    while (text != NULL && *text != '\0') {
        const char *end = strchrnul(text, '\n');
        const char *at = skip_blanks(text, end);
        const char *next = *end == '\0' ? end : end + 1;
        if (at == end || *at == '#' || *at == ';') {
            text = next;
            continue;
        }
        if (str_starts(at, NAMESERVER) && (size_t)(end - at) > NAMESERVER_BYTES) {
            at = skip_blanks(at + NAMESERVER_BYTES, end);
            size_t len = strcspn(at, " \t\r\n");
            if (servers < RESOLV_SERVERS && reachable(at, len)) {
                str_addf(out, NAMESERVER " %.*s\n", (int)len, at);
                servers++;
            }
        } else if (others) {
            str_add_bytes(out, at, (size_t)(end - at));
            str_add(out, "\n");
        }
        text = next;
    }
    return servers;
}

int network_resolv_conf(const char *host, const char *upstream, const char *fallback,
                        struct str *out)
{
    unsigned servers = copy_lines(host, true, out);
    if (servers == 0) {
        servers = copy_lines(upstream, false, out);
    }
    if (servers == 0 && fallback != NULL) {
        str_addf(out, NAMESERVER " %s\n", fallback);
    }
    return str_failed(out) ? -ENOMEM : 0;
}

int network_resolv_conf_of_host(const char *root, const char *fallback, struct str *out)
{
    char path[4096];
    SCOPED(scope_free) char *host = NULL;
    SCOPED(scope_free) char *upstream = NULL;
    size_t len;
    int r = str_print(path, sizeof path, "%s/etc/resolv.conf", root);
    if (r < 0) {
        return r;
    }
    r = file_read(AT_FDCWD, path, RESOLV_BYTES, &host, &len);
    if (r < 0 && r != -ENOENT) {
        return r;
    }
    r = str_print(path, sizeof path, "%s/run/systemd/resolve/resolv.conf", root);
    if (r == 0) {
        (void)file_read(AT_FDCWD, path, RESOLV_BYTES, &upstream, &len);
    }
    return network_resolv_conf(host, upstream, fallback, out);
}
