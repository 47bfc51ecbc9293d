/* pdu.h - PDUs and commands between the socket and the SCSI layer. */
#ifndef RESOURCE_STORAGE_ISCSI_PDU_H
#define RESOURCE_STORAGE_ISCSI_PDU_H

#include "resource/storage/iscsi/protocol.h"
#include "resource/storage/iscsi/scsi.h"

struct connection;
struct command;

/* A PDU on its way out. */
struct pdu {
    struct pdu *next;
    struct command *command; /* whose it is; NULL: allocated alone */
    const uint8_t *data;
    size_t data_bytes;
    unsigned head_bytes; /* with digest */
    unsigned tail_bytes; /* padding and digest */
    uint8_t head[ISCSI_HEAD_BYTES + 4];
    uint8_t tail[8];
};

/* Task management that waits for commands. */
struct task {
    struct connection *c;
    uint32_t tag;
    unsigned waits; /* for so many commands, and one while they are counted */
    uint8_t answer;
};

enum state {
    STATE_RECEIVING, /* data that was not asked for */
    STATE_WAITING,   /* for memory */
    STATE_SOLICITED, /* data that was asked for */
    STATE_RUNNING,
    STATE_ANSWERED
};

struct command {
    struct scsi_command scsi; /* first */
    struct connection *c;
    struct command *next; /* free, or waiting for memory */
    struct command *live_next;
    struct command **live_at;
    struct task *aborted; /* not NULL: no answer; this task waits */
    enum state state;
    bool immediate;
    bool over; /* failed before its data came */
    uint8_t flags;
    uint8_t lun[8];
    uint32_t tag;
    uint32_t announced; /* expected data transfer length */
    uint32_t total;     /* bytes of data that are wanted and come */
    uint32_t got;       /* came, kept or not */
    uint32_t burst_end;
    uint32_t transfer_tag;
    uint32_t data_sn; /* of the next data PDU, in or out */
    uint32_t r2t_sn;
    uint32_t stat_sn;
    uint32_t residual;
    uint32_t in_total; /* bytes of Data-In */
    uint32_t in_sent;  /* of them in PDUs that were built */
    uint32_t burst_left;
    size_t held;
    struct pdu pdu;
    uint8_t sense[2 + SCSI_SENSE_BYTES];
};

/* A PDU on its way in. */
struct incoming {
    bool active;
    bool ignored; /* nothing is done with it */
    uint8_t head[ISCSI_HEAD_BYTES];
    uint8_t *to;  /* where its data goes; NULL: nowhere */
    uint8_t *own; /* owned: data of PDUs that are no command's */
    struct command *command;
    uint32_t bytes; /* of its data */
    uint32_t keep;  /* so many of them, the first, go to `to` */
    uint32_t got;
    unsigned tail; /* padding and digest */
    unsigned tail_got;
    uint8_t tail_bytes[8];
};

#endif
