/* Containerfiles are built above busybox, with a simple runner of commands.
 * rows: OSL-08 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "fixture.h"
#include "tests/base/check.h"

/* ---- promises ---- */

static void settings_land_in_the_configuration(void **state)
{
    struct fixture *f = get(state, false);
    struct image img;
    const char *args[] = {"ver=7", NULL};

    f->b.args = args;
    assert_built(f, "ARG base=busybox\n"
                    "FROM ${base} AS one\n"
                    "ARG ver=1\n"
                    "ARG base\n"
                    "ENV A=b V=\"v $ver\" OLD=\"$base\"\n"
                    "ENV A=c\n"
                    "LABEL org.x=\"1 2\" y=z\n"
                    "WORKDIR /srv\n"
                    "WORKDIR app/../data\n"
                    "USER 5:6\n"
                    "EXPOSE 80 53/udp 8000-8002\n"
                    "VOLUME /data [\"/x\"]\n"
                    "STOPSIGNAL SIGINT\n"
                    "HEALTHCHECK --interval=10s --retries=3 CMD test -e /ok\n"
                    "MAINTAINER me <m@e>\n"
                    "ENTRYPOINT [\"/bin/echo\", \"$A\"]\n"
                    "CMD hello $A\n");
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_int_equal(img.env.n, 4);
    assert_string_equal(img.env.items[1], "A=c");
    assert_string_equal(img.env.items[2], "V=v 7");
    assert_string_equal(img.env.items[3], "OLD=busybox");
    assert_string_equal(img.workdir, "/srv/data");
    assert_string_equal(img.user, "5:6");
    assert_int_equal(img.exposed.n, 5);
    assert_true(strv_has(&img.exposed, "53/udp"));
    assert_true(strv_has(&img.exposed, "8001/tcp"));
    assert_string_equal(img.stop_signal, "SIGINT");
    assert_string_equal(img.entrypoint.items[1], "$A");
    assert_int_equal(img.cmd.n, 3);
    assert_string_equal(img.cmd.items[2], "hello $A");
    assert_string_equal(json_string_value(json_object_get(img.labels, "org.x")), "1 2");
    assert_int_equal(json_integer_value(json_object_get(img.healthcheck, "Interval")),
                     10000000000);
    image_fini(&img);
    assert_mode(f, "srv/data", 0755, 0, 0);
}

