/* message.c - one message of a control socket becomes words and descriptors.
 *
 * Whoever is at the other end may send anything: a message that is cut, that has too many
 * descriptors or none of those that it names, is refused whole, and what came with it is
 * closed. */
#include "resource/storage/tool/message.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/graph/graph.h"

#define NUMBER_ROOM 12 /* of a descriptor, as text */

/* Words whose value is a descriptor, beside those of nodes. */
static const char *const fd_keys[] = {"socket", "keep-fd", "secrets",
                                      "turned", "new",     "copy"};

void message_fini(struct message *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        free(m->words[i]);
    }
    free(m->words);
    for (unsigned i = 0; i < m->fd_count; i++) {
        (void)close(m->fds[i]);
    }
    *m = (struct message){0};
}

/* ---- words ---- */

/* The length of KEY= at `part` when its value is a descriptor; 0: it is not. */
static size_t fd_key_bytes(const char *part)
{
    size_t n = strcspn(part, "=,");

    for (size_t i = 0; part[n] == '=' && i < sizeof fd_keys / sizeof fd_keys[0]; i++) {
        if (strlen(fd_keys[i]) == n && strncmp(fd_keys[i], part, n) == 0) {
            return n + 1;
        }
    }
    if (part[n] == '=' && graph_key_is_fd(part, n)) {
        return n + 1;
    }
    return 0;
}

/* @N at `text`, up to a comma or the end: the descriptor; *ret_bytes is its length. */
static int fd_of(const struct message *m, const char *text, size_t *ret_bytes)
{
    char *end = NULL;
    unsigned long n;

    if (text[0] != '@' || text[1] < '0' || text[1] > '9') {
        return -EBADF;
    }
    n = strtoul(text + 1, &end, 10);
    *ret_bytes = (size_t)(end - text);
    return n < m->fd_count && (*end == ',' || *end == '\0') ? m->fds[n] : -EBADF;
}

/* The end of a part: a comma that is not doubled, or the end of the word. */
static const char *part_end(const char *at)
{
    while (*at != '\0' && (*at != ',' || at[1] == ',')) {
        at += *at == ',' ? 2 : 1;
    }
    return at;
}

static int take_word(struct message *m, const char *text, struct err *e)
{
    size_t room = strlen(text) + 1;
    char *to;

    for (const char *c = text; *c != '\0'; c++) {
        room += *c == '@' ? NUMBER_ROOM : 0;
    }
    to = fault_malloc(room);
    if (to == NULL) {
        return err_sys(e, -ENOMEM, "cannot take a request");
    }
    m->words[m->count++] = to;
    *to = '\0';
    for (const char *at = text;; at++) {
        size_t key = fd_key_bytes(at);
        const char *end = part_end(at);
        size_t value = 0;
        int fd = key > 0 ? fd_of(m, at + key, &value) : 0;

        if (fd < 0) {
            return err_set(e, -EBADF, "'%.60s' names no descriptor of the message", at);
        }
        if (key > 0) {
            to += sprintf(to, "%.*s%d", (int)key, at, fd);
        } else {
            memcpy(to, at, (size_t)(end - at));
            to += end - at;
        }
        *to++ = *end;
        if (*end == '\0') {
            return 0;
        }
        at = end;
    }
}

int message_parse(struct message *m, const char *bytes, size_t count, struct err *e)
{
    SCOPED(scope_free) char *text = fault_malloc(count + 1);
    size_t words = 1;
    int r = 0;

    if (count > 0 && bytes[count - 1] == '\0') {
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        words += bytes[i] == '\0';
    }
    if (count == 0 || words > MESSAGE_WORDS_MOST) {
        return err_set(e, -EPROTO, count == 0 ? "an empty request" : "too many words");
    }
    m->words = text != NULL ? fault_calloc(words, sizeof *m->words) : NULL;
    if (m->words == NULL) {
        return err_sys(e, -ENOMEM, "cannot take a request");
    }
    memcpy(text, bytes, count);
    text[count] = '\0';
    for (size_t at = 0; r == 0 && at <= count; at += strlen(text + at) + 1) {
        r = take_word(m, text + at, e);
    }
    return r;
}

/* ---- the socket ---- */

static void take_descriptors(struct message *m, struct msghdr *head)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c != NULL; c = CMSG_NXTHDR(head, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (m->fd_count < MESSAGE_FDS_MOST) {
                m->fds[m->fd_count++] = fd;
            } else {
                (void)close(fd);
            }
        }
    }
}

int message_receive(int socket, struct message *m, struct err *e)
{
    SCOPED(scope_free) char *bytes = fault_malloc(MESSAGE_BYTES_MOST);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MESSAGE_FDS_MOST * sizeof(int))];
    struct iovec piece = {bytes, MESSAGE_BYTES_MOST};
    struct msghdr head = {.msg_iov = &piece,
                          .msg_iovlen = 1,
                          .msg_control = control,
                          .msg_controllen = sizeof control};
    ssize_t n;
    int r;

    *m = (struct message){0};
    if (bytes == NULL) {
        return err_sys(e, -ENOMEM, "cannot take a request");
    }
    n = recvmsg(socket, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -ECONNRESET;
    }
    take_descriptors(m, &head);
    if (n == 0 && m->fd_count == 0) {
        return -ECONNRESET;
    }
    r = (head.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0
            ? err_set(e, -EPROTO, "the request is too large")
            : message_parse(m, bytes, (size_t)n, e);
    if (r != 0) {
        message_fini(m);
        return -EPROTO;
    }
    return 0;
}
