/* table.c - the one list of instruments, and what they share. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "host/file.h"
#include "virt/isa/instrument/private.h"

#define FILE_BYTES_MAX (UINT64_C(1) << 30)

const struct instrument instrument_table[] = {
    {"run", instrument_run},
    {"disassemble", instrument_disassemble},
    {"coverage", instrument_coverage},
    {"bench", instrument_bench},
    {"virtualizable", instrument_virtualizable},
    {NULL, NULL},
};

int instrument_read(const char *path, uint8_t **ret_bytes, size_t *ret_len, struct err *e)
{
    char *text;
    int r = file_read(AT_FDCWD, path, FILE_BYTES_MAX, &text, ret_len);

    if (r < 0) {
        return err_sys(e, r, "cannot read '%s'", path);
    }
    *ret_bytes = (uint8_t *)text;
    return 0;
}

int instrument_address(const char *text, uint64_t *ret_address, struct err *e)
{
    char *end;
    uint64_t v;

    errno = 0;
    v = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || *text == '-') {
        return err_set(e, -EINVAL, "'%s' is no address", text);
    }
    *ret_address = v;
    return 0;
}

/* Installed: bench/ beside this program.  In a build tree: at its root. */
int instrument_bench_dir(char *ret_path, size_t bytes, struct err *e)
{
    static const char *const places[] = {"bench", "../../bench/cpu"};
    char self[PATH_MAX], kernel[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    size_t i;

    if (n < 0) {
        return err_sys(e, -errno, "cannot find this program's own place");
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (i = 0; i < sizeof places / sizeof *places; i++) {
        if (str_print(ret_path, bytes, "%s/%s", self, places[i]) == 0 &&
            str_print(kernel, sizeof kernel, "%s/kernel.elf", ret_path) == 0 &&
            access(kernel, R_OK) == 0) {
            return 0;
        }
    }
    return err_set(e, -ENOENT,
                   "the bench's programs are not there: '%s/bench' is missing", self);
}
