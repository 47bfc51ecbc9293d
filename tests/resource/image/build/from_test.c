/* What a build begins with and is told: images from elsewhere, triggers, labels, and
 * single instructions.  rows: OSL-08 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "fixture.h"
#include "tests/base/check.h"

/* ---- a registry of one image ---- */

struct remote {
    int asked;
    int code; /* what it answers; 0: it has the image */
};

static struct remote *the_remote;

/* Brings `busybox` under the wanted name. */
static int fetch(struct pack *p, const char *ref, const json_t *how, struct err *e)
{
    assert_true(how == NULL || json_is_object(how));
    the_remote->asked++;
    if (strchr(ref, '.') == NULL) {
        return -ENODATA;
    }
    return the_remote->code < 0 ? err_set(e, the_remote->code, "the registry is down")
                                : image_tag(p->store, "busybox", ref, e);
}

static struct fixture *get_with(void **state, struct remote *r)
{
    struct fixture *f = get(state, false);

    the_remote = r;
    f->pack.fetch = fetch;
    return f;
}

static void missing_images_are_fetched(void **state)
{
    struct remote r = {0};
    struct fixture *f = get_with(state, &r);

    assert_built(f, "FROM registry.example/box:1\nENV A=b\n");
    assert_int_equal(r.asked, 1);
    assert_built(f, "FROM registry.example/box:1\nENV A=c\n");
    assert_int_equal(r.asked, 1); /* it is here now */
    assert_built(f, "FROM busybox\nCOPY --from=registry.example/two:1 /bin/sh /x\n");
    assert_int_equal(r.asked, 2);
}

static void a_fetch_is_as_the_caller_wants_it(void **state)
{
    struct remote r = {0};
    struct fixture *f = get_with(state, &r);

    f->b.pull = BUILD_PULL_NEVER;
    assert_int_equal(build(f, "FROM registry.example/box\nENV A=b\n"), -ENOENT);
    assert_non_null(strstr(f->e.text, "'registry.example/box' is not in the store"));
    assert_int_equal(r.asked, 0);
    f->b.pull = BUILD_PULL_ALWAYS;
    assert_built(f, "FROM registry.example/box\nENV A=b\n");
    assert_built(f, "FROM registry.example/box\nENV A=b\n");
    assert_int_equal(r.asked, 2);
    assert_built(f,
                 "FROM busybox\nENV A=b\n"); /* no registry has it: that of the store */
    r.code = -ECONNREFUSED;
    assert_int_equal(build(f, "FROM registry.example/box\nENV A=b\n"), -ECONNREFUSED);
    assert_non_null(strstr(f->e.text, ":1: FROM: the registry is down"));
}

static void a_short_name_without_registry_is_explained(void **state)
{
    struct remote r = {0};
    struct fixture *f = get_with(state, &r);

    assert_int_equal(build(f, "FROM nginx-like\nENV A=b\n"), -ENOENT);
    assert_non_null(strstr(f->e.text, "docker.io/library/nginx-like"));
    assert_int_equal(r.asked, 1);
}

/* ---- ONBUILD ---- */

static void triggers_run_in_the_next_build_and_not_later(void **state)
{
    struct fixture *f = get(state, true);
    struct image img;

    put(f, "app", "payload");
    assert_built(f, "FROM busybox\n"
                    "ONBUILD ARG V=1\n"
                    "ONBUILD COPY app /srv/app\n"
                    "ONBUILD RUN echo $V > /v\n"
                    "ONBUILD ENV FROM_TRIGGER=$V\n");
    assert_int_equal(f->runs, 0);
    assert_file(f, "srv/app", NULL);
    assert_int_equal(image_tag(f->store, "made:1", "base", &f->e), 0);
    assert_built(f, "FROM base\nCMD [\"true\"]\n");
    assert_file(f, "srv/app", "payload");
    assert_file(f, "v", "1\n");
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_true(strv_has(&img.env, "FROM_TRIGGER=1"));
    assert_null(json_object_get(json_object_get(img.config, "config"), "OnBuild"));
    image_fini(&img);
    assert_int_equal(image_tag(f->store, "made:1", "child", &f->e), 0);
    assert_built(f, "FROM child\nENV X=y\n");
    assert_int_equal(f->runs, 0);
    assert_built(f, "FROM base AS one\nENV X=y\nFROM one\nENV Z=y\n");
    assert_int_equal(f->runs, 0); /* once, from the cache */
}

