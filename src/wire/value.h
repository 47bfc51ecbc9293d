/* value.h - values that are more than a word; part of the face `wire/wire.h`. */
#ifndef WIRE_VALUE_H
#define WIRE_VALUE_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define WIRE_IP_BYTES   46   /* INET6_ADDRSTRLEN */
#define WIRE_PATH_BYTES 1024 /* of a volume's source or target, with the NUL */

/* "[IP:][HOST:]GUEST[/tcp|/udp]", ports or ranges "8000-8010" of equal length. */
struct wire_publish {
    char host_ip[WIRE_IP_BYTES]; /* "": every address of the host */
    uint16_t host_port;          /* the first of `n_ports`; 0: any free one */
    uint16_t guest_port;
    uint16_t n_ports;
    bool udp;
};

int wire_parse_publish(const char *text, struct wire_publish *ret, struct err *e);

/* "SOURCE:/PATH[:ro|:rw]": a volume's name, or an absolute or "./" path. */
struct wire_volume {
    char source[WIRE_PATH_BYTES];
    char target[WIRE_PATH_BYTES]; /* absolute, inside the guest; "": a disk of its own */
    bool source_is_path;
    bool read_only;
};

int wire_parse_volume(const char *text, struct wire_volume *ret, struct err *e);

enum wire_restart_when {
    WIRE_RESTART_NO,
    WIRE_RESTART_ON_FAILURE,
    WIRE_RESTART_ALWAYS,
    WIRE_RESTART_UNLESS_STOPPED,
    WIRE_RESTART_COUNT
};

struct wire_restart {
    enum wire_restart_when when;
    uint32_t most; /* restarts in a row for WIRE_RESTART_ON_FAILURE; 0: no limit */
};

int wire_parse_restart(const char *text, struct wire_restart *ret, struct err *e);

#endif
