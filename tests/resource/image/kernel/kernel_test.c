/* kernel_test.c - kernels unpacked once: every packing, damage, bounds, many at once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "host/file.h"
#include "resource/image/image.h"
#include "resource/image/kernel/bzimage.h"
#include "resource/image/kernel/kernel.h"
#include "resource/image/kernel/unpack.h"
#include "tests/base/check.h"
#include "tests/resource/image/craft.h"
#include "tests/resource/image/kernel/packed.h"

struct place {
    char *dir; /* owned; also the state directory */
    char file[256];
};

static void make_place(struct place *p, enum packing how)
{
    struct str elf = {0}, payload = {0}, file = {0};

    p->dir = craft_dir();
    (void)snprintf(p->file, sizeof p->file, "%s/vmlinuz", p->dir);
    packed_elf(&elf);
    packed_payload(&elf, how, &payload);
    packed_bzimage(&payload, &file);
    assert_int_equal(file_replace(AT_FDCWD, p->file, file.data, file.len, 0644, false),
                     0);
    str_fini(&elf);
    str_fini(&payload);
    str_fini(&file);
}

static void remove_place(struct place *p)
{
    craft_remove(p->dir);
}

static void read_whole(const char *path, struct str *out)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;

    assert_int_equal(file_read(AT_FDCWD, path, 1u << 24, &text, &len), 0);
    str_add_bytes(out, text, len);
}

/* The segments at their places, each on a page of the file; nothing of the junk. */
static void check_elf(const struct str *made)
{
    SCOPED(str_fini) struct str elf = {0};
    Elf64_Ehdr h;
    Elf64_Phdr p;
    unsigned loads = 0;

    packed_elf(&elf);
    assert_int_equal(made->len % 4096, 0);
    memcpy(&h, made->data, sizeof h);
    assert_int_equal(h.e_entry, ELF_ENTRY);
    for (unsigned i = 0; i < h.e_phnum; i++) {
        memcpy(&p, made->data + h.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_LOAD) {
            assert_int_equal(p.p_offset % 4096, p.p_paddr % 4096);
            assert_memory_equal(made->data + p.p_offset,
                                elf.data + (loads == 0 ? 0x333 : 0x333 + ELF_TEXT),
                                p.p_filesz);
            loads++;
        }
    }
    assert_int_equal(loads, 2);
    assert_non_null(memmem(made->data, 4096, "Strata", 7));
    assert_non_null(memmem(made->data, 4096, "\x67\x45\x23\x01", 4)); /* PVH */
}

static void every_packing_gives_the_same_file(void **state)
{
    char first[300] = "";

    (void)state;
    for (enum packing how = 0; how < PACKING_BZIP2; how++) {
        struct place p;
        struct kernel_order o = {.file = p.file};
        struct kernel_ready k = {0};
        SCOPED(str_fini) struct str made = {0};
        struct err e = {0};

        make_place(&p, how);
        assert_int_equal(kernel_find(p.dir, &o, &k), -ENOENT);
        assert_int_equal(kernel_make(p.dir, &o, NULL, &k, &e), 0);
        assert_null(k.initrd);
        read_whole(k.kernel, &made);
        check_elf(&made);
        if (first[0] == '\0') {
            (void)snprintf(first, sizeof first, "%s", strrchr(k.kernel, '/'));
        }
        assert_string_equal(strrchr(k.kernel, '/'), first); /* named by content */
        kernel_ready_fini(&k);
        assert_int_equal(kernel_find(p.dir, &o, &k), 0);
        kernel_ready_fini(&k);
        remove_place(&p);
    }
}

static void an_unknown_packing_is_booted_as_it_is(void **state)
{
    struct place p;
    struct kernel_order o = {.file = p.file};
    struct kernel_ready k = {0};

    (void)state;
    make_place(&p, PACKING_BZIP2);
    assert_int_equal(kernel_make(p.dir, &o, NULL, &k, NULL), 0);
    assert_string_equal(k.kernel, p.file);
    kernel_ready_fini(&k);
    assert_int_equal(kernel_find(p.dir, &o, &k), 0);
    assert_string_equal(k.kernel, p.file);
    kernel_ready_fini(&k);
    /* No bzImage at all: nothing is to be made. */
    assert_int_equal(file_replace(AT_FDCWD, p.file, "multiboot?", 10, 0644, false), 0);
    assert_int_equal(kernel_find(p.dir, &o, &k), 0);
    assert_string_equal(k.kernel, p.file);
    kernel_ready_fini(&k);
    remove_place(&p);
}

static void a_changed_file_is_not_found_again(void **state)
{
    struct place p;
    struct kernel_order o = {.file = p.file};
    struct kernel_ready k = {0};
    FILE *f;

    (void)state;
    make_place(&p, PACKING_LZ4);
    assert_int_equal(kernel_make(p.dir, &o, NULL, &k, NULL), 0);
    assert_int_equal(unlink(k.kernel), 0); /* somebody tidied */
    kernel_ready_fini(&k);
    assert_int_equal(kernel_find(p.dir, &o, &k), -ENOENT);
    assert_int_equal(kernel_make(p.dir, &o, NULL, &k, NULL), 0);
    kernel_ready_fini(&k);
    f = fopen(p.file, "r+");
    assert_int_equal(fputc('x', f), 'x');
    assert_int_equal(fclose(f), 0);
    assert_int_equal(kernel_find(p.dir, &o, &k), -ENOENT);
    remove_place(&p);
}

