/* exec.c - a command's process: who it is, where it stands, what it inherits.
 *
 * Users are looked up in /etc/passwd itself: a static program has no other way that works
 * in every guest. */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/agent/private.h"

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct user {
    unsigned long uid, gid;
    char name[64];
    char home[256];
};

/* name:password:uid:gid:comment:home:shell (passwd(5)). */
static bool read_line(char *line, const char *name, bool by_number, struct user *u)
{
    char *field[6] = {0};

    for (unsigned i = 0; i < 6; i++) {
        field[i] = strsep(&line, ":\n");
        if (field[i] == NULL) {
            return false;
        }
    }
    if (strcmp(field[by_number ? 2 : 0], name) != 0) {
        return false;
    }
    u->uid = strtoul(field[2], NULL, 10);
    u->gid = strtoul(field[3], NULL, 10);
    (void)snprintf(u->name, sizeof u->name, "%s", field[0]);
    (void)snprintf(u->home, sizeof u->home, "%s", field[5]);
    return true;
}

static bool look_up(const char *name, bool by_number, struct user *u)
{
    FILE *f = fopen("/etc/passwd", "re");
    char line[1024];
    bool found = false;

    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        found = read_line(line, name, by_number, u);
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return found;
}

/* "", "name", "uid", "uid:gid". */
static int find_user(const char *word, struct user *u)
{
    char name[64];
    const char *colon = strchr(word, ':');
    size_t n = colon != NULL ? (size_t)(colon - word) : strlen(word);
    bool number = n > 0 && strspn(word, "0123456789") >= n;

    *u = (struct user){.name = "root", .home = "/"};
    if (n >= sizeof name) {
        return -EINVAL;
    }
    memcpy(name, word, n);
    name[n] = '\0';
    if (n == 0 || number) {
        (void)look_up(n == 0 ? "0" : name, true, u);
        u->uid = strtoul(name, NULL, 10);
    } else if (!look_up(name, false, u)) {
        return -ENOENT;
    }
    if (colon != NULL) {
        u->gid = strtoul(colon + 1, NULL, 10);
    }
    return 0;
}

static void set_variables(const struct frame_exec *x, const struct user *u)
{
    (void)clearenv();
    (void)setenv("PATH", USUAL_PATH, 1);
    (void)setenv("HOME", u->home[0] != '\0' ? u->home : "/", 1);
    (void)setenv("USER", u->name, 1);
    if ((x->flags & FRAME_EXEC_TTY) != 0) {
        (void)setenv("TERM", "xterm", 1);
    }
    for (unsigned i = 0; x->env != NULL && x->env[i] != NULL; i++) {
        if (strchr(x->env[i], '=') != NULL) {
            (void)putenv((char *)(uintptr_t)x->env[i]);
        }
    }
}

static int become(const struct user *u)
{
    gid_t gid = (gid_t)u->gid;

    if (geteuid() != 0) { /* a test's agent */
        return 0;
    }
    if (setgroups(1, &gid) < 0 || setresgid(gid, gid, gid) < 0 ||
        setresuid((uid_t)u->uid, (uid_t)u->uid, (uid_t)u->uid) < 0) {
        return -errno;
    }
    return 0;
}

int agent_exec(const struct frame_exec *x)
{
    struct user u;
    int r = find_user(x->user != NULL ? x->user : "", &u);

    if (r < 0) {
        (void)dprintf(2, "strata: there is no user '%s'\n", x->user);
        return 126;
    }
    set_variables(x, &u);
    if (x->workdir != NULL && x->workdir[0] != '\0') {
        r = chdir(x->workdir) < 0 ? -errno : 0;
    } else if (chdir(u.home) < 0) {
        r = chdir("/") < 0 ? -errno : 0;
    }
    r = r < 0 ? r : become(&u);
    if (r < 0) {
        (void)dprintf(2, "strata: cannot start '%s': %s\n", x->argv[0], strerror(-r));
        return 126;
    }
    (void)execvp(x->argv[0], (char *const *)(uintptr_t)x->argv);
    r = errno;
    (void)dprintf(2, "strata: cannot run '%s': %s\n", x->argv[0], strerror(r));
    return r == ENOENT ? 127 : 126;
}

int agent_exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
