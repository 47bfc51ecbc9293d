/* debian.c - a minimal Debian by mmdebstrap, whose tar becomes one layer.
 *
 * mmdebstrap writes the tar to a pipe that the layer is made from, so nothing
 * lies on the disk twice.  Its words go to our standard error; the last line of
 * them is the reason when it fails. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/made.h"
#include "resource/image/build/sources.h"
#include "resource/image/store.h"

#define WORDS_BYTES 65536
#define LAST_BYTES  240
#define SUITE_MAX   32
#define LEAST_IDS   65535        /* nobody is 65534 */
#define ALL_IDS     4294967295ul /* user_namespaces(7) */

/* mmdebstrap copies them from this host; a container gets its own. */
#define FORGET_HOST "--customize-hook=rm -f \"$1/etc/resolv.conf\" \"$1/etc/hostname\""

/* What makes a machine of it: the distribution's kernel with its modules, and an init.  A
 * container pays disk for them, and nothing else. */
#define MACHINE_PACKAGES "--include=linux-image-cloud-amd64,kmod,systemd-sysv,udev,dbus"

/* A machine's initramfs is composed by its host: none is made in the image. */
#define NO_INITRD "INITRD=No" /* what initramfs-tools' hook of kernels asks */

extern char **environ;

/* deb-control(5), "Package"; an architecture behind a colon is fine, too. */
static bool is_package(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.:");

    return n > 1 && text[n] == '\0' && isalnum((unsigned char)text[0]);
}

/* What can stand in a line of sources without meaning something there. */
static bool is_mirror(const char *text)
{
    static const char *const schemes[] = {"http://", "https://", "file:///"};
    bool known = false;

    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        known |= str_starts(text, schemes[i]);
    }
    for (const char *p = text; *p != '\0'; p++) {
        known &= *p > ' ' && *p < 0x7f;
    }
    return known;
}

static bool is_suite(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz");

    return n > 0 && n < SUITE_MAX && text[n] == '\0';
}

/* VERSION_CODENAME of os-release(5) when the host is Debian. */
static void own_suite(char out[SUITE_MAX])
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    const char *name;
    bool debian;

    out[0] = '\0';
    if (file_read(AT_FDCWD, "/etc/os-release", WORDS_BYTES, &text, &len) < 0) {
        return;
    }
    debian = str_starts(text, "ID=debian") || strstr(text, "\nID=debian") != NULL;
    name = strstr(text, "VERSION_CODENAME=");
    if (debian && name != NULL) {
        name += strlen("VERSION_CODENAME=");
        (void)str_print(out, SUITE_MAX, "%.*s", (int)strcspn(name, "\n"), name);
    }
}

/* What Debian's releases are called, or were lately. */
static const char *const suites[] = {"trixie", "bookworm",  "bullseye", "forky",    "sid",
                                     "stable", "oldstable", "testing",  "unstable", NULL};