static void files_are_copied_as_told(void **state)
{
    struct fixture *f = get(state, false);

    put(f, "tree/sub", NULL);
    put(f, "tree/a.txt", "a");
    put(f, "tree/sub/b.txt", "b");
    put(f, "one.c", "1");
    put(f, "two.c", "2");
    put(f, "secret", "no");
    put(f, ".containerignore", "secret\ntree/sub/*.tmp\n");
    put(f, "tree/sub/x.tmp", "x");
    assert_built(f, "FROM busybox\n"
                    "WORKDIR /w\n"
                    "COPY tree /t\n"
                    "COPY *.c .\n"
                    "COPY one.c /renamed\n"
                    "COPY --chown=www-data:users --chmod=0600 one.c /owned/\n"
                    "COPY [\"one.c\", \"/with space/\"]\n"
                    "COPY ../../one.c /up\n"
                    "COPY <<note <<'plain' /notes/\n"
                    "hi $PATH\n"
                    "note\n"
                    "hi $PATH\n"
                    "plain\n"
                    "COPY one.c /tmp/\n");
    assert_file(f, "t/sub/b.txt", "b");
    assert_file(f, "t/sub/x.tmp", NULL);
    assert_file(f, "w/two.c", "2");
    assert_file(f, "renamed", "1");
    assert_file(f, "with space/one.c", "1");
    assert_file(f, "up", "1");
    assert_file(f, "notes/plain", "hi $PATH\n");
    assert_file(f, "notes/note",
                "hi /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    assert_mode(f, "owned/one.c", 0600, 33, 100);
    assert_mode(f, "renamed", 0644, 0, 0);
    assert_mode(f, "tmp", 01777, 0, 0); /* what was there stays as it was */
}

static void links_of_the_image_lead_nowhere_else(void **state)
{
    struct fixture *f = get(state, true);

    put(f, "x", "payload");
    assert_built(
        f, "FROM busybox\n"
           "RUN mkdir -p /usr/lib && ln -s usr/lib /lib && ln -s /etc/../../.. /up\n"
           "COPY x /lib/\n"
           "COPY x /up/tmp/x\n");
    assert_file(f, "usr/lib/x", "payload");
    assert_file(f, "tmp/x", "payload");
    {
        SCOPED(view_close) struct view v = {0};
        struct view_entry at;

        open_made(f, &v);
        assert_int_equal(view_find(&v, "lib", false, &at), 0);
        assert_true(S_ISLNK(at.st.st_mode));
    }
}

static void commands_run_and_their_changes_stay(void **state)
{
    struct fixture *f = get(state, true);

    put(f, "data", "d");
    assert_built(f, "FROM busybox\n"
                    "ARG who=world\n"
                    "ENV GREETING=hello\n"
                    "WORKDIR /w\n"
                    "RUN echo $GREETING $who > out && rm /etc/group\n"
                    "RUN [\"/bin/touch\", \"a b\"]\n"
                    "RUN <<EOF\n"
                    "set -e\n"
                    "echo one > doc\n"
                    "EOF\n"
                    "RUN cat <<X > second\n"
                    "two\n"
                    "X\n"
                    "USER 33\n"
                    "RUN id -u > /tmp/uid\n");
    assert_int_equal(f->runs, 5);
    assert_file(f, "w/out", "hello world\n");
    assert_file(f, "etc/group", NULL);
    assert_file(f, "w/a b", "");
    assert_file(f, "w/doc", "one\n");
    assert_file(f, "w/second", "two\n");
    assert_file(f, "tmp/uid", "33\n");
    assert_true(f->last.network);
    assert_no_debris(f);
}

static void mounts_are_there_for_one_command(void **state)
{
    struct fixture *f = get(state, true);

    put(f, "src", NULL);
    put(f, "src/in", "input");
    assert_built(f, "FROM busybox AS other\n"
                    "RUN echo made > /made\n"
                    "FROM busybox\n"
                    "RUN --mount=type=bind,source=src,target=/m cat /m/in > /out\n"
                    "RUN --mount=type=bind,from=other,target=/o cat /o/made > /out2\n"
                    "RUN --mount=type=cache,target=/c echo kept > /c/x\n"
                    "RUN --mount=type=cache,target=/c cat /c/x > /out3\n"
                    "RUN --mount=type=tmpfs,target=/t --network=none echo gone > /t/x\n");
    assert_file(f, "out", "input");
    assert_file(f, "out2", "made\n");
    assert_file(f, "out3", "kept\n");
    assert_file(f, "t/x", NULL);
    assert_false(f->last.network);
}

static void stages_hand_files_on(void **state)
{
    struct fixture *f = get(state, true);
    struct image img;

    assert_built(f, "FROM busybox AS build\n"
                    "RUN mkdir /out && echo bin > /out/tool && ln -s tool /out/alias && "
                    "chown 7:8 /out/tool\n"
                    "FROM busybox AS unused\n"
                    "RUN exit 3\n"
                    "FROM scratch\n"
                    "COPY --from=build /out /opt\n"
                    "COPY --from=busybox /etc/passwd /etc/\n"
                    "CMD [\"/opt/tool\"]\n");
    assert_int_equal(f->runs, 1);
    assert_file(f, "opt/tool", "bin\n");
    assert_file(f, "opt/alias", "bin\n");
    assert_file(f, "bin/sh", NULL);
    assert_mode(f, "opt/tool", 0644, 7, 8);
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_int_equal(img.n_layers, 2);
    image_fini(&img);
    f->b.target = "build";
    assert_built(f, "FROM busybox AS build\nRUN echo x > /x\nFROM busybox\nRUN exit 1\n");
    assert_file(f, "x", "x\n");
    f->b.target = "none";
    assert_int_equal(build(f, "FROM busybox\n"), -ENOENT);
}

static void what_did_not_change_is_not_done_again(void **state)
{
    static const char text[] = "FROM busybox\n"
                               "RUN date > /one\n"
                               "COPY f /f\n"
                               "RUN echo two > /two\n";
    struct fixture *f = get(state, true);
    struct image a, b;

    put(f, "f", "1");
    assert_built(f, text);
    assert_int_equal(f->runs, 2);
    assert_int_equal(image_find(f->store, "made:1", &a, &f->e), 0);
    assert_built(f, text);
    assert_int_equal(f->runs, 0);
    assert_int_equal(f->cached, 3);
    assert_int_equal(image_find(f->store, "made:1", &b, &f->e), 0);
    assert_string_equal(a.layers[3].diff_id, b.layers[3].diff_id);
    image_fini(&a);
    image_fini(&b);
    put(f, "f", "2");
    assert_built(f, text);
    assert_int_equal(f->runs, 1); /* only what follows the file */
    assert_file(f, "f", "2");
    f->b.no_cache = true;
    assert_built(f, text);
    assert_int_equal(f->runs, 2);
}

static void local_archives_are_unpacked_by_add(void **state)
{
    struct fixture *f = get(state, true);
    char command[300];

    put(f, "t/d", NULL);
    put(f, "t/d/f", "in tar");
    (void)str_print(command, sizeof command,
                    "tar -C %s/t -czf %s/x.tar.gz . && ln %s/t/d/f %s/t/h && "
                    "tar -C %s/t -cf %s/h.tar d/f h",
                    f->context, f->context, f->context, f->context, f->context,
                    f->context);
    assert_int_equal(system(command), 0);
    assert_built(f, "FROM busybox\nADD x.tar.gz /a/\nADD h.tar t/d/f /b/\n"
                    "COPY x.tar.gz /c/\n");
    assert_file(f, "a/d/f", "in tar");
    assert_file(f, "b/h", "in tar");
    assert_file(f, "b/f", "in tar");
    assert_file(f, "a/x.tar.gz", NULL);
    assert_mode(f, "c/x.tar.gz", 0644, 0, 0);
    (void)str_print(command, sizeof command,
                    "cd %s && tar --transform 's,^,../,' -Pcf evil.tar x.tar.gz",
                    f->context);
    assert_int_equal(system(command), 0);
    assert_int_equal(build(f, "FROM busybox\nADD evil.tar /a/\n"), -EINVAL);
    assert_non_null(strstr(f->e.text, "leads elsewhere"));
}

static void mistakes_name_file_line_and_instruction(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } rows[] = {
        {"FROM nowhere\n", -ENOENT,
         "Containerfile:1: FROM: image 'nowhere' is not in the store"},
        {"FROM busybux\n", -ENOENT, "did you mean 'busybox:latest'"},
        {"RUN x\nFROM busybox\n", -EINVAL, ":1: RUN: only ARG"},
        {"ARG x\n", -EINVAL, "it has no FROM"},
        {"FROM busybox AS\n", -EINVAL, ":1: FROM: write FROM"},
        {"FROM busybox\n\nCOPY none /x\n", -ENOENT,
         ":3: COPY: 'none' is not in the context"},
        {"FROM busybox\nCOPY hidden /x\n", -ENOENT, "an ignore file leaves it out"},
        {"FROM busybox\nCOPY x\n", -EINVAL, "a source and a destination"},
        {"FROM busybox\nCOPY x y /z\n", -EINVAL, "must end with /"},
        {"FROM busybox\nCOPY x /bin\nCOPY x /bin/busybox/z\n", -ENOTDIR, ":3: COPY"},
        {"FROM busybox\nCOPY --chown=stranger x /y\n", -ENOENT, "'stranger'"},
        {"FROM busybox\nCOPY --chmod=999 x /y\n", -EINVAL, "octal"},
        {"FROM busybox\nCOPY --parents x /y\n", -EINVAL, "'--parents' is not supported"},
        {"FROM busybox\nCOPY --from=none /x /y\n", -ENOENT, "'none'"},
        {"FROM busybox\nADD https://x/y /z\n", -EINVAL, "is an address"},
        {"FROM busybox\nENV A\n", -EINVAL, ":2: ENV: "},
        {"FROM busybox\nENV A=${B:?no}\n", -EINVAL, "'B' has no value: no"},
        {"FROM busybox\nENV A=${B#x}\n", -EINVAL, "not supported"},
        {"FROM busybox\nEXPOSE http\n", -EINVAL, "is no port"},
        {"FROM busybox\nONBUILD FROM x\n", -EINVAL, ":2: ONBUILD: FROM cannot be"},
        {"FROM busybox\nONBUILD ONBUILD RUN x\n", -EINVAL, "ONBUILD cannot be"},
        {"FROM busybox\nONBUILD FLY x\n", -EINVAL, "is no instruction"},
        {"FROM busybox\nSHELL sh\n", -EINVAL, "JSON array"},
        {"FROM busybox\nHEALTHCHECK curl\n", -EINVAL, "NONE"},
        {"FROM busybox\nRUN --mount=type=ssh,target=/x y\n", -EINVAL, "'ssh'"},
        {"FROM busybox\nRUN --mount=type=secret,id=x y\n", -EINVAL, "target"},
        {"FROM busybox\nRUN --security=insecure y\n", -EINVAL, "'--security'"},
        {"FROM busybox\nRUN --network=host y\n", -EINVAL, "--network=host"},
        {"FROM scratch\nRUN true\n", -EINVAL, "nothing to run"},
        {"FROM scratch\nENV A=b\n", -EINVAL, "would be empty"},
    };
    struct fixture *f = get(state, false);

    put(f, "x", "x");
    put(f, "y", "y");
    put(f, "hidden", "h");
    put(f, ".dockerignore", "hidden\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = build(f, rows[i].text);

        if (r != rows[i].code || strstr(f->e.text, rows[i].says) == NULL) {
            fail_msg("%s: %d %s", rows[i].text, r, f->e.text);
        }
        assert_int_equal(strncmp(f->e.text, "cannot build 'made:1': ", 23), 0);
        assert_no_debris(f);
    }
}

