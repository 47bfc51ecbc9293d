/* Capability sets, as the kernel shows them in /proc/self/status.
 * rows: OSL-13 */
#include "virt/container/confine/caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

static uint64_t shown(const char *key)
{
    SCOPED(scope_free) char *text = NULL;
    const char *line;

    if (file_read(AT_FDCWD, "/proc/self/status", 65536, &text, NULL) < 0 ||
        (line = strstr(text, key)) == NULL) {
        return UINT64_MAX;
    }
    return strtoull(line + strlen(key), NULL, 16);
}

static int drop_to(const struct caps *c, uid_t uid)
{
    if (caps_before_setuid(c) < 0 || (uid != 0 && setuid(uid) < 0) ||
        caps_after_setuid(c) < 0) {
        return 2;
    }
    return shown("CapBnd:") == c->bounding && shown("CapEff:") == c->effective &&
                   shown("CapPrm:") == c->permitted &&
                   shown("CapInh:") == c->inheritable && shown("CapAmb:") == c->ambient &&
                   prctl(PR_GET_KEEPCAPS) == 0
               ? 0
               : 3;
}

static void expect_drop(const struct caps *c, uid_t uid)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(drop_to(c, uid));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void the_five_sets_are_what_was_asked_for(void **state)
{
    uint64_t net = UINT64_C(1) << CAP_NET_BIND_SERVICE;
    struct caps c = {.bounding = caps_default(),
                     .permitted = caps_default(),
                     .effective = caps_default(),
                     .inheritable = net,
                     .ambient = net};

    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root can keep capabilities over setuid */
    }
    caps_limit(&c, false, NULL);
    expect_drop(&c, 0);
    expect_drop(&c, 1000);
    expect_drop(&(struct caps){0}, 1000);
}

static void what_the_host_withholds_is_one_line(void **state)
{
    int status = 0;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct caps c = {
            .bounding = CAPS_ALL, .permitted = CAPS_ALL, .ambient = CAPS_ALL};
        struct strv w = {0};
        int code;

        if (geteuid() == 0 && prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) < 0) {
            _exit(2);
        }
        caps_limit(&c, false, &w);
        code = w.n == 1 && strstr(w.items[0], "CAP_SYS_TIME") != NULL &&
                       (c.bounding >> CAP_SYS_TIME & 1) == 0 && c.ambient == 0
                   ? 0
                   : 3;
        strv_fini(&w);
        _exit(code);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void names_are_read_in_every_usual_form(void **state)
{
    (void)state;
    assert_int_equal(caps_from_name("CAP_CHOWN"), CAP_CHOWN);
    assert_int_equal(caps_from_name("sys_admin"), CAP_SYS_ADMIN);
    assert_int_equal(caps_from_name("cap_checkpoint_restore"), CAP_CHECKPOINT_RESTORE);
    assert_int_equal(caps_from_name("CAP_NOTHING"), -1);
    assert_string_equal(caps_name(CAP_SYS_RESOURCE), "CAP_SYS_RESOURCE");
    assert_null(caps_name(64));
    assert_null(caps_name(-1));
}

static void a_configuration_is_read_and_written(void **state)
{
    SCOPED(scope_json)
    json_t *obj = json_loads(
        "{\"bounding\": [\"CAP_KILL\", \"CAP_NEW\"], \"ambient\": []}", 0, NULL);
    SCOPED(scope_json) json_t *names = NULL;
    SCOPED(scope_json) json_t *bad = json_loads("{\"bounding\": [1]}", 0, NULL);
    struct caps c;
    struct strv w = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(caps_parse(obj, "process.capabilities", &c, &w, &e), 0);
    assert_int_equal(c.bounding, UINT64_C(1) << CAP_KILL);
    assert_int_equal(c.permitted, 0);
    assert_int_equal(w.n, 1);
    assert_non_null(strstr(w.items[0], "CAP_NEW"));
    names = caps_to_json(c.bounding);
    assert_int_equal(json_array_size(names), 1);
    assert_string_equal(json_string_value(json_array_get(names, 0)), "CAP_KILL");
    assert_int_equal(caps_parse(bad, "process.capabilities", &c, &w, &e), -EINVAL);
    assert_non_null(strstr(e.text, "process.capabilities.bounding[0]"));
    strv_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_five_sets_are_what_was_asked_for),
        cmocka_unit_test(what_the_host_withholds_is_one_line),
        cmocka_unit_test(names_are_read_in_every_usual_form),
        cmocka_unit_test(a_configuration_is_read_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
