/* graph_test.c - words make the disks that they say, and nonsense is refused with a reason. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/throttle.h"
#include "resource/storage/graph/crypt.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE        (1u << 20)
#define SIZE_S      "1M"
#define ALLOCATIONS 150

struct words {
    const char *const *word;
    unsigned count;
    struct loop *loop;
    struct err e;
    int (*look)(struct graph *g); /* at a graph that was made */
};

static int run_words(void *arg)
{
    struct words *w = arg;
    struct graph *g = NULL;
    int r = graph_create(w->loop, &g, &w->e);

    for (unsigned i = 0; r == 0 && i < w->count; i++) {
        r = graph_plan(g, w->word[i], &w->e);
    }
    r = r != 0 ? r : graph_make(g, true, &w->e);
    r = r != 0 ? r : graph_make(g, false, &w->e);
    r = r == 0 && w->look != NULL ? w->look(g) : r;
    graph_destroy(g);
    return r;
}

static int make_words(struct words *w)
{
    int r;

    w->e = (struct err){0};
    r = loop_create(LOOP_DRIVER_AUTO, &w->loop, &w->e);
    if (r != 0) {
        return r;
    }
    r = loop_do(w->loop, run_words, w);
    loop_destroy(w->loop);
    return r;
}

static const struct {
    const char *word[4];
    int code;
    const char *text; /* a part of what is said */
} bad[] = {
    {{""}, -EINVAL, "'' is no name"},
    {{"a"}, -EINVAL, "its type is missing"},
    {{"a,"}, -EINVAL, "'' is no type"},
    {{"-a,memory,size=1M"}, -EINVAL, "no name"},
    {{"a/b,memory,size=1M"}, -EINVAL, "no name"},
    {{"a,,b,memory"}, -EINVAL, "no name"},
    {{"a,memori,size=1M"}, -EINVAL, "did you mean 'memory'?"},
    {{"a,memory"}, -EINVAL, "'size=' is missing"},
    {{"a,memory,size"}, -EINVAL, "takes a value"},
    {{"a,memory,size="}, -EINVAL, "is no number"},
    {{"a,memory,size=x"}, -EINVAL, "is no number"},
    {{"a,memory,size=-1"}, -EINVAL, "is no number"},
    {{"a,memory,size=99999999999999999999"}, -EINVAL, "is no number"},
    {{"a,memory,size=1000"}, -EINVAL, "not whole blocks"},
    {{"a,memory,size=1M,block=3"}, -EINVAL, "not whole blocks"},
    {{"a,memory,size=1M,block=1M"}, -EINVAL, "not whole blocks"},
    {{"a,memory,size=1M,size=2M"}, -EINVAL, "said twice"},
    {{"a,memory,size=1M,,colour=red"}, -EINVAL, "no number"},
    {{"a,memory,size=1M,colour=red"}, -EINVAL, "'colour=red' is no word"},
    {{"a,memory,size=1M", "a,memory,size=1M"}, -EEXIST, "of this name"},
    {{"a,file"}, -EINVAL, "needs 'fd=' or 'path='"},
    {{"a,file,fd=0,path=/x"}, -EINVAL, "needs 'fd=' or 'path='"},
    {{"a,file,fd=-1"}, -EINVAL, "no descriptor"},
    {{"a,file,fd=1x"}, -EINVAL, "no descriptor"},
    {{"a,file,fd=99999999999"}, -EINVAL, "no descriptor"},
    {{"a,file,fd=999"}, -EBADF, "descriptor 999"},
    {{"a,file,path=/does/not/exist"}, -ENOENT, "/does/not/exist"},
    {{"a,file,path=/dev/null"}, -EINVAL, "neither a file nor a block device"},
    {{"a,file,read-only=1,fd=0"}, -EINVAL, "takes no value"},
    {{"a,raw"}, -EINVAL, "'file=' is missing"},
    {{"a,raw,file=b"}, -ENOENT, "no disk before it is called 'b'"},
    {{"a,raw,file=a"}, -ENOENT, "no disk before it is called 'a'"},
    {{"a,raw,file=b", "b,memory,size=1M"}, -ENOENT, "no disk before it"},
    {{"a,memory,size=1M", "b,qcow2,file=a"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,vmdk,file=a"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,vhdx,file=a"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,vhd,file=a"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,vdi,file=a"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,luks,file=a,key=999"}, -EBADF, "passphrase"},
    {{"a,memory,size=1M", "b,qcow2,file=a,key=999"}, -EBADF, "passphrase"},
    {{"a,memory,size=1M", "b,qcow2,file=a,locked"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,raw,file=a,read-only"}, -EINVAL, "'a' is to be read only"},
    {{"a,memory,size=1M", "b,throttle,file=a,group=a"}, -EINVAL, "no limits to share"},
    {{"a,memory,size=1M", "b,throttle,file=a,iops=2000T"}, -ERANGE, "no sense"},
    {{"a,memory,size=1M", "b,throttle,file=a,burst-iops-ms=1T"}, -ERANGE, "no sense"},
    {{"a,memory,size=1M", "b,throttle,file=a", "c,throttle,file=a"}, -EBUSY, "node 'c'"},
    {{"a,memory,size=1M", "b,cache,slow=a,fast=a"}, -EBUSY, "node 'b'"},
    {{"a,memory,size=1M", "f,memory,size=1M", "b,cache,slow=a,fast=f,mode=fast"},
     -EINVAL,
     "mode= is"},
    {{"a,memory,size=1M", "f,memory,size=1M", "b,cache,slow=a,fast=f"}, -EUCLEAN, "'b'"},
    {{"a,memory,size=1M", "f,memory,size=1M", "b,tier,slow=a,fast=f"}, -EUCLEAN, "'b'"},
    {{"a,memory,size=1M", "f,memory,size=1M", "b,overlay,base=a,top=f"}, -EUCLEAN, "'b'"},
    {{"a,memory,size=1M", "b,checksum,file=a"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "b,dedup,file=a,volume=v"}, -EUCLEAN, "node 'b'"},
    {{"a,memory,size=1M", "f,memory,size=1M", "b,marks,file=a,set=f"}, -ENOENT, "'b'"},
    {{"a,memory,size=1M", "b,mirror,piece=a,piece=-"}, -EUCLEAN, "node 'b'"},
    {{"b,mirror,piece=-,piece=-"}, -ENODEV, "node 'b'"},
    {{"a,memory,size=1M", "b,raid,piece=a"}, -EINVAL, "'level=' is missing"},
    {{"a,memory,size=1M", "b,raid,piece=a,level=7"}, -EINVAL, "node 'b'"},
    {{"a,rbd,pool=p,image=i,soname=/nothing"}, -ENOPKG, "node 'a'"},
    {{"a,nbd,uri=nonsense://"}, -EINVAL, "node 'a'"},
    {{"a,iscsi,url=nonsense://"}, -EINVAL, "not iscsi://HOST"},
    {{"a,iscsi,url=iscsi://127.0.0.1:1/t/0,patience=1G"}, -EINVAL, "that patient"},
    {{"a,rbd,pool=p"}, -EINVAL, "'image=' is missing"},
};

static void nonsense_is_refused(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct words w = {.word = bad[i].word};

        while (w.count < 4 && bad[i].word[w.count] != NULL) {
            w.count++;
        }
        if (make_words(&w) != bad[i].code || strstr(w.e.text, bad[i].text) == NULL) {
            print_error("'%s': %d %s\n", bad[i].word[w.count - 1], w.e.code, w.e.text);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static int look_at_names(struct graph *g)
{
    struct err e = {0};

    must(graph_top(g, &e) == graph_disk(g, "t", &e));
    must(graph_disk(g, "nobody", &e) == NULL && strstr(e.text, "'nobody'") != NULL);
    must(strcmp(graph_type_of(g, "t"), "throttle") == 0);
    must(graph_throttle(g, "a") == NULL && graph_throttle(g, "t") != NULL);
    return 0;
}

/* A comma in a value is two. */
static void nodes_are_found_by_name(void **state)
{
    char dir[] = "/tmp/graph-test-XXXXXX";
    char path[64], word[128];
    const char *const words[] = {word,
                                 "t,throttle,file=a,iops=100,burst-iops=1K,op-bytes=4K"};
    struct words w = {.word = words, .count = 2, .look = look_at_names};
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/a,b", dir);
    (void)snprintf(word, sizeof word, "a,file,path=%s/a,,b", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(make_words(&w), 0);
    (void)close(fd);
    (void)unlink(path);
    (void)rmdir(dir);
}

/* A disk that somebody uses outlives its name; the name is free again. */
static int forget(struct graph *g)
{
    struct blk_edge user = {.user = "test", .uses = BLK_USE_ALL};
    struct filter_throttle_limits l;
    struct err e = {0};
    char byte[512] = "x";

    must_be_0(
        graph_add(g, "b,throttle,file=a,bytes=1T,burst-bytes=2T,burst-bytes-ms=5", &e));
    filter_throttle_group_get(graph_throttle(g, "b"), &l);
    must(l.rate[FILTER_THROTTLE_BYTES].burst_ms == 5);
    must(graph_add(g, "b,memory,size=1M", &e) == -EEXIST);
    err_clear(&e);
    must_be_0(blk_attach(&user, graph_disk(g, "b", &e), &e));
    must_be_0(graph_forget(g, "b", &e));
    must(graph_forget(g, "b", &e) == -ENOENT);
    err_clear(&e);
    must_be_0(blk_write(user.disk, byte, sizeof byte, 0, 0));
    must(graph_add(g, "b,throttle,file=a", &e) == -EBUSY);
    must(strstr(e.text, "node 'b'") != NULL);
    err_clear(&e);
    must(graph_disk(g, "b", NULL) == NULL); /* what failed has no name */
    blk_detach(&user);
    must_be_0(graph_add(g, "b,throttle,file=a,group=c", &e));
    must(graph_throttle(g, "b") == NULL); /* it shares that of c */
    must_be_0(graph_forget(g, "c", &e));
    must_be_0(blk_read(graph_disk(g, "b", &e), byte, sizeof byte, 0));
    return byte[0] == 'x' ? 0 : -EIO;
}

static void a_disk_in_use_outlives_its_name(void **state)
{
    const char *const words[] = {"a,memory,size=1M", "m,memory,size=1M",
                                 "c,throttle,file=m,iops=100000"};
    struct words w = {.word = words, .count = 3, .look = forget};

    (void)state;
    assert_int_equal(make_words(&w), 0);
}

/* What nobody uses goes, with all its names, and what it had open. */
static void count_name(void *arg, const char *name)
{
    (void)name;
    *(unsigned *)arg += 1;
}

static int prune(struct graph *g)
{
    struct blk_edge user = {.user = "test", .uses = BLK_USE_READ};
    struct err e = {0};
    unsigned gone = 0;

    must_be_0(blk_attach(&user, graph_disk(g, "kept", &e), &e));
    graph_prune(g, count_name, &gone);
    must(gone == 2 && graph_type_of(g, "f") == NULL && graph_type_of(g, "r") == NULL);
    must(graph_type_of(g, "m") != NULL && graph_type_of(g, "kept") != NULL);
    must_be_0(graph_add(g, "f,memory,size=1M", &e));
    blk_detach(&user);
    gone = 0;
    graph_prune(g, count_name, &gone);
    must(gone == 3 && graph_last(g) == NULL);
    return 0;
}

static void what_nobody_uses_goes(void **state)
{
    const char *const words[] = {"f,memory,size=1M", "r,raw,file=f", "m,memory,size=1M",
                                 "kept,raw,file=m"};
    struct words w = {.word = words, .count = 4, .look = prune};

    (void)state;
    assert_int_equal(make_words(&w), 0);
}

/* Two readers of one, while a third does not write. */
static int share(struct graph *g)
{
    struct blk *base = graph_disk(g, "base", NULL);
    struct qcow2_create_options o = {
        .size_bytes = SIZE, .backing_name = "whatever", .backing_format = "raw"};
    struct err e = {0};
    char in[512] = "hello";
    char out[512];

    must_be_0(blk_write(base, in, sizeof in, 4096, 0));
    must_be_0(qcow2_create(graph_disk(g, "f1", NULL), &o, &e));
    must_be_0(qcow2_create(graph_disk(g, "f2", NULL), &o, &e));
    must(graph_add(g, "q1,qcow2,file=f1", &e) == -EACCES);
    must(strstr(e.text, "'whatever'") != NULL && strstr(e.text, "backing=") != NULL);
    err_clear(&e);
    must_be_0(graph_add(g, "q1,qcow2,file=f1,backing=base", &e));
    must_be_0(graph_add(g, "q2,qcow2,file=f2,backing=base", &e));
    must(graph_add(g, "t,throttle,file=base", &e) == -EBUSY);
    must(strstr(e.text, "'q") != NULL);
    must_be_0(blk_read(graph_disk(g, "q1", NULL), out, sizeof out, 4096));
    must(memcmp(in, out, sizeof in) == 0);
    must_be_0(blk_zero(graph_disk(g, "q1", NULL), 4096, 512, 0));
    must_be_0(blk_read(graph_disk(g, "q2", NULL), out, sizeof out, 4096));
    must(memcmp(in, out, sizeof in) == 0);
    return 0;
}

static void layers_share_what_they_stand_on(void **state)
{
    int fd[2] = {memfd_create("f1", 0), memfd_create("f2", 0)};
    char word[2][32];
    const char *const words[] = {"base,memory,size=" SIZE_S, word[0], word[1]};
    struct words w = {.word = words, .count = 3, .look = share};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ftruncate(fd[i], SIZE), 0);
        (void)snprintf(word[i], sizeof word[i], "f%u,file,fd=%d", i + 1, fd[i]);
    }
    assert_int_equal(make_words(&w), 0);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void want_of_memory_leaves_nothing(void **state)
{
    const char *const words[] = {"a,memory,size=1M",
                                 "f,memory,size=1M",
                                 "b,raw,file=a",
                                 "c,cache,slow=b,fast=f,fresh,mode=write-back",
                                 "d,throttle,file=c,iops=100000",
                                 "l,log,file=d"};
    struct words w = {.word = words, .count = 6};
    unsigned failed = 0;

    (void)state;
    for (int n = 0; n < ALLOCATIONS; n++) { /* some are done without */
        int r;

        fault_fail_alloc_at(n);
        r = make_words(&w);
        fault_fail_alloc_at(-1);
        assert_true(r == 0 || r == -ENOMEM || r == -ENOSPC); /* memory is full */
        failed += r != 0;
    }
    assert_in_range(failed, 10, ALLOCATIONS - 10);
}

/* ---- encrypted images ---- */

#define PASSPHRASE "a passphrase"

static int secret_fd(const char *text)
{
    int fd = memfd_create("secret", MFD_CLOEXEC);

    must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

static int make_encrypted(struct graph *g)
{
    struct luks_secret secret = {PASSPHRASE, sizeof PASSPHRASE - 1};
    struct qcow2_create_options o = {.size_bytes = SIZE};
    struct luks_cost cost = {.rounds = 1000};
    struct crypt_copy copy;
    struct crypt_new own;
    struct err e = {0};

    crypt_new_init(&own, graph_loop(g), &secret, &cost);
    o.crypt = &own.maker;
    must_be_0(qcow2_create(graph_disk(g, "f", NULL), &o, &e));
    must_be_0(graph_add(g, "locked,qcow2,file=f,locked,read-only", &e));
    must_be_0(crypt_copy_init(&copy, graph_disk(g, "locked", NULL), &e));
    o.crypt = &copy.maker;
    o.backing_name = "below";
    o.backing_format = "qcow2";
    must_be_0(qcow2_create(graph_disk(g, "f2", NULL), &o, &e));
    return 0;
}

/* What is said where: nothing below is in clear, and the layer needs no other passphrase. */
static int use_encrypted(struct graph *g)
{
    int right = secret_fd(PASSPHRASE);
    int wrong = secret_fd("another");
    struct blk *file = graph_disk(g, "f", NULL);
    char word[96];
    char in[512] = "plain text";
    char out[512];
    struct err e = {0};

    must_be_0(make_encrypted(g));
    must(blk_read(graph_disk(g, "locked", NULL), out, sizeof out, 0) == 0); /* a hole */
    must_be_0(graph_forget(g, "locked", &e));
    (void)snprintf(word, sizeof word, "no,qcow2,file=f,key=%d", wrong);
    must(graph_add(g, word, &e) == -EACCES);
    err_clear(&e);
    (void)snprintf(word, sizeof word, "q,qcow2,file=f,key=%d", right);
    must_be_0(graph_add(g, word, &e));
    must_be_0(blk_write(graph_disk(g, "q", NULL), in, sizeof in, 0, 0));
    must_be_0(blk_flush(graph_disk(g, "q", NULL)));
    (void)snprintf(word, sizeof word, "q2,qcow2,file=f2,backing=q,key=%d", right);
    must_be_0(graph_add(g, word, &e));
    must_be_0(blk_read(graph_disk(g, "q2", NULL), out, sizeof out, 0));
    must(memcmp(in, out, sizeof in) == 0);
    for (uint64_t off = 0; off < blk_size(file); off += sizeof out) {
        must_be_0(blk_read(file, out, sizeof out, off));
        must(memcmp(out, in, 10) != 0);
    }
    must_be_0(graph_forget(g, "q2", &e));
    must_be_0(graph_forget(g, "q", &e));
    must_be_0(graph_add(g, "locked,qcow2,file=f,locked,read-only", &e));
    must(blk_read(graph_disk(g, "locked", NULL), out, sizeof out, 0) == -EACCES);
    must_be_0(graph_forget(g, "locked", &e));
    (void)snprintf(word, sizeof word, "q,qcow2,file=f,key=%d", right);
    for (int n = 0; n < ALLOCATIONS; n++) {
        int r;

        fault_fail_alloc_at(n);
        r = graph_add(g, word, &e);
        fault_fail_alloc_at(-1);
        must(r == 0 || r == -ENOMEM);
        err_clear(&e);
        (void)graph_forget(g, "q", NULL);
    }
    (void)close(right);
    (void)close(wrong);
    return 0;
}

static void an_encrypted_layer_has_the_key_of_the_one_below(void **state)
{
    const char *const words[] = {"f,memory,size=4M", "f2,memory,size=4M"};
    struct words w = {.word = words, .count = 2, .look = use_encrypted};

    (void)state;
    assert_int_equal(make_words(&w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(nodes_are_found_by_name),
        cmocka_unit_test(a_disk_in_use_outlives_its_name),
        cmocka_unit_test(what_nobody_uses_goes),
        cmocka_unit_test(layers_share_what_they_stand_on),
        cmocka_unit_test(want_of_memory_leaves_nothing),
        cmocka_unit_test(an_encrypted_layer_has_the_key_of_the_one_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
