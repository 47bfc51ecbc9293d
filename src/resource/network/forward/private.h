/* resource/network/forward/private.h - what the files of this folder share. */
#ifndef RESOURCE_NETWORK_FORWARD_PRIVATE_H
#define RESOURCE_NETWORK_FORWARD_PRIVATE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "resource/network/forward/forward.h"

#define FORWARD_SPARE_PIPES 16

union forward_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/* First member of whatever waits for a descriptor. */
struct watch {
    int fd; /* owned; -1: closed */
    void (*ready)(struct forward *f, struct watch *w, uint32_t events);
};

struct listener {
    struct watch watch;
    struct listener *next;
    uint8_t version;
    bool udp;
    uint16_t to_port;
};

struct forward_pipe {
    int ends[2];
};

struct connection;
struct flow;

#define FLOW_BUCKETS 256

struct forward {
    int epoll; /* owned */
    struct network_ip to[2];
    int idle_ms;
    unsigned clients_most;
    struct listener *listeners; /* owned */

    /* tcp.c */
    struct connection *connections; /* owned */
    struct connection *dead;        /* closed in this turn, freed at its end */
    unsigned n_connections;
    unsigned n_unfinished; /* have more to carry without a new event */
    struct forward_pipe spare[FORWARD_SPARE_PIPES];
    unsigned n_spare;

    /* udp.c */
    struct flow *buckets[FLOW_BUCKETS];
    struct flow *oldest; /* in the order of their last packet */
    struct flow *newest;
    struct flow *dead_flows;
    unsigned n_flows;
    uint8_t *packet; /* owned; one datagram */
};

int forward_watch(struct forward *f, struct watch *w, uint32_t events);
int64_t forward_now_ms(void);

/* The socket address; its length. */
socklen_t forward_fill(union forward_address *a, const struct network_ip *ip,
                       uint16_t port);

/* The guest's address number `which` (0, 1) for clients of a family; version 0: none. */
const struct network_ip *forward_target(const struct forward *f, uint8_t version,
                                        unsigned which);

/* A socket that connects to the guest; a descriptor or -errno (never -EINPROGRESS). */
int forward_connect(const struct network_ip *to, uint16_t port, int type);

/* tcp.c */
void tcp_accept(struct forward *f, struct watch *w, uint32_t events);
void tcp_go_on(struct forward *f); /* those with more to carry */
void tcp_free_dead(struct forward *f);
void tcp_close_all(struct forward *f);

/* udp.c */
int udp_prepare(const struct listener *l);
void udp_receive(struct forward *f, struct watch *w, uint32_t events);
void udp_expire(struct forward *f, int64_t now);       /* the silent ones go */
int udp_next_ms(const struct forward *f, int64_t now); /* until one expires; -1: none */
void udp_free_dead(struct forward *f);
void udp_close_all(struct forward *f);

#endif
