/* tar_fuzz.c - any bytes are a tar stream, or an error with a text; members keep their
 * promises. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "node/disk/tar.h"
#include "tests/fuzz/target.h"

#define MEMBERS_MOST 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct untar_in in = {.fd = memfd_create("tar", MFD_CLOEXEC)};
    struct untar_entry t;
    struct err e = {0};
    int r = 1;

    if (in.fd < 0 || write(in.fd, data, size) != (ssize_t)size ||
        lseek(in.fd, 0, SEEK_SET) < 0) {
        return 0;
    }
    for (int i = 0; r == 1 && i < MEMBERS_MOST; i++) {
        char buf[700];
        uint64_t got = 0;
        ssize_t n = 0;

        r = untar_next(&in, &t, &e);
        assert((r < 0) == (e.text[0] != '\0'));
        if (r != 1) {
            break;
        }
        assert(t.name[0] != '\0' && strlen(t.name) < sizeof t.name);
        assert(strlen(t.link) < sizeof t.link && (t.mode & ~07777U) == 0);
        while (i % 2 == 0 && (n = untar_content(&in, buf, sizeof buf)) > 0) {
            got += (uint64_t)n;
        }
        assert(i % 2 != 0 || n < 0 || got == t.size);
    }
    (void)close(in.fd);
    return 0;
}
