/* plan.c - what a worker is to run: a plan on a descriptor, or words. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/machine/private.h"

#define PLAN_MOST_BYTES (1 << 20)
#define MEMORY_BYTES    (UINT64_C(256) << 20)
#define GUEST_CID       3 /* the least of a guest; each machine's sockets are its own */

/* A file that the guest is started from.  `what` for the error. */
static int map_file(int take_fd, const char *what, const uint8_t **ret, size_t *ret_bytes,
                    struct err *e)
{
    SCOPED(scope_close) int fd = take_fd;
    struct stat st;
    void *at;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, -errno, "cannot read '%s'", what);
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        return err_set(e, -EINVAL, "cannot read '%s': it is %s", what,
                       S_ISREG(st.st_mode) ? "empty" : "no file");
    }
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED) {
        return err_sys(e, -errno, "cannot read '%s'", what);
    }
    *ret = at;
    *ret_bytes = (size_t)st.st_size;
    return 0;
}

/* What firmware keeps: its guest writes the file itself. */
static int map_variables(int take_fd, struct machine_options *o, struct err *e)
{
    SCOPED(scope_close) int fd = take_fd;
    struct stat st;
    void *at = MAP_FAILED;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, -errno, "cannot write the firmware's variables");
    }
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (at == MAP_FAILED) {
        return err_set(e, -EINVAL,
                       "cannot keep the firmware's variables: their file is empty");
    }
    o->variables = at;
    o->variables_bytes = (size_t)st.st_size;
    return 0;
}

static void release(const uint8_t *at, size_t bytes)
{
    if (at != NULL) {
        (void)madvise((void *)(uintptr_t)at, bytes, MADV_DONTNEED);
    }
}

void plan_release_files(const struct plan *p)
{
    release(p->files.kernel, p->files.kernel_bytes);
    release(p->files.initrd, p->files.initrd_bytes);
    release(p->options.firmware, p->options.firmware_bytes);
    release(p->options.video, p->options.video_bytes);
}

static void set_defaults(struct plan *p)
{
    memset(p, 0, sizeof *p);
    p->options.cpus = 1;
    p->options.memory_bytes = MEMORY_BYTES;
    p->files.command_line = "";
    p->report = p->control = p->counters = p->saved = p->memory = p->log = -1;
    p->options.kvm = -1;
}

static int read_watchdog(const char *word, enum machine_watchdog *ret, struct err *e)
{
    static const char *const words[] = {[MACHINE_WATCHDOG_NONE] = "none",
                                        [MACHINE_WATCHDOG_RESET] = "reset",
                                        [MACHINE_WATCHDOG_OFF] = "off",
                                        [MACHINE_WATCHDOG_HOLD] = "hold"};

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum machine_watchdog)i;
            return 0;
        }
    }
    return err_set(e, -EINVAL, "a watchdog does not know '%s'", word);
}

static int read_text(int fd, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = malloc(PLAN_MOST_BYTES);
    ssize_t n = text == NULL ? -ENOMEM : file_read_all(fd, text, PLAN_MOST_BYTES);

    if (n < 0) {
        return err_sys(e, (int)n, "cannot read the plan");
    }
    return json_parse(text, (size_t)n, "the plan", ret, e);
}

static int take_fd(const json_t *fds, const char *name)
{
    const json_t *fd = json_object_get(fds, name);
    int n = json_is_integer(fd) ? (int)json_integer_value(fd) : -1;

    if (n >= 0) {
        (void)fcntl(n, F_SETFD, FD_CLOEXEC);
    }
    return n;
}