/* A file cut anywhere, or with any byte of its head changed, is made or refused with a
 * reason; nothing else happens. */
static void damage_is_refused(void **state)
{
    struct place p;
    SCOPED(str_fini) struct str whole = {0};
    struct kernel_order o = {.file = p.file};

    (void)state;
    make_place(&p, PACKING_ZSTD);
    read_whole(p.file, &whole);
    for (size_t i = 0; i < 200; i++) {
        struct kernel_ready k = {0};
        struct err e = {0};
        size_t n = i < 100 ? whole.len * i / 100 : whole.len;
        size_t at = 0x1f0 + (i - 100) * 2;
        int r;

        whole.data[at] ^= (char)(i < 100 ? 0 : 0xff);
        assert_int_equal(file_replace(AT_FDCWD, p.file, whole.data, n, 0644, false), 0);
        whole.data[at] ^= (char)(i < 100 ? 0 : 0xff);
        r = kernel_make(p.dir, &o, NULL, &k, &e);
        assert_true((r < 0) == (e.text[0] != '\0'));
        if (n > 0x300 && i < 100) { /* shorter, it is no bzImage at all */
            assert_int_equal(r, -EBADMSG);
        }
        kernel_ready_fini(&k);
    }
    remove_place(&p);
}

/* What unpacks to more than it says is cut off at what it says; what says too much is
 * refused before any memory is taken. */
static void sizes_are_bounds(void **state)
{
    struct str plain = {0}, payload = {0}, file = {0};
    struct bzimage b;
    uint8_t *out = NULL;
    size_t n = 0;

    (void)state;
    for (enum packing how = 0; how < PACKING_BZIP2; how++) {
        static const char zeros[1 << 20];
        struct err e = {0};

        str_fini(&plain);
        str_fini(&payload);
        plain = payload = (struct str){0};
        str_add_bytes(&plain, zeros, sizeof zeros);
        packed_payload(&plain, how, &payload);
        assert_int_equal(
            unpack_confined((uint8_t *)payload.data, payload.len, 1 << 20, &out, &n, &e),
            0);
        assert_int_equal(n, 1 << 20);
        assert_memory_equal(out, zeros, sizeof zeros);
        unpack_unmap(out, 1 << 20);
        assert_int_equal(unpack_confined((uint8_t *)payload.data, payload.len,
                                         (1 << 20) - 1, &out, &n, &e),
                         -EBADMSG);
    }
    memset(payload.data + payload.len - 4, 0xff, 4);
    packed_bzimage(&payload, &file);
    assert_int_equal(bzimage_read((uint8_t *)file.data, file.len, &b, NULL), -EBADMSG);
    str_fini(&plain);
    str_fini(&payload);
    str_fini(&file);
}

static void many_at_once_get_the_same(void **state)
{
    struct place p;
    struct kernel_order o = {.file = p.file};
    int status = 0;

    (void)state;
    make_place(&p, PACKING_XZ);
    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            struct kernel_ready k = {0};
            int r = kernel_make(p.dir, &o, NULL, &k, NULL);

            _exit(r == 0 && access(k.kernel, R_OK) == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < 8; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    remove_place(&p);
}

static int lay_out(void *arg)
{
    const struct str *elf = arg;
    const struct bzimage b = {.setup = (const uint8_t *)"setup", .setup_bytes = 5};
    uint8_t *out = NULL;
    size_t n;
    int r = bzimage_layout(&b, (uint8_t *)elf->data, elf->len, &out, &n, NULL);

    free(out);
    return r;
}

static void memory_may_be_missing(void **state)
{
    SCOPED(str_fini) struct str elf = {0};

    (void)state;
    packed_elf(&elf);
    assert_int_equal(check_each_allocation(lay_out, &elf, -ENOMEM), 1);
}

static void a_tree_without_a_kernel_says_so(void **state)
{
    char *dir = craft_dir();
    struct kernel_order o = {.tree_id = "sha256:0"};
    struct kernel_ready k = {0};
    struct tree *t = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(image_tree_dir(dir, &t, NULL), 0);
    assert_int_equal(kernel_make(dir, &o, t, &k, &e), -ENOENT);
    assert_non_null(strstr(e.text, "has no kernel"));
    tree_close(t);
    craft_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packing_gives_the_same_file),
        cmocka_unit_test(an_unknown_packing_is_booted_as_it_is),
        cmocka_unit_test(a_changed_file_is_not_found_again),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(sizes_are_bounds),
        cmocka_unit_test(many_at_once_get_the_same),
        cmocka_unit_test(memory_may_be_missing),
        cmocka_unit_test(a_tree_without_a_kernel_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
