/* look.c - how a member is: in a child with a time limit, because a disk or a server that
 * hangs hangs whoever touches it.
 *
 * A child that does not answer is killed and left behind; the kernel ends it when what it
 * waits for comes or goes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/pool/kind.h"

#define FULL_PART        100                 /* less than one part of so many is free */
#define FULL_LEAST_BYTES ((uint64_t)4 << 20) /* or less than this */

static const char *const names[POOL_STATE_COUNT] = {"ok", "full", "slow", "lost"};

const char *pool_state_name(enum pool_state s)
{
    return s < POOL_STATE_COUNT ? names[s] : "";
}

/* In the child. */
static void look(struct node *n, const json_t *pool, const json_t *member,
                 struct pool_room *ret)
{
    *ret = (struct pool_room){.state = POOL_LOST};
    pool_kind_of(member)->look(n, pool, member, ret);
    if (ret->state == POOL_OK && ret->total_bytes > 0 && /* 0: nobody counts */
        (ret->free_bytes < ret->total_bytes / FULL_PART ||
         ret->free_bytes < FULL_LEAST_BYTES)) {
        ret->state = POOL_FULL;
    }
}

void pool_look(struct node *n, const json_t *pool, const json_t *member,
               struct pool_room *ret)
{
    SCOPED(scope_close) int from = -1;
    struct pool_room got = {.state = POOL_LOST};
    struct pollfd answer = {.events = POLLIN};
    int ends[2];
    pid_t child;
    int r;

    *ret = got;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return;
    }
    from = ends[0];
    child = fork();
    if (child == 0) {
        look(n, pool, member, &got);
        _exit(write(ends[1], &got, sizeof got) == (ssize_t)sizeof got ? 0 : 1);
    }
    (void)close(ends[1]);
    answer.fd = from;
    do {
        r = child < 0 ? 0 : poll(&answer, 1, POOL_LOOK_MS);
    } while (r < 0 && errno == EINTR);
    if (r == 0 && child > 0) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, WNOHANG);
        ret->state = POOL_SLOW;
        return;
    }
    if (read(from, &got, sizeof got) == (ssize_t)sizeof got) {
        *ret = got;
    }
    (void)waitpid(child, NULL, 0);
}
