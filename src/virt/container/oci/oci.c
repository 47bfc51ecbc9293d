/* oci.c - the command line of an OCI runtime, as engines call it.
 *
 * Flags and exit codes follow runc and crun, which the engines were written
 * against: flags before the command are global, 1 tells a failure, and `run` and
 * `exec` in the foreground return the program's own code. */
#include "virt/container/oci/oci.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/word.h"

#define VERSION_TEXT  "strata oci version 0.1.0\nspec: 1.2.0\n+SECCOMP +CGROUPS +CAPS\n"
#define COMMANDS_MOST 32

/* clang-format off */
static const struct oci_flag global_flags[] = {
    {"root",           0,   true,  "directory for the state of containers"},
    {"log",            0,   true,  "write failures and warnings to this file"},
    {"log-format",     0,   true,  "text (the default) or json"},
    {"debug",          0,   false, "say more in the log"},
    {"help",           'h', false, "show the commands"},
    {"version",        'v', false, "show the version"},
    {"log-level",      0,   true,  NULL},
    {"systemd-cgroup", 0,   false, "take cgroupsPath as SLICE:PREFIX:NAME (so it is either way)"},
    {"cgroup-manager", 0,   true,  "cgroupfs or systemd; both make the directories themselves"},
    {"rootless",       0,   true,  NULL},
    {"criu",           0,   true,  NULL},
    {0},
};

static const struct oci_flag create_flags[] = {
    {"bundle",         'b', true,  "directory with config.json (default: here)"},
    {"config",         'f', true,  "another file than BUNDLE/config.json"},
    {"console-socket", 0,   true,  "send the terminal's master to this socket"},
    {"pid-file",       0,   true,  "write the first program's process id to this file"},
    {"preserve-fds",   0,   true,  "hand on this many descriptors from 3 up"},
    {"no-pivot",       0,   false, "for a root on the initial ramfs"},
    {"no-new-keyring", 0,   false, NULL},
    {"no-subreaper",   0,   false, NULL},
    {0},
};

static const struct oci_flag run_flags[] = {
    {"bundle",         'b', true,  "directory with config.json (default: here)"},
    {"config",         'f', true,  "another file than BUNDLE/config.json"},
    {"console-socket", 0,   true,  "send the terminal's master to this socket"},
    {"pid-file",       0,   true,  "write the first program's process id to this file"},
    {"preserve-fds",   0,   true,  "hand on this many descriptors from 3 up"},
    {"detach",         'd', false, "return when the program runs"},
    {"keep",           0,   false, "do not delete the container when it ends"},
    {"no-pivot",       0,   false, "for a root on the initial ramfs"},
    {"no-new-keyring", 0,   false, NULL},
    {"no-subreaper",   0,   false, NULL},
    {0},
};

static const struct oci_flag kill_flags[] = {
    {"all", 'a', false, "to every process of the container"},
    {0},
};

static const struct oci_flag delete_flags[] = {
    {"force", 'f', false, "end it first; a missing container is fine"},
    {0},
};

static const struct oci_flag exec_flags[] = {
    {"process",          'p', true,  "a file with an OCI process object"},
    {"console-socket",   0,   true,  "send the terminal's master to this socket"},
    {"pid-file",         0,   true,  "write the program's process id to this file"},
    {"detach",           'd', false, "return when the program runs"},
    {"tty",              't', false, "with a terminal"},
    {"cwd",              0,   true,  "directory to begin in"},
    {"env",              'e', true,  "NAME=VALUE, added to the container's own"},
    {"user",             'u', true,  "UID[:GID]"},
    {"additional-gids",  'g', true,  "one more group"},
    {"cap",              'c', true,  "one more capability"},
    {"no-new-privs",     0,   false, "set no_new_privs"},
    {"apparmor",         0,   true,  "AppArmor profile"},
    {"process-label",    0,   true,  "SELinux label"},
    {"preserve-fds",     0,   true,  "hand on this many descriptors from 3 up"},
    {"ignore-paused",    0,   false, "also into a paused container"},
    {"no-subreaper",     0,   false, NULL},
    {0},
};

