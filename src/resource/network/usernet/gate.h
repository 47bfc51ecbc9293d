/* resource/network/usernet/gate.h - keeps the guest off the host's loopback. */
#ifndef RESOURCE_NETWORK_USERNET_GATE_H
#define RESOURCE_NETWORK_USERNET_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_FLOWS 4096 /* a newer flow may push an older one out */

/* A UDP port of the guest, and the port of the host's loopback that spoke to it. */
struct gate_flow {
    uint16_t guest;
    uint16_t peer;
    bool six;
};

/* Starts zeroed. */
struct gate {
    bool lets_dhcp; /* libslirp answers such requests itself */
    struct gate_flow flows[GATE_FLOWS];
};

/* libslirp shows a UDP client on ::1 as ::1, which no guest can answer; TCP's and
 * IPv4's appear as the gateway.  Whether this is such a frame, and make it so. */
bool gate_is_from_loopback6(const void *frame, size_t len);
void gate_hide_loopback6(void *frame);

/* A whole Ethernet frame goes to the guest: remember who spoke. */
void gate_note(struct gate *f, const void *frame, size_t len);

/* Whether a whole Ethernet frame of the guest may go on. */
bool gate_allows(struct gate *f, const void *frame, size_t len);

#endif
