/* box.c - a container with a busybox root in a temporary directory, for tests. */
#include "tests/virt/container/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "tests/base/check.h"

#define BUSYBOX "/bin/busybox"
#define PATHS   8

#define TEST_MOST_SECONDS 100

static const char config_text[] =
    "{'ociVersion':'1.2.0','root':{'path':'rootfs'},'hostname':'box',"
    "'process':{'cwd':'/','args':['/bin/sh'],'user':{'uid':0,'gid':0},"
    "'env':['PATH=/bin'],'noNewPrivileges':true,"
    "'capabilities':{'bounding':['CAP_CHOWN','CAP_DAC_OVERRIDE','CAP_FOWNER','CAP_FSETID',"
    "'CAP_KILL','CAP_MKNOD','CAP_NET_BIND_SERVICE','CAP_SETGID','CAP_SETUID',"
    "'CAP_SYS_CHROOT'],'effective':['CAP_CHOWN','CAP_DAC_OVERRIDE','CAP_FOWNER',"
    "'CAP_FSETID','CAP_KILL','CAP_MKNOD','CAP_NET_BIND_SERVICE','CAP_SETGID','CAP_SETUID',"
    "'CAP_SYS_CHROOT'],'permitted':['CAP_CHOWN','CAP_DAC_OVERRIDE','CAP_FOWNER',"
    "'CAP_FSETID','CAP_KILL','CAP_MKNOD','CAP_NET_BIND_SERVICE','CAP_SETGID','CAP_SETUID',"
    "'CAP_SYS_CHROOT']}},"
    "'mounts':[{'destination':'/proc','type':'proc','source':'proc'},"
    "{'destination':'/dev','type':'tmpfs','source':'tmpfs',"
    "'options':['nosuid','mode=755']},"
    "{'destination':'/dev/pts','type':'devpts','source':'devpts',"
    "'options':['nosuid','noexec','newinstance','ptmxmode=0666','mode=0620','gid=5']},"
    "{'destination':'/sys','type':'sysfs','source':'sysfs','options':['ro']},"
    "{'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup',"
    "'options':['ro']}],"
    "'linux':{'namespaces':[{'type':'pid'},{'type':'network'},{'type':'ipc'},"
    "{'type':'uts'},{'type':'mount'},{'type':'cgroup'}],"
    "'maskedPaths':['/proc/kcore','/proc/keys','/sys/firmware'],"
    "'readonlyPaths':['/proc/sys','/proc/sysrq-trigger']}}";

const char *box_missing(void)
{
    struct stat st;

    if (geteuid() != 0) {
        return "needs root";
    }
    return stat(BUSYBOX, &st) < 0 ? "needs " BUSYBOX " (package busybox-static)" : NULL;
}

const char *box_path(const struct box *b, const char *name)
{
    static char room[PATHS][256];
    static unsigned next;
    char *out = room[next++ % PATHS];

    (void)snprintf(out, sizeof room[0], "%s/%s", b->dir, name);
    return out;
}

void box_write(const struct box *b, const char *name, const char *text)
{
    int fd = open(box_path(b, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

    if (fd < 0 || file_write_all(fd, text, strlen(text)) < 0) {
        abort();
    }
    (void)close(fd);
}

static void fill_root(const struct box *b)
{
    static const char *const names[] = {"sh", "cat", "ls", "true", "false", "sleep"};
    static const char *const dirs[] = {"",     "/bin", "/proc", "/dev",
                                       "/sys", "/tmp", "/etc"};
    char path[128];

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        (void)snprintf(path, sizeof path, "rootfs%s", dirs[i]);
        if (mkdir(box_path(b, path), 0755) < 0) {
            abort();
        }
    }
    if (link(BUSYBOX, box_path(b, "rootfs/bin/busybox")) < 0) {
        char command[256];

        (void)snprintf(command, sizeof command, "cp %s %s/rootfs/bin/", BUSYBOX, b->dir);
        if (system(command) != 0) { /* a test's own setup */
            abort();
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "rootfs/bin/%s", names[i]);
        if (symlink("busybox", box_path(b, path)) < 0) {
            abort();
        }
    }
}

void box_init(struct box *b)
{
    char *text = strdup(config_text);
    struct err e = {0};

    memset(b, 0, sizeof *b);
    (void)strcpy(b->dir, "/tmp/strata-box.XXXXXX");
    if (text == NULL || mkdtemp(b->dir) == NULL || chmod(b->dir, 0755) < 0) {
        abort();
    }
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    if (json_parse(text, strlen(text), "the test", &b->config, &e) < 0) {
        abort();
    }
    free(text);
    fill_root(b);
}

void box_fini(struct box *b)
{
    struct err e = {0};

    if (b->c != NULL) {
        (void)container_delete(b->c, true, &e);
        task_close(container_task(b->c));
    }
    json_decref(b->config);
    (void)file_remove_tree(AT_FDCWD, b->dir);
    memset(b, 0, sizeof *b);
}

static int make(struct box *b, const char *id, int out)
{
    const char *state = box_path(b, "state");
    struct container_new n = {.root = state,
                              .id = id,
                              .bundle = b->dir,
                              .config = b->config,
                              .overlay = b->overlay,
                              .stdio = {0, out >= 0 ? out : 1, out >= 0 ? out : 2},
                              .preserve_fds = b->preserve_fds};

    err_clear(&b->e);
    b->c = NULL;
    return container_create(&n, &b->c, NULL, &b->e);
}

static void collect(struct box *b, int fd)
{
    ssize_t n = file_read_all(fd, b->out, sizeof b->out - 1);

    b->out[n > 0 ? n : 0] = '\0';
}

static int code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Start it, read what it writes, wait for its end. */
static int finish(struct box *b, int ends[2])
{
    pid_t pid = container_pid(b->c);
    int status = 0;
    int r = task_start(container_task(b->c), &b->e);

    (void)close(ends[1]);
    ends[1] = -1;
    if (r == 0) {
        collect(b, ends[0]);
        (void)waitpid(pid, &status, 0);
        r = code_of(status);
    }
    return r;
}

static int run_it(struct box *b)
{
    char id[64];
    int ends[2];
    struct err e = {0};
    int r;

    (void)snprintf(id, sizeof id, "%s", strrchr(b->dir, '/') + 1);
    if (pipe2(ends, O_CLOEXEC) < 0) {
        abort();
    }
    b->out[0] = '\0';
    r = make(b, id, ends[1]);
    if (r == 0) {
        r = finish(b, ends);
        if (container_delete(b->c, true, &e) < 0) {
            (void)fprintf(stderr, "delete: %s\n", e.text);
            r = e.code;
        }
        task_close(container_task(b->c));
        b->c = NULL;
    }
    (void)close(ends[0]);
    if (ends[1] >= 0) {
        (void)close(ends[1]);
    }
    return r;
}

int box_run_args(struct box *b, const char *const *args)
{
    json_t *list = json_array();

    for (; *args != NULL; args++) {
        (void)json_array_append_new(list, json_string(*args));
    }
    box_set(b, "process.args", list);
    return run_it(b);
}

int box_run(struct box *b, const char *script)
{
    const char *const args[] = {"/bin/sh", "-c", script, NULL};

    return box_run_args(b, args);
}

int box_create(struct box *b, const char *id, const char *script)
{
    box_set(b, "process.args", json_pack("[s, s, s]", "/bin/sh", "-c", script));
    return make(b, id, -1);
}

int box_exec(struct box *b, const char *script)
{
    SCOPED(scope_json)
    json_t *process = json_pack("{s:[s, s, s]}", "args", "/bin/sh", "-c", script);
    struct container_exec x = {.process = process};
    int ends[2];
    int status = 0;
    pid_t pid = 0;
    int r;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        abort();
    }
    x.stdio[1] = x.stdio[2] = ends[1];
    err_clear(&b->e);
    r = container_exec(b->c, &x, &pid, NULL, &b->e);
    (void)close(ends[1]);
    if (r == 0) {
        collect(b, ends[0]);
        (void)waitpid(pid, &status, 0);
        r = code_of(status);
    }
    (void)close(ends[0]);
    return r;
}

