/* fixture.c - a node below a fresh directory. */
#include "tests/node/fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "contract/kv.h"
#include "host/file.h"

int fixture_begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct node_options o = {.program = "/nowhere/strata", .libexec = "/nowhere"};
    struct err e = {0};

    assert_non_null(f);
    (void)str_print(f->dir, sizeof f->dir, "/tmp/strata-node-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    o.state = f->dir;
    if (node_open(&o, &f->n, &e) < 0 || node_need_places(f->n, &e) < 0) {
        fail_msg("%s", e.text);
    }
    *state = f;
    return 0;
}

int fixture_end(void **state)
{
    struct fixture *f = *state;

    node_close(f->n);
    assert_int_equal(file_remove_tree(AT_FDCWD, f->dir), 0);
    free(f);
    return 0;
}

void fixture_write(const struct fixture *f, const char *path, const char *text)
{
    char full[PATH_MAX];
    char *slash;

    assert_int_equal(str_print(full, sizeof full, "%s/%s", f->dir, path), 0);
    slash = strrchr(full, '/');
    *slash = '\0';
    assert_int_equal(file_make_dirs(full, 0700), 0);
    *slash = '/';
    assert_int_equal(file_replace(AT_FDCWD, full, text, strlen(text), 0600, false), 0);
}

void fixture_put_guest(const struct fixture *f, const char *id, const char *record)
{
    char key[64];
    struct kv *kv;
    struct err e = {0};

    assert_int_equal(node_kv(f->n, &kv, &e), 0);
    (void)str_print(key, sizeof key, "/guests/%s", id);
    if (kv_put(kv, key, kv_text(record), NULL, &e) < 0) {
        fail_msg("%s", e.text);
    }
}