static void a_failing_trigger_is_named(void **state)
{
    struct fixture *f = get(state, false);

    assert_built(f, "FROM busybox\nONBUILD COPY gone /x\n");
    assert_int_equal(image_tag(f->store, "made:1", "base", &f->e), 0);
    assert_int_equal(build(f, "FROM base\n"), -ENOENT);
    assert_non_null(strstr(f->e.text, ":1: FROM: ONBUILD COPY gone /x: 'gone' is not"));
    assert_no_debris(f);
}

/* A foreign image may hold any text there. */
static void hostile_triggers_are_refused(void **state)
{
    static const char *const rows[] = {"FROM busybox", "ONBUILD RUN x", "FLY",
                                       "MAINTAINER x", "RUN <<E"};
    struct fixture *f = get(state, false);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct image img;
        struct image_desc desc;

        assert_int_equal(image_find(f->store, "busybox", &img, &f->e), 0);
        assert_int_equal(json_object_set_new(json_object_get(img.config, "config"),
                                             "OnBuild", json_pack("[s]", rows[i])),
                         0);
        assert_int_equal(
            pack_put_image(f->store, img.config, img.layers, img.n_layers, &desc, &f->e),
            0);
        assert_int_equal(image_tag_desc(f->store, &desc, "hostile", &f->e), 0);
        image_fini(&img);
        if (build(f, "FROM hostile\nENV A=b\n") != -EINVAL) {
            fail_msg("%s was taken", rows[i]);
        }
    }
}

/* ---- what is told beside the file ---- */

static void labels_are_added_at_the_end(void **state)
{
    static const char *const labels[] = {"a=told", "new=x=y", "empty=", NULL};
    struct fixture *f = get(state, false);
    struct image img;

    f->b.labels = labels;
    assert_built(f, "FROM busybox\nLABEL a=file b=file\n");
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_string_equal(json_string_value(json_object_get(img.labels, "a")), "told");
    assert_string_equal(json_string_value(json_object_get(img.labels, "b")), "file");
    assert_string_equal(json_string_value(json_object_get(img.labels, "new")), "x=y");
    assert_string_equal(json_string_value(json_object_get(img.labels, "empty")), "");
    image_fini(&img);
}

static void a_command_of_this_file_outlives_its_entrypoint(void **state)
{
    struct fixture *f = get(state, false);
    struct image img;

    assert_built(f, "FROM busybox\nCMD [\"mine\"]\nENTRYPOINT [\"/bin/echo\"]\n");
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_int_equal(img.cmd.n, 1);
    assert_string_equal(img.cmd.items[0], "mine");
    image_fini(&img);
    assert_built(f, "FROM busybox\nENTRYPOINT [\"/bin/echo\"]\n");
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    assert_int_equal(img.cmd.n, 0); /* that of the base belonged to no entrypoint */
    image_fini(&img);
}

static void a_file_may_have_an_ignore_file_of_its_own(void **state)
{
    struct fixture *f = get(state, false);
    char path[200];

    put(f, "a", "1");
    put(f, "b", "2");
    put(f, ".dockerignore", "a\n");
    put(f, "other.dockerignore", "b\n");
    put(f, "other", "FROM busybox\nCOPY a /a\n");
    (void)str_print(path, sizeof path, "%s/other", f->context);
    f->b.file = path;
    assert_built(f, "unused");
    assert_file(f, "a", "1");
    put(f, "other", "FROM busybox\nCOPY b /b\n");
    assert_int_equal(build(f, "unused"), -ENOENT);
    f->b.file = NULL;
}

static void a_script_names_its_interpreter(void **state)
{
    static const char text[] = "FROM busybox\nRUN <<EOF\n#!/usr/bin/awk -f\n"
                               "BEGIN { print 6 * 7 > \"/n\" }\nEOF\n";
    struct fixture *f = get(state, true);

    assert_built(f, text);
    assert_file(f, "n", "42\n");
    assert_no_debris(f);
    assert_built(f, text);
    assert_int_equal(f->runs, 0);
    assert_built(f, "FROM busybox\nRUN <<EOF\n#!/usr/bin/awk -f\n"
                    "BEGIN { print 6 * 8 > \"/n\" }\nEOF\n");
    assert_file(f, "n", "48\n"); /* another text is another command */
}

static void proxies_reach_commands_and_not_the_cache(void **state)
{
    static const char *const one[] = {"http_proxy=http://p.example:1", "OTHER=x", NULL};
    struct fixture *f = get(state, true);
    struct image img;

    f->b.args = one;
    assert_built(f, "FROM busybox\nRUN echo \"$http_proxy|$OTHER\" > /p\n");
    assert_file(f, "p", "http://p.example:1|\n");
    f->b.args = NULL;
    assert_built(f, "FROM busybox\nRUN echo \"$http_proxy|$OTHER\" > /p\n");
    assert_int_equal(f->runs, 0);
    assert_int_equal(image_find(f->store, "made:1", &img, &f->e), 0);
    for (size_t i = 0; i < img.env.n; i++) {
        assert_null(strstr(img.env.items[i], "proxy"));
    }
    image_fini(&img);
}