static const struct oci_flag list_flags[] = {
    {"format", 'f', true,  "table (the default) or json"},
    {"quiet",  'q', false, "identifiers only"},
    {0},
};

static const struct oci_flag ps_flags[] = {
    {"format", 'f', true, "table (the default) or json"},
    {0},
};

static const struct oci_flag update_flags[] = {
    {"resources",          'r', true, "a file with an OCI resources object; -: standard input"},
    {"blkio-weight",       0,   true, "10 to 1000"},
    {"cpu-period",         0,   true, "microseconds"},
    {"cpu-quota",          0,   true, "microseconds in each period"},
    {"cpu-burst",          0,   true, "microseconds"},
    {"cpu-share",          0,   true, "2 to 262144"},
    {"cpu-shares",         0,   true, "2 to 262144"},
    {"cpu-rt-period",      0,   true, "microseconds"},
    {"cpu-rt-runtime",     0,   true, "microseconds in each real-time period"},
    {"cpu-idle",           0,   true, "0 or 1"},
    {"cpuset-cpus",        0,   true, "processors, as 0-3,5"},
    {"cpuset-mems",        0,   true, "memory nodes"},
    {"memory",             0,   true, "bytes"},
    {"memory-reservation", 0,   true, "bytes"},
    {"memory-swap",        0,   true, "bytes, memory and swap together; -1: no limit"},
    {"kernel-memory",      0,   true, NULL},
    {"kernel-memory-tcp",  0,   true, NULL},
    {"pids-limit",         0,   true, "processes; -1: no limit"},
    {0},
};

static const struct oci_flag events_flags[] = {
    {"stats",    0, false, "print figures once"},
    {"interval", 0, true,  "time between figures (5s)"},
    {0},
};

static const struct oci_flag spec_flags[] = {
    {"bundle",   'b', true,  "directory to write config.json to (default: here)"},
    {"rootless", 0,   false, "for an ordinary user"},
    {0},
};

static const struct oci_flag no_flags[] = {{0}};

const struct oci_command oci_commands[] = {
    {"create",   "ID",              "make a container, up to its first program", create_flags, 1, 1,  oci_create},
    {"start",    "ID",              "run the first program of a created container", no_flags,  1, 1,  oci_start},
    {"run",      "ID",              "create and start",                          run_flags,    1, 1,  oci_run},
    {"state",    "ID",              "print the state",                           no_flags,     1, 1,  oci_state},
    {"kill",     "ID [SIGNAL]",     "send a signal (TERM)",                      kill_flags,   1, 2,  oci_kill},
    {"delete",   "ID",              "remove a stopped container",                delete_flags, 1, 1,  oci_delete},
    {"exec",     "ID [COMMAND...]", "run one more program",                      exec_flags,   1, -1, oci_exec},
    {"pause",    "ID",              "stop every process, keeping memory",        no_flags,     1, 1,  oci_pause},
    {"resume",   "ID",              "let a paused container go on",              no_flags,     1, 1,  oci_resume},
    {"list",     "",                "list containers",                           list_flags,   0, 0,  oci_list},
    {"ps",       "ID",              "list the processes of a container",         ps_flags,     1, -1, oci_ps},
    {"update",   "ID",              "change limits",                             update_flags, 1, 1,  oci_update},
    {"events",   "ID",              "print figures of what a container uses",    events_flags, 1, 1,  oci_events},
    {"features", "",                "print what this runtime can do",            no_flags,     0, 0,  oci_features},
    {"spec",     "",                "write a configuration to begin from",       spec_flags,   0, 0,  oci_spec},
    {0},
};

/* clang-format on */

static void print_flags(const struct oci_flag *flags)
{
    for (; flags->name != NULL; flags++) {
        char left[40];

        if (flags->help == NULL) {
            continue;
        }
        (void)str_print(left, sizeof left, "--%s%s", flags->name,
                        flags->has_value ? " VALUE" : "");
        (void)printf("  %c%c %-27s %s\n", flags->letter != 0 ? '-' : ' ',
                     flags->letter != 0 ? flags->letter : ' ', left, flags->help);
    }
}

