/* target.c - which file is executed, so that nobody can exchange it meanwhile.
 *
 * A program inside could have the runtime execute itself, and then overwrite it on
 * the host through /proc/PID/exe (CVE-2019-5736).  So a file that is this program,
 * by device and inode, is refused, as a program, as the interpreter of a script, and
 * as that of an ELF file.  A look at a path is not enough: between it and the
 * execve another process may put something else there.  Therefore
 *
 *  - the last part of the path is followed by hand, with readlink(2), until it is the
 *    name of a regular file in a directory that we hold open.  execveat(2) with
 *    AT_SYMLINK_NOFOLLOW then cannot come to a link any more, and only through a
 *    link of /proc could it come to this program;
 *  - a path that ends in a link of /proc is executed as the descriptor that was
 *    checked (AT_EMPTY_PATH);
 *  - the first line of a script is read and obeyed here, as fs/binfmt_script.c does
 *    (Linux 6.1), since the kernel would look its interpreter up by path once more.
 *
 * What remains: the kernel opens the interpreter of an ELF file by path.  If it were
 * exchanged for this program, /proc/PID/exe would still be the other file, and
 * nothing else leads to ours.
 *
 * The price: a process is called (/proc/PID/comm) after the file that runs, not
 * after the link or script that led to it.
 *
 * A filter may allow execve alone.  Then the descriptor is executed by its name in
 * /proc, and where there is none, the path. */
#include "virt/container/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "virt/container/confine/seccomp.h"

#define HEAD_BYTES   4096
#define LINE_BYTES   256 /* BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h */
#define SCRIPTS_MOST 5   /* rewrites the kernel follows, fs/exec.c */
#define LINKS_MOST   40  /* MAXSYMLINKS, include/linux/namei.h */
#define TRIES_MOST   16

static bool is_procfs(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Cut the last part off `path`; its name, or NULL when it is none of a file. */
static const char *cut_name(char *path)
{
    char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) > NAME_MAX) {
        return NULL;
    }
    return name;
}

