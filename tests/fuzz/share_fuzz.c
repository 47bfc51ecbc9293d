/* share_fuzz.c - any requests of a guest to the server of a shared directory.
 *
 * Input: requests, each behind its length in two bytes; the length in its head is set right
 * in those whose first byte is even.  They are served as a user who may change nothing of
 * the host's, in a directory that is thrown away. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "host/file.h"
#include "resource/share/share.h"
#include "tests/fuzz/target.h"

#define NOBODY 65534
#define ROOM   8192

static void serve_all(struct share *s, const uint8_t *data, size_t size)
{
    _Alignas(8) uint8_t in[4096];
    _Alignas(8) uint8_t out[ROOM];

    while (size >= 2) {
        size_t n = (size_t)(data[0] | data[1] << 8) % sizeof in;

        data += 2;
        size -= 2;
        n = n < size ? n : size;
        memcpy(in, data, n);
        if (n >= 4 && (in[0] & 1) == 0) {
            memcpy(in, &(uint32_t){(uint32_t)n}, 4);
        }
        if (share_serve(s, in, n, out, n % 3 == 0 ? sizeof out : n) > sizeof out) {
            abort();
        }
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char top[] = "/tmp/share-fuzz-XXXXXX";
    bool is_root = geteuid() == 0;
    struct share_options o = {.files_most = 4};
    int here = open(".", O_PATH | O_DIRECTORY);
    struct share *s = NULL;

    if (is_root && (setegid(NOBODY) < 0 || seteuid(NOBODY) < 0)) {
        abort();
    }
    if (mkdtemp(top) == NULL) {
        abort();
    }
    o.root = open(top, O_PATH | O_DIRECTORY);
    o.proc_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY);
    (void)mkdirat(o.root, "dir", 0777);
    (void)symlinkat("/etc", o.root, "link");
    if (share_create(&o, &s, NULL) != 0) {
        abort();
    }
    serve_all(s, data, size);
    share_destroy(s);
    (void)close(o.root);
    (void)close(o.proc_fds);
    (void)chmod(top, 0700);
    (void)file_remove_tree(AT_FDCWD, top);
    if ((is_root && (seteuid(0) < 0 || setegid(0) < 0)) || fchdir(here) < 0) {
        abort();
    }
    (void)close(here);
    return 0;
}