void oci_print_help(const struct oci_command *c)
{
    (void)printf("strata oci %s [FLAG...] %s\n  %s\n", c->name, c->usage, c->help);
    print_flags(c->flags);
}

void oci_print_usage(void)
{
    (void)printf("strata oci [FLAG...] COMMAND ...: containers as an OCI runtime\n");
    for (const struct oci_command *c = oci_commands; c->name != NULL; c++) {
        (void)printf("  %-9s %-16s %s\n", c->name, c->usage, c->help);
    }
    print_flags(global_flags);
}

static int choose_root(struct oci *o, const char *given, struct err *e)
{
    const char *own = getenv("XDG_RUNTIME_DIR");

    if (given != NULL) {
        o->root = given;
        return 0;
    }
    if (geteuid() == 0) {
        o->root = "/run/strata/oci";
        return 0;
    }
    if (own == NULL || own[0] != '/') {
        return err_set(e, -EINVAL,
                       "cannot tell where to keep state: XDG_RUNTIME_DIR is not set "
                       "(or give --root)");
    }
    o->root = o->root_room;
    return str_print(o->root_room, sizeof o->root_room, "%s/strata/oci", own);
}

static int read_global(struct oci *o, const struct oci_args *a, struct err *e)
{
    const char *format = oci_arg(a, "log-format");

    o->log_file = oci_arg(a, "log");
    if (o->log_file != NULL && o->log_file[0] == '\0') {
        o->log_file = NULL;
    }
    o->debug = oci_has(a, "debug");
    o->log_json = format != NULL && strcmp(format, "json") == 0;
    oci_log_start(o);
    if (format != NULL && !o->log_json && strcmp(format, "text") != 0) {
        return err_set(e, -EINVAL, "'%s' is no log format: text or json", format);
    }
    return choose_root(o, oci_arg(a, "root"), e);
}

static const struct oci_command *find_command(const char *name, struct err *e)
{
    const char *names[COMMANDS_MOST];
    const char *near;
    size_t n = 0;

    for (const struct oci_command *c = oci_commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
        names[n++] = c->name;
    }
    near = word_nearest(name, names, n);
    (void)err_set(e, -EINVAL, "unknown command '%s'%s%s%s", name,
                  near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                  near != NULL ? "'?" : "");
    return NULL;
}

static bool asks_help(char **argv)
{
    return argv[0] != NULL &&
           (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
}

static int dispatch(struct oci *o, char **argv, struct err *e)
{
    const struct oci_command *c = find_command(argv[0], e);
    struct oci_args a;

    if (c == NULL) {
        return OCI_EXIT_FAILED;
    }
    if (asks_help(argv + 1)) {
        oci_print_help(c);
        return 0;
    }
    if (oci_args_parse(c->flags, argv + 1, c->most < 0 ? 1 : -1, &a, e) < 0) {
        (void)err_wrap(e, "%s", c->name);
        return OCI_EXIT_FAILED;
    }
    if (a.n_rest < c->least || (c->most >= 0 && a.n_rest > c->most)) {
        (void)err_set(e, -EINVAL, "usage: strata oci %s [FLAG...] %s", c->name, c->usage);
        return OCI_EXIT_FAILED;
    }
    return c->run(o, &a, e);
}

int container_oci_main(int argc, char **argv)
{
    struct oci o = {0};
    struct err e = {0};
    struct oci_args a;
    int code = OCI_EXIT_FAILED;

    if (argc < 1) {
        return OCI_EXIT_FAILED;
    }
    oci_log_start(&o);
    if (oci_args_parse(global_flags, argv + 1, 0, &a, &e) == 0) {
        if (oci_has(&a, "version")) {
            (void)fputs(VERSION_TEXT, stdout);
            return 0;
        }
        if (oci_has(&a, "help") || a.n_rest == 0) {
            oci_print_usage();
            return oci_has(&a, "help") ? 0 : OCI_EXIT_FAILED;
        }
        if (read_global(&o, &a, &e) == 0) {
            code = dispatch(&o, a.rest, &e);
        }
    }
    if (e.code != 0) {
        oci_log_failure(&o, &e);
    }
    return code;
}