static void a_failed_command_leaves_nothing(void **state)
{
    struct fixture *f = get(state, true);
    struct image img;

    assert_int_equal(build(f, "FROM busybox\nRUN touch /x\nRUN touch /y; exit 7\n"),
                     -ECHILD);
    assert_non_null(strstr(f->e.text, ":3: RUN: the command ended with code 7"));
    assert_no_debris(f);
    assert_int_equal(image_find(f->store, "made:1", &img, NULL), -ENOENT);
    assert_built(f, "FROM busybox\nRUN touch /x\nRUN touch /y\n");
    assert_int_equal(f->runs, 1); /* the first was done already */
    f->b.runner = NULL;
    assert_int_equal(build(f, "FROM busybox\nRUN echo other\n"), -ENOTSUP);
}

static void one_source_date_gives_one_image(void **state)
{
    struct fixture *f = get(state, true);
    static const char text[] = "FROM busybox\nWORKDIR /w\nCOPY f g/\nRUN echo x > /x\n";
    struct image a, b;

    put(f, "f", "1");
    (void)setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    f->b.no_cache = true;
    assert_built(f, text);
    assert_int_equal(image_find(f->store, "made:1", &a, &f->e), 0);
    (void)sleep(1);
    put(f, "f", "1");
    assert_built(f, text);
    assert_int_equal(image_find(f->store, "made:1", &b, &f->e), 0);
    (void)unsetenv("SOURCE_DATE_EPOCH");
    assert_string_equal(a.manifest.digest, b.manifest.digest);
    assert_string_equal(a.created, "2023-11-14T22:13:20.000000000Z");
    image_fini(&a);
    image_fini(&b);
}

