/* message.h - what a machine's worker and those who ask it say to each other.
 *
 * One packet of a SOCK_SEQPACKET each: a head of twelve bytes, numbers little-endian, and a
 * JSON object or nothing.  A request is answered by packets with its serial number, the last
 * of which is DONE or ERROR. */
#ifndef VIRT_MONITOR_REMOTE_MESSAGE_H
#define VIRT_MONITOR_REMOTE_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

struct err;

#define FAR_VERSION    1
#define FAR_HEAD_BYTES 12
#define FAR_MOST_BYTES 65536 /* of a packet */

/* Slots of PCI for what comes: those of virt/monitor/slots.h. */
#define FAR_SLOT_FIRST 24u
#define FAR_SLOTS      6u

enum far_verb {
    FAR_HELLO, /* which version, which words */
    FAR_STATE, /* runs, paused */
    FAR_STATS, /* engine and why, exits by cause, instructions by who executed them */
    FAR_PAUSE,
    FAR_RESUME,
    FAR_POWER, /* press the power button */
    FAR_RESET,
    FAR_END, /* end the worker now */
    FAR_SAVE, /* the machine into two files that come along: {"ends": true} it is not to go on */
    FAR_MARK, /* remember it as it is, its disks too; memory in a file that comes along */
    FAR_REWIND, /* back to that, also after a crash */
    FAR_DUMP,   /* memory and registers into a file that comes along */
    FAR_GDB, /* a debugger by the socket that comes along; {"listens": true} by its clients; no more */
    FAR_LOOK, /* {"what": registers, address, memory, "cpu": N ...}: node/machine/look.c */
    FAR_TRACE, /* exits by time: {"begin": most}, {"from": number}, {"end": true} */
    FAR_RESIZE, /* {"memory": bytes} of what it was made with, the rest is to be given back;
                   {"cpus": n} of those that there is room for */
    FAR_ATTACH, /* {"disk": word}: node/machine/drives.h, or {"card": words}: peripherals.h, with '@'
                   for the number of its descriptor, which comes along */
    FAR_DETACH, /* {"slot": number, "how": ask, look, keep}: {"there": ...} */
    FAR_CABLE, /* its cards are linked to their networks, which they are not from the start */
    FAR_SCREEN, /* what it shows, into a file that comes along; {"keys": [...]} are typed */
    FAR_VERB_COUNT
};

enum far_kind {
    FAR_DONE,
    FAR_ERROR, /* {"code": errno, "text": ...} */
    FAR_KIND_COUNT
};

struct far_head {
    uint32_t size; /* of the whole packet */
    uint16_t version;
    uint16_t word; /* a request: `enum far_verb`; an answer: `enum far_kind` */
    uint32_t serial;
};

void far_head_write(const struct far_head *h, uint8_t bytes[FAR_HEAD_BYTES]);

/* Read the head of a packet of `n` bytes whose word is below `words`; -EBADMSG says what is
 * wrong with it. */
int far_head_read(const uint8_t *bytes, size_t n, unsigned words, struct far_head *ret,
                  struct err *e);

const char *far_verb_name(unsigned verb); /* "hello"; NULL: there is none */

#endif
