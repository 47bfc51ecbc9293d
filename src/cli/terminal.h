/* terminal.h - this terminal joined to a guest.
 *
 * Two ways in: the socket of a keeper (packets, see node/keeper/keeper.h), and
 * the master of a terminal that `exec` made (plain bytes). */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

struct err;

#define TERMINAL_KEYS_MOST 8    /* keys of a detach sequence */
#define TERMINAL_DETACHED  (-1) /* instead of an exit code */

struct terminal {
    int in, out, err; /* descriptors, borrowed */
    bool raw;         /* the guest has a terminal: pass keys unread */
    bool input;       /* pass input on */
    unsigned char keys[TERMINAL_KEYS_MOST];   /* detach sequence */
    size_t n_keys;                            /* 0: none */
    void (*on_signal)(void *arg, int signal); /* INT, TERM, HUP, QUIT; NULL: obey */
    void *arg;
};

/* "ctrl-p,ctrl-q" or "ctrl-x" or "a,b" into keys; "" is none. */
int terminal_parse_keys(const char *text, struct terminal *t, struct err *e);

/* Copy between the terminal and a keeper until the guest ends or the detach keys
 * are typed.  *ret_code is the guest's exit code or TERMINAL_DETACHED. */
int terminal_join_keeper(const struct terminal *t, int socket, int *ret_code,
                         struct err *e);

/* Copy between the terminal and `master` until the program of `pidfd` has ended. */
int terminal_join_pty(const struct terminal *t, int master, int pidfd, struct err *e);

#endif