/* The object that holds the last part of a path; made when missing. */
static json_t *holder(struct box *b, const char *path, const char **ret_last)
{
    json_t *at = b->config;

    for (const char *dot = strchr(path, '.'); dot != NULL; dot = strchr(path, '.')) {
        char key[64];
        json_t *next;

        (void)snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        next = json_object_get(at, key);
        if (next == NULL) {
            next = json_object();
            (void)json_object_set_new(at, key, next);
        }
        at = next;
        path = dot + 1;
    }
    *ret_last = path;
    return at;
}

void box_set(struct box *b, const char *path, json_t *value)
{
    const char *last;
    json_t *at = holder(b, path, &last);

    if (value == NULL || json_object_set_new(at, last, value) < 0) {
        abort();
    }
}

void box_add(struct box *b, const char *path, json_t *value)
{
    const char *last;
    json_t *at = holder(b, path, &last);
    json_t *list = json_object_get(at, last);

    if (list == NULL) {
        list = json_array();
        (void)json_object_set_new(at, last, list);
    }
    if (value == NULL || json_array_append_new(list, value) < 0) {
        abort();
    }
}

void box_mount(struct box *b, const char *to, const char *type, const char *from,
               const char *options)
{
    json_t *list = json_array();

    while (*options != '\0') {
        size_t len = strcspn(options, " ");

        (void)json_array_append_new(list, json_stringn(options, len));
        options += len + (options[len] == ' ');
    }
    box_add(b, "mounts",
            json_pack("{s:s, s:s, s:s, s:o}", "destination", to, "type", type, "source",
                      from, "options", list));
}

void box_namespace(struct box *b, const char *type, bool wanted, const char *path)
{
    json_t *list = json_object_get(json_object_get(b->config, "linux"), "namespaces");

    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *is =
            json_string_value(json_object_get(json_array_get(list, i), "type"));

        if (strcmp(is, type) == 0) {
            (void)json_array_remove(list, i);
        }
    }
    if (wanted) {
        json_t *one = json_pack("{s:s}", "type", type);

        if (path != NULL) {
            (void)json_object_set_new(one, "path", json_string(path));
        }
        (void)json_array_append_new(list, one);
    }
}

void box_map(struct box *b, unsigned base)
{
    json_t *map = json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID",
                            (json_int_t)base, "size", 65536);

    box_namespace(b, "user", true, NULL);
    box_set(b, "linux.uidMappings", map);
    box_set(b, "linux.gidMappings", json_deep_copy(map));
}

int box_begin(void **state)
{
    struct box *b;

    if (box_missing() != NULL) {
        print_message("skip: %s\n", box_missing());
        exit(77);
    }
    b = malloc(sizeof *b);
    assert_non_null(b);
    box_init(b);
    (void)alarm(TEST_MOST_SECONDS);
    *state = b;
    return 0;
}

int box_end(void **state)
{
    box_fini(*state);
    free(*state);
    return 0;
}

void box_must(const struct box *b, int r)
{
    if (r != 0) {
        fail_msg("%d %s: %s", r, b->e.text, b->out);
    }
}