static void busybox_is_small_quick_and_the_same_each_time(void **state)
{
    static const struct build_base usual, nowhere = {.path = "/nonexistent"};
    struct fixture *f = get(state, false);
    struct timespec t[2];
    struct image_desc again;
    struct image img;
    SCOPED(view_close) struct view v = {0};
    struct view_entry x;
    char target[PATH_MAX];

    assert_int_equal(image_find(f->store, "busybox", &img, &f->e), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &t[0]);
    assert_int_equal(build_busybox(&f->pack, &usual, &again, &f->e), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &t[1]);
    assert_string_equal(again.digest, img.manifest.digest);
    print_message("busybox built in %ld ms\n",
                  (t[1].tv_sec - t[0].tv_sec) * 1000 +
                      (t[1].tv_nsec - t[0].tv_nsec) / 1000000);
    image_fini(&img);
    assert_int_equal(image_tag(f->store, "busybox", "made:1", &f->e), 0);
    open_made(f, &v);
    assert_int_equal(view_find(&v, "bin/sh", false, &x), 0);
    assert_int_equal(view_read_link(&v, &x, target), 0);
    assert_string_equal(target, "/bin/busybox");
    err_clear(&f->e);
    assert_int_equal(build_busybox(&f->pack, &nowhere, &again, &f->e), -ENOENT);
    assert_non_null(strstr(f->e.text, "busybox-static"));
}

