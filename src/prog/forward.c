/* forward - ports of this host carried to a guest by an ordinary process.
 *
 *     forward --to=ADDRESS... --publish=ADDRESS:HOST:GUEST[/udp]... [--try=...]...
 *             [--holder-fd=FD] [--ready-fd=FD] [--idle=SECONDS] [--for=NAME]
 *
 * For what the kernel's rules cannot do: [::1], and hosts without nf_tables.  --try
 * is --publish where a host that lacks the address does without.  Says '1' on the
 * descriptor once it listens, or why not; ends when the process of the pidfd does. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "host/file.h"
#include "resource/network/forward/forward.h"

struct words {
    struct forward_options o;
    int holder;
    int ready;
};

/* The value of "--name=value", or NULL when `arg` is another option. */
static const char *value_of(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static int add_rule(struct forward_options *o, const char *text, bool optional,
                    struct err *e)
{
    struct forward_rule rule = {.optional = optional};
    int r = network_publish_parse(text, &rule.from, e);
    if (r < 0) {
        return r;
    }
    if (rule.from.host.version == 0) {
        return err_set(e, -EINVAL, "'%s' names no address", text);
    }
    struct forward_rule *more = realloc(o->rules, (o->n_rules + 1) * sizeof *more);
    if (more == NULL) {
        return err_set(e, -ENOMEM, "no memory");
    }
    o->rules = more;
    more[o->n_rules++] = rule;
    return 0;
}

static int add_target(struct forward_options *o, const char *text, struct err *e)
{
    struct network_ip *ip = o->to[0].version == 0 ? &o->to[0] : &o->to[1];
    if (ip->version != 0 || network_ip_parse(text, ip) < 0) {
        return err_set(e, -EINVAL, "'%s' is not an address, or the third", text);
    }
    return 0;
}

static int parse_number(const char *arg, const char *text, int *ret, struct err *e)
{
    char *end = NULL;
    long n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < 0 || n > 1000000) {
        return err_set(e, -EINVAL, "'%s' is not a number", arg);
    }
    *ret = (int)n;
    return 0;
}

static int parse_one(struct words *w, const char *arg, struct err *e)
{
    const char *value;
    if ((value = value_of(arg, "--publish")) != NULL) {
        return add_rule(&w->o, value, false, e);
    }
    if ((value = value_of(arg, "--try")) != NULL) {
        return add_rule(&w->o, value, true, e);
    }
    if ((value = value_of(arg, "--to")) != NULL) {
        return add_target(&w->o, value, e);
    }
    if ((value = value_of(arg, "--holder-fd")) != NULL) {
        return parse_number(arg, value, &w->holder, e);
    }
    if ((value = value_of(arg, "--ready-fd")) != NULL) {
        return parse_number(arg, value, &w->ready, e);
    }
    if ((value = value_of(arg, "--idle")) != NULL) {
        int r = parse_number(arg, value, &w->o.idle_ms, e);
        w->o.idle_ms *= 1000;
        return r;
    }
    if (value_of(arg, "--for") != NULL) {
        return 0; /* for whoever lists processes */
    }
    return err_set(e, -EINVAL, "unknown option '%s'", arg);
}

static void say(int to, const char *text)
{
    if (to >= 0) {
        (void)file_write_all(to, text, strlen(text));
        (void)close(to);
    }
}

int main(int argc, char **argv)
{
    struct words w = {.holder = -1, .ready = -1};
    struct forward *f = NULL;
    struct err e = {0};
    int r = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc && r == 0; i++) {
        r = parse_one(&w, argv[i], &e);
    }
    if (r == 0 && (w.o.n_rules == 0 || w.o.to[0].version == 0)) {
        r = err_set(&e, -EINVAL, "--to and --publish are needed");
    }
    if (r == 0) {
        r = forward_create(&w.o, &f, &e);
    }
    if (r == 0) {
        r = forward_confine(&w.o, &e);
    }
    say(w.ready, r == 0 ? "1" : e.text);
    if (r < 0 && w.ready < 0) {
        (void)fprintf(stderr, "forward: %s\n", e.text);
    }
    if (r == 0) {
        r = forward_run(f, w.holder);
    }
    forward_destroy(f);
    free(w.o.rules);
    _exit(r < 0); /* what runs at exit wants more than is allowed here */
}
