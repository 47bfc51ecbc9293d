/* program.c - finding, checking and executing the program.
 *
 * What would let a program inside overwrite the runtime on the host
 * (CVE-2019-5736) is refused: a file that is the runtime itself, by device and
 * inode, and a script or program that names it as its interpreter.  "#!" chains are
 * followed as the kernel does (fs/binfmt_script.c), and so is the interpreter that
 * an ELF file names. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/container/private.h"

#define HEAD_BYTES   4096
#define SCRIPTS_MOST 5 /* BINPRM recursion of the kernel, fs/exec.c */

static int check_file(const struct setup *s, const char *path, int depth);

static int check_script(const struct setup *s, char *head, int depth)
{
    char *from = head + strlen("#!");

    from += strspn(from, " \t");
    from[strcspn(from, " \t\n")] = '\0';
    return from[0] != '\0' ? check_file(s, from, depth + 1) : 0;
}

/* The interpreter that a program names in its first page, if it does. */
static int check_elf(const struct setup *s, const char *head, size_t n, int depth)
{
    Elf64_Ehdr h;
    Elf64_Phdr p;
    char path[PATH_MAX];

    if (n < sizeof h) {
        return 0;
    }
    memcpy(&h, head, sizeof h);
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_phentsize != sizeof p) {
        return 0;
    }
    for (size_t i = 0; i < h.e_phnum; i++) {
        if (h.e_phoff > n || n - h.e_phoff < (i + 1) * sizeof p) {
            return 0;
        }
        memcpy(&p, head + h.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_INTERP && p.p_filesz > 1 && p.p_filesz < sizeof path &&
            p.p_offset < n && n - p.p_offset >= p.p_filesz) {
            memcpy(path, head + p.p_offset, p.p_filesz);
            path[p.p_filesz - 1] = '\0';
            return check_file(s, path, depth + 1);
        }
    }
    return 0;
}

/* 0 also for what cannot be read: only its identity counts then. */
static int check_content(const struct setup *s, const char *path, int depth)
{
    SCOPED(scope_close)
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char head[HEAD_BYTES + 1];
    ssize_t n = fd >= 0 ? read(fd, head, HEAD_BYTES) : 0;

    if (n < (ssize_t)SELFMAG) {
        return 0;
    }
    head[n] = '\0';
    return strncmp(head, "#!", 2) == 0          ? check_script(s, head, depth)
           : memcmp(head, ELFMAG, SELFMAG) == 0 ? check_elf(s, head, (size_t)n, depth)
                                                : 0;
}

static int check_file(const struct setup *s, const char *path, int depth)
{
    SCOPED(scope_close) int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if ((uint64_t)st.st_dev == s->own_dev && (uint64_t)st.st_ino == s->own_ino) {
        return -EXDEV;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EACCES; /* as execve says of directories and devices */
    }
    return depth < SCRIPTS_MOST ? check_content(s, path, depth) : 0;
}

static const char *path_variable(char *const *env)
{
    for (size_t i = 0; env[i] != NULL; i++) {
        if (strncmp(env[i], "PATH=", 5) == 0) {
            return env[i] + 5;
        }
    }
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* The file that `name` means; as execvpe looks for it. */
static int find_program(const char *name, char *const *env, char out[PATH_MAX])
{
    const char *at = path_variable(env);
    int best = -ENOENT;

    if (strchr(name, '/') != NULL) {
        return str_print(out, PATH_MAX, "%s", name);
    }
    for (;;) {
        size_t len = strcspn(at, ":");
        struct stat st;

        if (str_print(out, PATH_MAX, "%.*s/%s", (int)len, at, name) == 0 &&
            stat(out, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(out, X_OK) == 0) {
                return 0;
            }
            best = -EACCES;
        }
        if (at[len] == '\0') {
            return best;
        }
        at += len + 1;
    }
}

static char **texts(const json_t *list)
{
    char **out = calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;
    json_t *item;

    if (out != NULL) {
        json_array_foreach(list, i, item)
        {
            out[i] = (char *)(uintptr_t)json_string_value(item);
        }
    }
    return out;
}

/* The file that is to be executed, if it may be. */
static int choose(const struct setup *s, const char *name, char *const *env,
                  char path[PATH_MAX], struct err *e)
{
    int r = find_program(name, env, path);

    r = r == 0 ? check_file(s, path, 0) : r;
    if (r == -EXDEV) {
        return err_set(e, -EPERM, "cannot run '%s': it is the container runtime itself",
                       name);
    }
    return r < 0 ? err_sys(e, r, "cannot run '%s'", name) : 0;
}

int process_look(const struct setup *s, struct err *e)
{
    const char *name =
        json_string_value(json_array_get(config_get(s->process, "args"), 0));
    SCOPED(scope_free) char **env = texts(config_get(s->process, "env"));
    char path[PATH_MAX];

    if (name == NULL || env == NULL) {
        return err_set(e, -EINVAL, "no program to run was named");
    }
    if (name[0] != '/' && strchr(name, '/') != NULL) {
        return 0; /* relative to a directory that is not entered yet */
    }
    return choose(s, name, env, path, e);
}

int process_execute(struct setup *s, struct err *e)
{
    char **argv = texts(config_get(s->process, "args"));
    char **env = texts(config_get(s->process, "env"));
    char path[PATH_MAX];
    sigset_t none;
    int r;

    if (argv == NULL || env == NULL || argv[0] == NULL) {
        return err_set(e, -EINVAL, "no program to run was named");
    }
    r = choose(s, argv[0], env, path, e);
    if (r < 0) {
        return r;
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)syscall(SYS_close_range, 3U + (unsigned)s->preserve_fds, ~0U,
                  CLOSE_RANGE_CLOEXEC);
    for (int i = 0; i < s->preserve_fds; i++) {
        (void)fcntl(3 + i, F_SETFD, 0);
    }
    if (s->die_with_parent) { /* the change of user has undone it */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    }
    r = process_lock_down(s, e);
    if (r < 0) {
        return r;
    }
    (void)execve(path, argv, env);
    return err_sys(e, -errno, "cannot run '%s'", argv[0]);
}
