/* prog/volume.c - the program that serves and handles disks.
 *
 *     volume OP KEY=VALUE... 3>ANSWER
 *
 * It links libraries that bring a JSON parser of their own, so it has none: requests are
 * words, answers lines of `key=value` on descriptor 3, the last of them `ok` or
 * `error CODE TEXT`. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "base/err.h"
#include "resource/storage/tool/tool.h"

#define ANSWER_FD 3

#if defined(__SANITIZE_ADDRESS__)
/* The leak checker traces its own process at the end, which a confined one may not be. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
    int answer = fcntl(ANSWER_FD, F_GETFD) >= 0 ? ANSWER_FD : 1;
    struct err e = {0};
    int r;

    if (argc < 2) {
        (void)fputs("usage: volume OP KEY=VALUE... 3>ANSWER\n", stderr);
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    r = tool_run(argv + 1, (unsigned)argc - 1, answer, &e);
    if (r != 0) {
        (void)dprintf(answer, "error %d %s\n", r, e.text);
        return 1;
    }
    return dprintf(answer, "ok\n") < 0 ? 1 : 0;
}