static int read_boot(struct plan *p, const json_t *fds, struct err *e)
{
    json_t *part = NULL;
    const char *kernel = "the kernel";
    const char *initrd = "the initial RAM disk";
    const char *firmware = "the firmware";
    int r = json_opt_object(p->json, "", "boot", &part, e);

    if (json_object_get(fds, "firmware") != NULL) {
        r = r == 0 ? json_opt_str(part, "boot", "firmware", &firmware, e) : r;
        r = r == 0 ? map_file(take_fd(fds, "firmware"), firmware, &p->options.firmware,
                              &p->options.firmware_bytes, e)
                   : r;
        if (r == 0 && json_object_get(fds, "vars") != NULL) {
            r = map_variables(take_fd(fds, "vars"), &p->options, e);
        }
        return r < 0 || json_object_get(fds, "video") == NULL
                   ? r
                   : map_file(take_fd(fds, "video"), "the screen's firmware",
                              &p->options.video, &p->options.video_bytes, e);
    }
    r = r == 0 ? json_opt_str(part, "boot", "kernel", &kernel, e) : r;
    r = r == 0 ? json_opt_str(part, "boot", "initrd", &initrd, e) : r;
    r = r == 0 ? json_opt_str(part, "boot", "append", &p->files.command_line, e) : r;
    r = r == 0 ? map_file(take_fd(fds, "kernel"), kernel, &p->files.kernel,
                          &p->files.kernel_bytes, e)
               : r;
    if (r == 0 && json_object_get(fds, "initrd") != NULL) {
        r = map_file(take_fd(fds, "initrd"), initrd, &p->files.initrd,
                     &p->files.initrd_bytes, e);
    }
    return r;
}

/* 32 hexadecimal digits. */
static int read_generation(struct plan *p, struct err *e)
{
    const char *text = NULL;
    uint8_t *to = p->options.generation;
    int r = json_opt_str(p->json, "", "generation", &text, e);

    for (unsigned i = 0; r == 0 && text != NULL && i < sizeof p->options.generation;
         i++) {
        r = strlen(text) == 2 * sizeof p->options.generation &&
                    sscanf(text + 2 * i, "%2hhx", to + i) == 1
                ? 0
                : err_set(e, -EINVAL, "'generation' is no number of 32 digits");
    }
    p->is_told = r == 0 && text != NULL;
    return r == 0 ? json_opt_bool(p->json, "", "copy", &p->is_copy, e) : r;
}

/* Each of its runs is the same: nothing that is random comes from outside. */
static int set_deterministic(struct plan *p, uint64_t seed, struct err *e)
{
    char word[32];
    int r;

    p->options.is_deterministic = p->disks.in_turn = true;
    p->options.seed = seed;
    p->is_told = false;
    (void)str_print(word, sizeof word, "seed=%llu", (unsigned long long)seed);
    r = peripherals_plan(&p->peripherals, "--rng", word, e);
    return r < 0 ? r : 0;
}

static int read_deterministic(struct plan *p, struct err *e)
{
    bool is_wanted = false;
    uint64_t seed = 0;
    int r = json_opt_bool(p->json, "", "deterministic", &is_wanted, e);

    r = r == 0 ? json_opt_u64(p->json, "", "random_seed", &seed, e) : r;
    return r == 0 && is_wanted ? set_deterministic(p, seed, e) : r;
}

/* What the agent of a machine that was made from an image is reached by. */
static int read_agent(struct plan *p, const json_t *fds, struct err *e)
{
    int agent = take_fd(fds, "agent");
    char value[64];
    int r = 0;

    if (agent >= 0) {
        (void)str_print(value, sizeof value, "cid=%d,listen=%d", GUEST_CID, agent);
        r = peripherals_plan(&p->peripherals, "--vsock", value, e);
        r = r < 0 ? r : peripherals_plan(&p->peripherals, "--rng", "host", e);
    }
    return r < 0 ? r : 0;
}

static int read_disks(struct plan *p, const json_t *fds, struct err *e)
{
    json_t *list = NULL;
    size_t i;
    json_t *item;
    int r = json_opt_array(p->json, "", "disks", &list, e);

    json_array_foreach(list, i, item)
    {
        const char *word = json_string_value(item);
        char name[16];
        int fd;
        int base;

        (void)str_print(name, sizeof name, "disk%zu", i);
        fd = take_fd(fds, name);
        (void)str_print(name, sizeof name, "base%zu", i);
        base = take_fd(fds, name);
        if (word == NULL || fd < 0) {
            return err_set(e, -EINVAL, "'disks[%zu]' is no disk", i);
        }
        r = r == 0 ? drives_plan(&p->disks, word, fd, base, e) : r;
    }
    return r;
}

/* Devices of a kind: in the list "nets" words with '@' for the number of the descriptor that
 * is called "net0". */
static int read_devices(struct plan *p, const json_t *fds, const char *kind,
                        struct err *e)
{
    char name[16];
    char option[16];
    json_t *list = NULL;
    size_t i;
    json_t *item;
    int r;

