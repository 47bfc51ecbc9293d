#include "servers.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"

bool have_program(const char *name)
{
    SCOPED(scope_free) char *path = strdup(getenv("PATH"));
    char *rest = path, *dir;

    while ((dir = strsep(&rest, ":")) != NULL) {
        char full[512];

        if (str_print(full, sizeof full, "%s/%s", dir, name) == 0 &&
            access(full, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

void make_dir(char path[64])
{
    (void)strcpy(path, "/tmp/strata-registry-XXXXXX");
    if (mkdtemp(path) == NULL) {
        abort();
    }
}

void remove_dir(const char *path)
{
    (void)file_remove_tree(AT_FDCWD, path);
}

/* A child with the given standard input and output that dies with this process. */
static pid_t spawn(const char *const *argv, int in, int out)
{
    pid_t pid = fork();

    if (pid != 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(in, 0);
    (void)dup2(out, 1);
    if (getenv("TEST_VERBOSE") == NULL) {
        (void)dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
    }
    (void)close_range(3, ~0u, 0);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

int run_program(const char *const *argv)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = spawn(argv, null, null);
    int status = 0;

    (void)close(null);
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A script that prints two ports, and ends with its standard input. */
static int start_script(struct server *s, const char *const *argv)
{
    int in[2], out[2];
    SCOPED(scope_file) FILE *f = NULL;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
        return -errno;
    }
    s->pid = spawn(argv, in[0], out[1]);
    s->in = in[1];
    (void)close(in[0]);
    (void)close(out[1]);
    f = fdopen(out[0], "r");
    return f != NULL && fscanf(f, "%u %u", &s->port[0], &s->port[1]) == 2 ? 0 : -EIO;
}

int start_fake(struct server *s)
{
    const char *argv[] = {"python3", SCRIPTS "/fake_registry.py", NULL};

    return start_script(s, argv);
}

int start_cutter(struct server *s, unsigned port, unsigned count)
{
    char to[16], times[16];
    const char *argv[] = {"python3", SCRIPTS "/cutter.py", to, times, NULL};

    (void)str_print(to, sizeof to, "%u", port);
    (void)str_print(times, sizeof times, "%u", count);
    return start_script(s, argv);
}

static int connect_to(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        (void)close(fd);
        return -errno;
    }
    return fd;
}

/* A port that is free now. */
static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&a, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0) {
        abort();
    }
    (void)close(fd);
    return ntohs(a.sin_port);
}

static void write_config(const char *path, const char *dir, unsigned port,
                         const char *htpasswd, const char *cert, const char *key)
{
    struct str s = {0};

    str_addf(&s,
             "version: 0.1\nlog: {level: error}\nstorage:\n  filesystem:\n"
             "    rootdirectory: %s/storage\n  delete: {enabled: true}\n"
             "http:\n  addr: 127.0.0.1:%u\n",
             dir, port);
    if (cert != NULL) {
        str_addf(&s, "  tls:\n    certificate: %s\n    key: %s\n", cert, key);
    }
    if (htpasswd != NULL) {
        str_addf(&s, "auth:\n  htpasswd:\n    realm: test\n    path: %s\n", htpasswd);
    }
    (void)file_replace(AT_FDCWD, path, str_text(&s), s.len, 0600, false);
    str_fini(&s);
}

int start_docker(struct server *s, const char *dir, const char *htpasswd,
                 const char *cert, const char *key)
{
    char path[128];
    const char *argv[] = {"docker-registry", "serve", path, NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)str_print(path, sizeof path, "%s/config.yml", dir);
    s->port[0] = free_port();
    write_config(path, dir, s->port[0], htpasswd, cert, key);
    s->in = -1;
    s->pid = spawn(argv, null, null);
    (void)close(null);
    for (int i = 0; i < 200; i++) {
        int fd = connect_to(s->port[0]);

        if (fd >= 0) {
            (void)close(fd);
            return 0;
        }
        (void)usleep(50000);
    }
    return -ETIMEDOUT;
}

void stop_server(struct server *s)
{
    scope_close(&s->in);
    s->in = -1;
    if (s->pid > 0) {
        (void)kill(s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
        s->pid = 0;
    }
}

long ask_stat(const struct server *s, const char *name)
{
    static const char ask[] = "GET /stats HTTP/1.1\r\nConnection: close\r\n\r\n";
    char text[4096] = "", key[64];
    SCOPED(scope_close) int fd = connect_to(s->port[0]);
    const char *at;

    if (fd < 0 || file_write_all(fd, ask, sizeof ask - 1) < 0 ||
        file_read_all(fd, text, sizeof text - 1) <= 0) {
        return -1;
    }
    (void)str_print(key, sizeof key, "\"%s\": ", name);
    at = strstr(text, key);
    return at != NULL ? strtol(at + strlen(key), NULL, 10) : -1;
}

static int count(const char *state, const char *sub)
{
    char path[160];
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *x;
    int n = 0;

    (void)str_print(path, sizeof path, "%s/images/%s", state, sub);
    d = opendir(path);
    while (d != NULL && (x = readdir(d)) != NULL) {
        n += strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0;
    }
    return n;
}

int count_blobs(const char *state)
{
    return count(state, "blobs/sha256");
}

int count_parts(const char *state)
{
    return count(state, "partial");
}