static void a_missing_mmdebstrap_is_explained(void **state)
{
    struct fixture *f = get(state, false);
    SCOPED(scope_free) char *path = strdup(getenv("PATH"));
    struct image_desc desc;

    (void)setenv("PATH", "/nonexistent", 1);
    err_clear(&f->e);
    assert_int_equal(
        build_debian(&f->pack, &(struct build_base){.suite = "bookworm"}, &desc, &f->e),
        -ENOENT);
    (void)setenv("PATH", path, 1);
    assert_non_null(strstr(f->e.text, "apt-get install mmdebstrap"));
    err_clear(&f->e);
    assert_int_equal(
        build_debian(&f->pack, &(struct build_base){.suite = "../x"}, &desc, &f->e),
        -EINVAL);
}

/* The real archive is asked only when told so: it takes a network and 15 s. */
static void debian_comes_from_its_archive(void **state)
{
    struct fixture *f = get(state, true);
    struct image_desc desc;

    if (getenv("STRATA_TEST_NETWORK") == NULL) {
        print_message("skipped: STRATA_TEST_NETWORK is not set\n");
        skip();
    }
    err_clear(&f->e);
    if (build_debian(&f->pack,
                     &(struct build_base){.suite = "bookworm", .name = "made:1"}, &desc,
                     &f->e) < 0) {
        fail_msg("%s", f->e.text);
    }
    assert_file(f, "etc/hostname", NULL);
    assert_mode(f, "etc/debian_version", 0644, 0, 0);
    assert_no_debris(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(settings_land_in_the_configuration),
        T(files_are_copied_as_told),
        T(links_of_the_image_lead_nowhere_else),
        T(commands_run_and_their_changes_stay),
        T(mounts_are_there_for_one_command),
        T(stages_hand_files_on),
        T(what_did_not_change_is_not_done_again),
        T(local_archives_are_unpacked_by_add),
        T(mistakes_name_file_line_and_instruction),
        T(a_failed_command_leaves_nothing),
        T(one_source_date_gives_one_image),
        T(busybox_is_small_quick_and_the_same_each_time),
        T(a_missing_mmdebstrap_is_explained),
        T(debian_comes_from_its_archive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