    (void)str_print(name, sizeof name, "%ss", kind);
    (void)str_print(option, sizeof option, "--%s", kind);
    r = json_opt_array(p->json, "", name, &list, e);
    json_array_foreach(list, i, item)
    {
        const char *word = json_string_value(item);
        size_t at = word != NULL ? strcspn(word, "@") : 0;
        char words[PERIPHERAL_WORD_BYTES];
        int fd;

        (void)str_print(name, sizeof name, "%s%zu", kind, i);
        fd = take_fd(fds, name);
        if (word == NULL || fd < 0 || word[at] == '\0' ||
            str_print(words, sizeof words, "%.*s%d%s", (int)at, word, fd, word + at + 1) <
                0) {
            return err_set(e, -EINVAL, "'%ss[%zu]' is no device", kind, i);
        }
        r = r == 0 ? peripherals_plan(&p->peripherals, option, words, e) : r;
        r = r > 0 ? 0 : r;
    }
    return r;
}

/* A state goes on with the memory that had come to it, whatever came to the guest since. */
static int follow_saved(struct plan *p, struct err *e)
{
    struct machine_options *o = &p->options;
    uint64_t bytes = 0;
    int r = machine_saved_memory(p->saved, &bytes, e);

    if (r == 0 && bytes >= o->memory_bytes &&
        (bytes == o->memory_bytes || bytes <= o->memory_most)) {
        o->memory_plugged = bytes - o->memory_bytes;
    }
    return r;
}

/* Room for memory; and what the guest is to give back at first of all that it has. */
static int read_memory(struct plan *p, struct err *e)
{
    uint64_t now = 0;
    uint64_t all;
    char text[24];
    int r = json_opt_u64(p->json, "", "memory", &p->options.memory_bytes, e);

    r = r == 0 ? json_opt_u64(p->json, "", "memory_most", &p->options.memory_most, e) : r;
    r = r == 0
            ? json_opt_u64(p->json, "", "memory_plugged", &p->options.memory_plugged, e)
            : r;
    r = r == 0 ? json_opt_u64(p->json, "", "memory_now", &now, e) : r;
    r = r == 0 && p->saved >= 0 ? follow_saved(p, e) : r;
    if (r < 0 || json_object_get(p->json, "memory_now") == NULL) {
        return r;
    }
    all = machine_memory_of(&p->options);
    (void)str_print(text, sizeof text, "%llu",
                    (unsigned long long)((now < all ? all - now : 0) >> 20));
    r = peripherals_plan(&p->peripherals, "--balloon", text, e);
    return r < 0 ? r : 0;
}

int plan_read(int fd, struct plan *p, struct err *e)
{
    const char *watchdog = "none";
    json_t *fds = NULL;
    uint64_t cpus = 1;
    uint64_t most = 0;
    uint64_t user = 0;
    int r;

    set_defaults(p);
    r = read_text(fd, &p->json, e);
    (void)close(fd);
    r = r == 0 ? json_opt_object(p->json, "", "fds", &fds, e) : r;
    if (r < 0) {
        return r;
    }
    p->report = take_fd(fds, "report");
    p->control = take_fd(fds, "control");
    p->counters = take_fd(fds, "counters");
    p->saved = take_fd(fds, "saved");
    p->memory = take_fd(fds, "memory");
    p->options.kvm = take_fd(fds, "kvm");
    r = json_opt_str(p->json, "", "engine", &p->options.engine, e);
    r = r == 0 ? json_opt_str(p->json, "", "model", &p->options.model, e) : r;
    r = r == 0 ? json_opt_u64(p->json, "", "cpus", &cpus, e) : r;
    r = r == 0 ? json_opt_u64(p->json, "", "cpus_most", &most, e) : r;
    r = r == 0 ? json_opt_bool(p->json, "", "hide", &p->options.hides, e) : r;
    r = r == 0 ? json_opt_bool(p->json, "", "no_reboot", &p->options.no_reboot, e) : r;
    r = r == 0 ? json_opt_bool(p->json, "", "screen", &p->options.has_screen, e) : r;
    r = r == 0 ? json_opt_bool(p->json, "", "hold_crash", &p->holds_crash, e) : r;
    r = r == 0 ? json_opt_str(p->json, "", "watchdog", &watchdog, e) : r;
    r = r == 0 ? read_watchdog(watchdog, &p->options.watchdog, e) : r;
    r = r == 0 ? json_opt_u64(p->json, "", "user", &user, e) : r;
    r = r == 0 ? json_opt_bool(p->json, "", "born", &p->born, e) : r;
    r = r == 0 ? read_generation(p, e) : r;
    r = r == 0 ? read_deterministic(p, e) : r;
    p->options.cpus = cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus;
    p->options.cpus_most = most > UINT_MAX ? UINT_MAX : (unsigned)most;
    p->holds_crash = p->holds_crash || p->options.watchdog == MACHINE_WATCHDOG_HOLD;
    p->user = (uid_t)user;
    r = r == 0 ? read_agent(p, fds, e) : r;
    r = r == 0 ? read_disks(p, fds, e) : r;
    r = r == 0 ? read_devices(p, fds, "net", e) : r;
    r = r == 0 ? read_devices(p, fds, "fs", e) : r;
    r = r == 0 ? read_memory(p, e) : r;
    return r == 0 ? read_boot(p, fds, e) : r;
}