static void every_stage_that_a_mount_names_is_built(void **state)
{
    struct fixture *f = get(state, true);

    assert_built(f, "FROM busybox AS one\nRUN echo 1 > /f\n"
                    "FROM busybox AS two\nRUN echo 2 > /f\n"
                    "FROM busybox\n"
                    "RUN --mount=from=one,target=/a --mount=type=bind,from=two,target=/b "
                    "cat /a/f /b/f > /c\n");
    assert_file(f, "c", "1\n2\n");
}

/* ---- single instructions ---- */

static int change(json_t *config, const char *one, const char *two, struct err *e)
{
    SCOPED(scope_json) json_t *list = json_pack("[s]", one);

    if (two != NULL) {
        assert_int_equal(json_array_append_new(list, json_string(two)), 0);
    }
    err_clear(e);
    return build_change(config, list, e);
}

static void settings_can_be_changed_one_by_one(void **state)
{
    SCOPED(scope_json) json_t *config = json_pack("{s:{s:[s]}}", "config", "Env", "A=1");
    const json_t *c = json_object_get(config, "config");
    struct err e = {0};

    (void)state;
    assert_int_equal(change(config, "CMD [\"a\", \"b\"]", "ENTRYPOINT [\"/x\"]", &e), 0);
    assert_int_equal(change(config, "ENV A=2 B=$A", "WORKDIR /srv", &e), 0);
    assert_int_equal(change(config, "LABEL k=v", "USER 7", &e), 0);
    assert_int_equal(json_array_size(json_object_get(c, "Cmd")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(c, "Env"), 0)),
                        "A=2");
    assert_string_equal(json_string_value(json_array_get(json_object_get(c, "Env"), 1)),
                        "B=1"); /* both of one line see what was before it */
    assert_string_equal(json_string_value(json_object_get(c, "WorkingDir")), "/srv");
    assert_string_equal(json_string_value(json_object_get(c, "User")), "7");
}

static void what_is_no_setting_is_refused(void **state)
{
    static const char *const rows[] = {"RUN x",
                                       "COPY a /b",
                                       "FROM busybox",
                                       "FLY",
                                       "ENV A=b\nENV C=d",
                                       "HEALTHCHECK /",
                                       "HEALTHCHECK CM",
                                       "HEALTHCHECK CMD",
                                       "HEALTHCHECK CMDx",
                                       "",
                                       "ARG x",
                                       "EXPOSE x"};
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SCOPED(scope_json) json_t *config = json_object();

        if (change(config, rows[i], NULL, &e) != -EINVAL) {
            fail_msg("'%s' was taken", rows[i]);
        }
        assert_int_equal(strncmp(e.text, "cannot apply '", 14), 0);
    }
}

static void packages_and_mirrors_of_debian_are_checked(void **state)
{
    static const char *const bad[] = {"; rm", NULL}, *const good[] = {"ca-certificates",
                                                                      NULL};
    struct fixture *f = get(state, false);
    struct image_desc desc;
    struct build_base o = {.suite = "bookworm", .include = bad};

    assert_int_equal(build_debian(&f->pack, &o, &desc, &f->e), -EINVAL);
    assert_non_null(strstr(f->e.text, "'; rm' is no name of a package"));
    o.include = good;
    err_clear(&f->e);
    o.mirror = "http://x/\nTrusted: yes";
    assert_int_equal(build_debian(&f->pack, &o, &desc, &f->e), -EINVAL);
    assert_non_null(strstr(f->e.text, "is no mirror"));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(missing_images_are_fetched),
        T(a_fetch_is_as_the_caller_wants_it),
        T(a_short_name_without_registry_is_explained),
        T(triggers_run_in_the_next_build_and_not_later),
        T(a_failing_trigger_is_named),
        T(hostile_triggers_are_refused),
        T(labels_are_added_at_the_end),
        T(a_command_of_this_file_outlives_its_entrypoint),
        T(a_file_may_have_an_ignore_file_of_its_own),
        T(a_script_names_its_interpreter),
        T(proxies_reach_commands_and_not_the_cache),
        T(every_stage_that_a_mount_names_is_built),
        cmocka_unit_test(settings_can_be_changed_one_by_one),
        cmocka_unit_test(what_is_no_setting_is_refused),
        T(packages_and_mirrors_of_debian_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
