/* resource/network/usernet/usernet.h - the parts of the program `usernet`. */
#ifndef RESOURCE_NETWORK_USERNET_USERNET_H
#define RESOURCE_NETWORK_USERNET_USERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "resource/network/network.h"

#define USERNET_MTU 65520 /* libslirp's largest is 65521 */

/* The addresses that libslirp's users know; README.md lists them. */
#define USERNET_GUEST4   "10.0.2.100"
#define USERNET_GATEWAY4 "10.0.2.2"
#define USERNET_DNS4     "10.0.2.3"
#define USERNET_GUEST6   "fd00::100"
#define USERNET_GATEWAY6 "fd00::2"
#define USERNET_DNS6     "fd00::3"

struct usernet_options {
    pid_t pid;  /* whose namespaces are the guest's; 0: descriptors are given */
    int userns; /* descriptor; -1: the caller's own */
    int netns;  /* descriptor */
    int frames; /* a socket whose messages are the guest's frames; -1: an interface is made */
    int holder; /* pidfd of the process whose end is ours; -1: none */
    int ready;  /* where to say '1', or what went wrong; -1: nowhere */
    char ifname[NETWORK_LINK_BYTES];
    struct network_publish *publishes; /* owned */
    size_t n_publishes;
    bool no_ipv6;
    bool packet; /* no tap device: a pair of interfaces and a packet socket */
};

/* Make the guest's interface in its namespace, by a child that goes there; the
 * descriptor moves whole Ethernet frames. */
int usernet_enter(const struct usernet_options *o, int *ret_fd, struct err *e);

/* The same interface without a tap device; runs in the child. */
int usernet_packet(const struct usernet_options *o, int *ret_fd, struct err *e);

/* Make sure that a descriptor handed in is a socket of frames, and that it never blocks. */
int usernet_use_socket(int fd, struct err *e);

/* The user-mode stack between the descriptor and this process's own network. */
struct usernet_stack;
int usernet_stack_create(int fd, const struct usernet_options *o,
                         struct usernet_stack **ret, struct err *e);
void usernet_stack_destroy(struct usernet_stack *s);

/* Carry packets until the holder ends, or the other end of a socket of frames is closed.
 * 0, or -errno. */
int usernet_stack_run(struct usernet_stack *s, int holder);

/* Give up what the stack does not need: privileges, files, system calls.  A host
 * without the means is no failure. */
int usernet_confine(struct err *e);

#endif