static int parse_pair(const char *name, const char *value, struct plan *p, struct err *e)
{
    int r = 0;

    if (strcmp(name, "--kernel") == 0) {
        return map_file(open(value, O_RDONLY | O_CLOEXEC), value, &p->files.kernel,
                        &p->files.kernel_bytes, e);
    }
    if (strcmp(name, "--initrd") == 0) {
        return map_file(open(value, O_RDONLY | O_CLOEXEC), value, &p->files.initrd,
                        &p->files.initrd_bytes, e);
    }
    if (strcmp(name, "--firmware") == 0) {
        return map_file(open(value, O_RDONLY | O_CLOEXEC), value, &p->options.firmware,
                        &p->options.firmware_bytes, e);
    }
    if (strcmp(name, "--vars") == 0) {
        return map_variables(open(value, O_RDWR | O_CLOEXEC), &p->options, e);
    }
    if (strcmp(name, "--screen") == 0) { /* with this firmware of its own; "none" */
        p->options.has_screen = true;
        return strcmp(value, "none") == 0
                   ? 0
                   : map_file(open(value, O_RDONLY | O_CLOEXEC), value, &p->options.video,
                              &p->options.video_bytes, e);
    }
    if (strcmp(name, "--log") == 0) {
        p->log = open(value, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        return p->log < 0 ? err_sys(e, -errno, "cannot write '%s'", value) : 0;
    }
    if (strcmp(name, "--append") == 0) {
        p->files.command_line = value;
    } else if (strcmp(name, "--engine") == 0) {
        p->options.engine = value;
    } else if (strcmp(name, "--model") == 0) {
        p->options.model = value;
    } else if (strcmp(name, "--cpus") == 0) {
        p->options.cpus = (unsigned)atoi(value);
    } else if (strcmp(name, "--cpus-most") == 0) {
        p->options.cpus_most = (unsigned)atoi(value);
    } else if (strcmp(name, "--memory") == 0) {
        p->options.memory_bytes = strtoull(value, NULL, 10) << 20;
    } else if (strcmp(name, "--memory-most") == 0) {
        p->options.memory_most = strtoull(value, NULL, 10) << 20;
    } else if (strcmp(name, "--watchdog") == 0) {
        return read_watchdog(value, &p->options.watchdog, e);
    } else if (strcmp(name, "--deterministic") == 0) {
        return set_deterministic(p, strtoull(value, NULL, 10), e);
    } else if (strcmp(name, "--disk") == 0) {
        return drives_plan(&p->disks, value, -1, -1, e);
    } else {
        r = peripherals_plan(&p->peripherals, name, value, e);
        r = r == 0 ? err_set(e, -EINVAL, "'%s' is not known", name) : r;
    }
    return r < 0 ? r : 0;
}

int plan_parse(char *const *words, struct plan *p, struct err *e)
{
    int r = 0;

    set_defaults(p);
    for (; r == 0 && words[0] != NULL; words += 2) {
        r = words[1] == NULL
                ? err_set(e, -EINVAL, "the value of '%s' is missing", words[0])
                : parse_pair(words[0], words[1], p, e);
    }
    if (r == 0 && p->files.kernel == NULL && p->options.firmware == NULL) {
        r = err_set(e, -EINVAL, "no kernel was named (--kernel FILE), and no firmware");
    }
    p->options.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return r;
}