static bool is_known_suite(const char *text)
{
    char own[SUITE_MAX];

    own_suite(own);
    if (strcmp(own, text) == 0) {
        return true;
    }
    for (size_t i = 0; suites[i] != NULL; i++) {
        if (strcmp(suites[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/* The sources in a file without a name; a descriptor, or -errno. */
static int write_sources(const struct build_base *o, struct err *e)
{
    char own[SUITE_MAX];
    struct str text = {0};
    int fd = memfd_create("debian.sources", MFD_CLOEXEC);
    int r;

    own_suite(own);
    r = fd < 0              ? err_sys(e, -errno, "cannot hold the package sources")
        : o->mirror != NULL ? sources_of_mirror(o->mirror, o->suite, &text, e)
                            : sources_read("/etc", own, o->suite, &text, e);
    if (r == 0) {
        r = file_write_all(fd, text.data, text.len);
        (void)lseek(fd, 0, SEEK_SET);
    }
    str_fini(&text);
    if (r < 0) {
        scope_close(&fd);
        return r;
    }
    return fd;
}

struct child {
    pid_t pid;
    int tar;   /* its standard output */
    int words; /* file with its standard error */
};

static int add_actions(posix_spawn_file_actions_t *fa, int in, int out, int words)
{
    int r = posix_spawn_file_actions_adddup2(fa, in, 0);

    r = r != 0 ? r : posix_spawn_file_actions_adddup2(fa, out, 1);
    return -(r != 0 ? r : posix_spawn_file_actions_adddup2(fa, words, 2));
}

/* How many user ids this process may give to files; all of them in the first
 * user namespace. */
static unsigned long count_ids(void)
{
    SCOPED(scope_free) char *text = NULL;
    unsigned long inside, outside, count, sum = 0;
    const char *p;
    size_t len;
    int used;

    if (file_read(AT_FDCWD, "/proc/self/uid_map", WORDS_BYTES, &text, &len) < 0) {
        return ALL_IDS;
    }
    for (p = text; sscanf(p, "%lu %lu %lu%n", &inside, &outside, &count, &used) == 3;
         p += used) {
        sum += count;
    }
    return sum;
}

/* Options of mmdebstrap. */
struct way {
    const char *mode, *skip;
    bool own_mounts; /* in a mount namespace of its own, by unshare(1) */
};

/* An ordinary user is root of a namespace here: devices cannot be mounted,
 * and mmdebstrap makes no mount namespace itself. */
static int choose_way(struct way *ret, struct err *e)
{
    unsigned long ids = count_ids();

    *ret = (struct way){"--mode=auto", "--skip=output/mknod", false};
    if (ids < LEAST_IDS) {
        return err_set(e, -EPERM,
                       "this user has no subordinate ids for the owners of its files "
                       "(as root: usermod --add-subuids 100000-165535 "
                       "--add-subgids 100000-165535 USER)");
    }
    if (ids < ALL_IDS) {
        *ret = (struct way){"--mode=root", "--skip=output/mknod,chroot/mount/dev", true};
    }
    return 0;
}

static void fill_argv(const struct build_base *o, const struct way *way, struct strv *ret)
{
    const char *const head[] = {"unshare",      "--mount",  "mmdebstrap",
                                way->mode,      way->skip,  "--variant=minbase",
                                "--format=tar", FORGET_HOST};
    const char *const tail[] = {o->suite, "-", "-"};

    for (size_t i = way->own_mounts ? 0 : 2; i < sizeof head / sizeof head[0]; i++) {
        strv_add(ret, head[i]);
    }
    if (strcmp(store_host_arch(), "amd64") == 0) {
        strv_add(ret, MACHINE_PACKAGES);
    }
    for (size_t i = 0; o->include != NULL && o->include[i] != NULL; i++) {
        strv_addf(ret, "--include=%s", o->include[i]);
    }
    for (size_t i = 0; i < sizeof tail / sizeof tail[0]; i++) {
        strv_add(ret, tail[i]);
    }
}

static int spawn(const struct build_base *o, const struct way *way, int sources,
                 struct child *c)
{
    SCOPED(strv_fini) struct strv argv = {0};
    SCOPED(strv_fini) struct strv env = {0};
    int out[2], r;
    posix_spawn_file_actions_t fa;

    fill_argv(o, way, &argv);
    for (size_t i = 0; environ[i] != NULL; i++) {
        strv_add(&env, environ[i]);
    }
    strv_add(&env, NO_INITRD);
    if (strv_failed(&argv) || strv_failed(&env)) {
        return -ENOMEM;
    }
    c->words = memfd_create("mmdebstrap", MFD_CLOEXEC);
    if (c->words < 0 || pipe2(out, O_CLOEXEC) < 0) {
        return -errno;
    }
    r = -posix_spawn_file_actions_init(&fa);
    if (r == 0) {
        r = add_actions(&fa, sources, out[1], c->words);
        r = r < 0
                ? r
                : -posix_spawnp(&c->pid, argv.items[0], &fa, NULL, argv.items, env.items);
        (void)posix_spawn_file_actions_destroy(&fa);
    }
    (void)close(out[1]);
    c->tar = out[0];
    return r;
}

/* The last line that says what went wrong. */
static void last_words(int fd, char out[LAST_BYTES])
{
    SCOPED(scope_free) char *text = calloc(1, WORDS_BYTES);
    off_t size = lseek(fd, 0, SEEK_END);
    char *rest = text, *line;

    (void)str_print(out, LAST_BYTES, "it says nothing");
    if (text == NULL ||
        pread(fd, text, WORDS_BYTES - 1,
              size > WORDS_BYTES - 1 ? size - (WORDS_BYTES - 1) : 0) <= 0) {
        return;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (str_starts(line, "E: ") && strstr(line, "mmdebstrap failed") == NULL) {
            (void)snprintf(out, LAST_BYTES, "%s", line + 3);
        }
    }
}

static int missing(struct err *e)
{
    return err_set(
        e, -ENOENT,
        "the program 'mmdebstrap' is not installed (apt-get install mmdebstrap)");
}

static int await(struct child *c, struct err *e)
{
    char words[LAST_BYTES];
    int status = 0;

    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status == 0) {
        return 0;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return missing(e); /* what unshare(1) says */
    }
    last_words(c->words, words);
    return err_set(e, -EIO, "mmdebstrap failed: %s", words);
}

/* The tar that comes out, as a layer.  When both fail, mmdebstrap knows why. */
static int take_tar(const struct pack *p, struct child *c, struct image_layer *ret,
                    struct err *e)
{
    struct err mine = {0};
    int r = pack_layer_from_fd(p, c->tar, PACK_GZIP, ret, &mine);
    int ended;

    scope_close(&c->tar);
    c->tar = -1;
    ended = await(c, e);
    if (ended < 0) {
        return ended;
    }
    return r < 0 ? err_set(e, r, "%s", mine.text) : 0;
}

static int make_layer(const struct pack *p, const struct build_base *o,
                      struct image_layer *ret, struct err *e)
{
    SCOPED(scope_close) int sources = write_sources(o, e);
    struct child c = {.tar = -1, .words = -1};
    struct way way;
    int r = sources < 0 ? sources : choose_way(&way, e);

    if (r < 0) {
        return r;
    }
    r = spawn(o, &way, sources, &c);
    if (r == -ENOENT) {
        r = missing(e);
    } else {
        r = r < 0 ? err_sys(e, r, "cannot run mmdebstrap") : take_tar(p, &c, ret, e);
    }
    scope_close(&c.tar);
    scope_close(&c.words);
    return r;
}

static int make_image(const struct pack *p, const struct build_base *o,
                      struct image_desc *ret, struct err *e)
{
    SCOPED(scope_json) json_t *config = NULL;
    SCOPED(str_fini) struct str by = {0};
    char usual[64];
    struct made m = {.labels = o->labels, .name = o->name != NULL ? o->name : usual};
    struct image_layer layer;
    int r = make_layer(p, o, &layer, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(usual, sizeof usual, "debian:%s", o->suite);
    str_addf(&by, "mmdebstrap --variant=minbase %s%s", o->suite,
             strcmp(store_host_arch(), "amd64") == 0 ? " " MACHINE_PACKAGES : "");
    for (size_t i = 0; o->include != NULL && o->include[i] != NULL; i++) {
        str_addf(&by, "%s%s", i > 0 ? "," : " --include=", o->include[i]);
    }
    m.config = config = made_config("bash");
    r = config == NULL || str_failed(&by) ? -ENOMEM
                                          : made_history(config, str_text(&by), false);
    return r < 0 ? err_set(e, r, "out of memory") : made_image(p, &m, &layer, ret, e);
}

static int no_suite(const char *suite, struct err *e)
{
    SCOPED(str_fini) struct str known = {0};

    for (size_t i = 0; suites[i] != NULL; i++) {
        str_addf(&known, "%s%s", i > 0 ? ", " : "", suites[i]);
    }
    return err_set(e, -ENOENT, "there is no such suite of Debian: '%s' (known are %s)",
                   suite, str_text(&known));
}

static int check(const struct build_base *o, struct err *e)
{
    if (!is_suite(o->suite)) {
        return err_set(e, -EINVAL, "a suite is a name such as 'bookworm' or 'trixie'");
    }
    if (o->mirror == NULL && !is_known_suite(o->suite)) { /* a mirror may have others */
        return no_suite(o->suite, e);
    }
    if (o->mirror != NULL && !is_mirror(o->mirror)) {
        return err_set(
            e, -EINVAL,
            "'%.100s' is no mirror (http://, https:// or file:/// and a place)",
            o->mirror);
    }
    for (size_t i = 0; o->include != NULL && o->include[i] != NULL; i++) {
        if (!is_package(o->include[i])) {
            return err_set(e, -EINVAL, "'%.100s' is no name of a package", o->include[i]);
        }
    }
    return 0;
}

int build_debian(const struct pack *p, const struct build_base *o, struct image_desc *ret,
                 struct err *e)
{
    int r = check(o, e);

    r = r < 0 ? r : store_busy_begin(p->store, e);
    if (r == 0) {
        r = make_image(p, o, ret, e);
        store_busy_end(p->store);
    }
    return r < 0 ? err_wrap(e, "cannot build the image 'debian:%.40s'", o->suite) : 0;
}