/* The directory and name that `path` ends at; -EREMOTE: a link of /proc ends it. */
static int follow(const char *path, int *ret_dir, char ret_name[NAME_MAX + 1])
{
    SCOPED(scope_close) int dir = -1;
    char rest[PATH_MAX];
    int r = str_print(rest, sizeof rest, "%s", path);

    for (int links = 0; r == 0 && links < LINKS_MOST; links++) {
        char parent[PATH_MAX];
        char text[PATH_MAX];
        const char *name = cut_name(rest);
        ssize_t n;
        int next;

        if (name == NULL) {
            return -EACCES;
        }
        (void)str_print(parent, sizeof parent, "%s%.*s", rest[0] == '/' ? "/" : "./",
                        (int)(name - rest), rest);
        next =
            openat(dir >= 0 ? dir : AT_FDCWD, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (next < 0) {
            return -errno;
        }
        if (dir >= 0) {
            (void)close(dir);
        }
        dir = next;
        n = readlinkat(dir, name, text, sizeof text - 1);
        if (n < 0 && errno == EINVAL) { /* no link: here it is */
            (void)str_print(ret_name, NAME_MAX + 1, "%s", name);
            *ret_dir = scope_take_fd(&dir);
            return 0;
        }
        if (n < 0) {
            return -errno;
        }
        if (is_procfs(dir)) {
            return -EREMOTE;
        }
        text[n] = '\0';
        r = str_print(rest, sizeof rest, "%s", text);
    }
    return r < 0 ? r : -ELOOP;
}

static bool is_same(const struct target *t, const struct stat *st)
{
    return t->dev == (uint64_t)st->st_dev && t->ino == (uint64_t)st->st_ino;
}

static void let_go(struct target *t)
{
    if (t->file >= 0) {
        (void)close(t->file);
    }
    if (t->dir >= 0) {
        (void)close(t->dir);
    }
    t->file = t->dir = -1;
}

/* -EAGAIN: it was exchanged between two looks. */
static int try_open(const struct setup *s, const char *path, struct target *t)
{
    struct stat st;
    int r;

    let_go(t);
    t->file = open(path, O_PATH | O_CLOEXEC);
    if (t->file < 0 || fstat(t->file, &st) < 0) {
        return -errno;
    }
    t->dev = (uint64_t)st.st_dev;
    t->ino = (uint64_t)st.st_ino;
    if (t->dev == s->own_dev && t->ino == s->own_ino) {
        return -EXDEV;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EACCES; /* as execve says of directories and devices */
    }
    r = follow(path, &t->dir, t->name);
    if (r == -EREMOTE) {
        t->name[0] = '\0';
        return 0;
    }
    if (r == 0 && fstatat(t->dir, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        r = -errno;
    }
    return r < 0 ? r : is_same(t, &st) ? 0 : -EAGAIN;
}

/* Its first bytes; 0 when it cannot be read: only its identity counts then. */
static int read_head(const struct target *t, const char *path, char head[HEAD_BYTES + 1],
                     size_t *ret_n)
{
    int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    SCOPED(scope_close)
    int fd = t->name[0] != '\0' ? openat(t->dir, t->name, flags | O_NOFOLLOW)
                                : open(path, flags);
    struct stat st;
    ssize_t n;

    *ret_n = 0;
    head[0] = '\0';
    if (fd < 0) {
        return errno == EACCES || errno == EPERM || errno == ETXTBSY ? 0 : -errno;
    }
    if (fstat(fd, &st) < 0 || !is_same(t, &st)) {
        return -EAGAIN;
    }
    n = read(fd, head, HEAD_BYTES);
    *ret_n = n > 0 ? (size_t)n : 0;
    head[*ret_n] = '\0';
    return 0;
}

static int open_file(const struct setup *s, const char *path, struct target *t,
                     char head[HEAD_BYTES + 1], size_t *ret_n)
{
    int r = -EAGAIN;

    for (int i = 0; r == -EAGAIN && i < TRIES_MOST; i++) {
        r = try_open(s, path, t);
        r = r == 0 ? read_head(t, path, head, ret_n) : r;
    }
    return r;
}

/* Put the interpreter, and the one argument its line may have, before `path`, which
 * takes the place of the name the script was called by. */
static int take_line(struct target *t, char *line, const char *path)
{
    char *name = line + strspn(line, " \t");
    size_t len = strcspn(name, " \t");
    char *more = name + len + strspn(name + len, " \t");
    size_t had = 0;
    char **argv;
    size_t n = 0;

    name[len] = '\0';
    if (name[0] == '\0') {
        return -ENOEXEC;
    }
    while (t->argv[had] != NULL) {
        had++;
    }
    strv_add(&t->texts, name);
    strv_add(&t->texts, more);
    strv_add(&t->texts, path);
    argv = calloc(had + 4, sizeof *argv);
    if (argv == NULL || strv_failed(&t->texts)) {
        free(argv);
        return -ENOMEM;
    }
    argv[n++] = t->texts.items[t->texts.n - 3];
    if (more[0] != '\0') {
        argv[n++] = t->texts.items[t->texts.n - 2];
    }
    argv[n++] = t->texts.items[t->texts.n - 1];
    for (size_t i = 1; i < had; i++) {
        argv[n++] = t->argv[i];
    }
    free(t->argv);
    t->argv = argv;
    return 0;
}

/* 1: it was a script, and its interpreter is argv[0] now. */
static int obey_script(struct target *t, char *head, const char *path)
{
    size_t len;
    int r;

    if (strncmp(head, "#!", 2) != 0) {
        return 0;
    }
    if (t->name[0] != '\0' &&
        faccessat(t->dir, t->name, X_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    head[LINE_BYTES] = '\0';
    len = strcspn(head, "\n");
    if (head[len] == '\0' && strcspn(head + 2 + strspn(head + 2, " \t"), " \t") + 2 +
                                     strspn(head + 2, " \t") ==
                                 LINE_BYTES) {
        return -ENOEXEC; /* the name itself does not end */
    }
    while (len > 2 && (head[len - 1] == ' ' || head[len - 1] == '\t')) {
        len--;
    }
    head[len] = '\0';
    r = take_line(t, head + 2, path);
    return r < 0 ? r : 1;
}

static bool is_native(unsigned machine)
{
#if defined(__aarch64__)
    return machine == EM_AARCH64 || machine == EM_ARM;
#else
    return machine == EM_X86_64 || machine == EM_386;
#endif
}

/* The interpreter that a program names in its first page is not this one. */
static int check_elf(const struct setup *s, const char *head, size_t n)
{
    Elf64_Ehdr h;
    Elf64_Phdr p;
    char path[PATH_MAX];
    struct stat st;

    if (n < sizeof h) {
        return 0;
    }
    memcpy(&h, head, sizeof h);
    for (size_t i = 0; h.e_ident[EI_CLASS] == ELFCLASS64 && i < h.e_phnum; i++) {
        if (h.e_phentsize != sizeof p || h.e_phoff > n ||
            n - h.e_phoff < (i + 1) * sizeof p) {
            return 0;
        }
        memcpy(&p, head + h.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_INTERP && p.p_filesz > 1 && p.p_filesz < sizeof path &&
            p.p_offset < n && n - p.p_offset >= p.p_filesz) {
            memcpy(path, head + p.p_offset, p.p_filesz);
            path[p.p_filesz - 1] = '\0';
            return stat(path, &st) == 0 && (uint64_t)st.st_dev == s->own_dev &&
                           (uint64_t)st.st_ino == s->own_ino
                       ? -EXDEV
                       : 0;
        }
    }
    return 0;
}

static int look_inside(const struct setup *s, struct target *t, const char *head,
                       size_t n)
{
    Elf64_Ehdr h;

    if (n < sizeof h) { /* unreadable: taken for a program; too short: for neither */
        t->foreign = n > 0;
        return 0;
    }
    memcpy(&h, head, sizeof h); /* the machine is at the same place in both classes */
    t->foreign = memcmp(head, ELFMAG, SELFMAG) != 0 || !is_native(h.e_machine);
    return t->foreign ? 0 : check_elf(s, head, n);
}

static int move_above(int *fd, int least)
{
    int moved = *fd >= 0 && *fd < least ? fcntl(*fd, F_DUPFD_CLOEXEC, least) : *fd;

    if (moved < 0 && *fd >= 0) {
        return -errno;
    }
    if (moved != *fd) {
        (void)close(*fd);
        *fd = moved;
    }
    return 0;
}

int target_move_above(struct target *t, int least)
{
    int r = move_above(&t->file, least);

    return r == 0 ? move_above(&t->dir, least) : r;
}

int target_find(const struct setup *s, const char *path, char *const *argv,
                struct target *t)
{
    char head[HEAD_BYTES + 1];
    size_t n = 0;
    size_t had = 0;
    int r = 1;

    memset(t, 0, sizeof *t);
    t->file = t->dir = -1;
    while (argv[had] != NULL) {
        had++;
    }
    t->argv = calloc(had + 1, sizeof *t->argv);
    if (t->argv == NULL) {
        return -ENOMEM;
    }
    memcpy(t->argv, argv, had * sizeof *t->argv);
    for (int depth = 0; r == 1; depth++) {
        if (depth > SCRIPTS_MOST) {
            return -ELOOP;
        }
        r = open_file(s, path, t, head, &n);
        r = r == 0 ? obey_script(t, head, path) : r;
        path = t->argv[0];
    }
    return r < 0 ? r : look_inside(s, t, head, n);
}

void target_fini(struct target *t)
{
    let_go(t);
    free(t->argv);
    strv_fini(&t->texts);
    t->argv = NULL;
}

/* By the name that the descriptor has in /proc, if that is one. */
static int execute_by_name(const struct target *t, const char *path, char *const *env)
{
    SCOPED(scope_close) int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char name[64];

    if (proc >= 0 && is_procfs(proc)) {
        (void)str_print(name, sizeof name, "/proc/self/fd/%d", t->file);
        path = name;
    }
    (void)execve(path, t->argv, env);
    return -errno;
}

int target_execute(const struct setup *s, const struct target *t, const char *path,
                   char *const *env)
{
    bool named = t->name[0] != '\0';
    int dir = named ? t->dir : t->file;
    int flags = named ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;

    if (s->seccomp != NULL && !seccomp_filter_allows(s->seccomp, SYS_execveat)) {
        return execute_by_name(t, path, env);
    }
    if (t->foreign) { /* whatever runs it opens it again, by this descriptor */
        (void)fcntl(dir, F_SETFD, 0);
    }
    (void)syscall(SYS_execveat, dir, t->name, t->argv, env, flags);
    return -errno;
}
