/* scsi.h - logical units: what a SCSI command does, without how it came.
 *
 * Numbers and layouts: SPC-4 (T10/1731-D revision 37), SBC-3 (T10/BSR INCITS 514
 * revision 36), SAM-5. */
#ifndef RESOURCE_STORAGE_ISCSI_SCSI_H
#define RESOURCE_STORAGE_ISCSI_SCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strand.h"
#include "contract/blk.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/iscsi/scsi_numbers.h"

#define SCSI_CDB_BYTES                  16
#define SCSI_SENSE_BYTES                18
#define SCSI_TRANSFER_MOST              (32u * 1024 * 1024) /* bytes of one command */
#define SCSI_CONTROL_BYTES              (24u * 1024) /* room of answers that are not data */
#define SCSI_REGISTRATIONS              64           /* per unit */
#define SCSI_PORT_BYTES                 256 /* of an initiator port's name, with NUL */
#define SCSI_CAW_MOST                   255 /* blocks of COMPARE AND WRITE */
#define SCSI_UNMAP_MOST                 256 /* descriptors of UNMAP */
#define SCSI_SAME_MOST                  ((uint32_t)1 << 20) /* blocks of WRITE SAME and of UNMAP */
#define SCSI_GRANULE_BYTES              4096 /* what a host's file system gives back */
#define SCSI_ALL_REGISTRANTS_HOLD(type) ((type) >= 7)

struct scsi_command;

struct scsi_registration {
    struct scsi_registration *next;
    uint64_t key;
    uint16_t port; /* relative target port */
    char name[SCSI_PORT_BYTES];
};

/* One initiator port at one unit, as long as its session. */
struct scsi_nexus {
    struct scsi_nexus *next; /* of the unit */
    struct scsi_unit *unit;
    const char *name;    /* of the initiator port: name, ",i,0x", ISID */
    uint16_t port;       /* relative target port, from 1 */
    unsigned attentions; /* bits by enum scsi_attention */
    bool prevents;       /* medium removal */
    void *owner;         /* of whoever carries commands */
};

struct scsi_unit {
    struct scsi_unit *next; /* of the target, by number */
    struct loop *loop;
    struct blk_edge edge;
    uint16_t lun;
    uint8_t shift; /* block size is 1 << shift */
    bool read_only;
    bool protect; /* control mode page, SWP */
    bool stopped;
    uint16_t ports;      /* how many target ports lead here */
    char *serial;        /* owned */
    uint8_t id[8];       /* NAA, locally assigned */
    uint64_t told_bytes; /* size that initiators know */
    struct iscsi_keep keep;
    char **initiators; /* owned, ends with NULL; NULL: anybody */

    struct scsi_nexus *nexuses;
    struct scsi_nexus *reserved; /* RESERVE(6) */

    struct scsi_registration *registrations;
    unsigned registration_count;
    uint32_t generation;
    uint8_t type;                     /* of the reservation; 0: none */
    bool persists;                    /* APTPL */
    struct scsi_registration *holder; /* of a type with one */

    struct blk_queue queue;
    struct loop_task reap_task;
    unsigned writes;         /* commands in work that change data */
    unsigned strands;        /* commands in strands */
    bool exclusive;          /* one that reads and writes as one is in work */
    struct strand_lock lock; /* of those */
    struct strand_queue no_writes;
    struct strand_queue not_exclusive;
    struct strand_queue idle;
};

struct scsi_row {
    uint8_t opcode;
    int8_t action;     /* service action; -1: the opcode has none */
    uint8_t shape;     /* enum scsi_shape */
    uint8_t access;    /* enum scsi_access */
    uint8_t length_at; /* of allocation or parameter list length in the CDB */
    uint8_t length_bytes;
    bool changes; /* data or the unit: not on read-only units */
    bool strand;  /* `run` may wait */
    void (*run)(struct scsi_command *c);
    uint8_t usage[SCSI_CDB_BYTES]; /* bits of the CDB that are looked at; [0] opcode */
};

struct scsi_command {
    struct blk_request blk; /* first */
    const struct scsi_row *row;
    struct scsi_unit *unit; /* NULL: there is none of that number */
    struct scsi_nexus *nexus;
    void (*done)(struct scsi_command *c); /* once; status and sense are set */
    struct iovec piece;
    uint8_t cdb[SCSI_CDB_BYTES];
    uint64_t lba;
    uint32_t blocks;
    uint32_t wanted; /* bytes that the CDB says */
    bool out;        /* they come from the initiator */
    bool writing;    /* counted in the unit's `writes` */
    uint8_t *data;   /* out: what came; in: room for the answer */
    size_t room;
    size_t announced; /* out: the initiator said it sends so many */
    size_t out_bytes; /* came */
    size_t in_bytes;  /* of the answer */
    uint8_t status;   /* enum scsi_status */
    uint8_t sense_bytes;
    uint8_t sense[SCSI_SENSE_BYTES];
    const struct scsi_view *view; /* units that the initiator may see */
};

/* The units of one initiator, for REPORT LUNS. */
struct scsi_view {
    struct scsi_nexus *nexus; /* array */
    unsigned count;
};

/* Look at the CDB: fills in row, lba, blocks, wanted, out.  False: the command is
 * over with the status that is set; its data, if any comes, does not count. */
bool scsi_prepare(struct scsi_command *c);

/* Bytes of `data` that it needs. */
size_t scsi_room(const struct scsi_command *c);

/* Do it, data being there; `done` is called, perhaps before this returns. */
void scsi_run(struct scsi_command *c);

void scsi_good(struct scsi_command *c);
void scsi_fail(struct scsi_command *c, enum scsi_key key, enum scsi_sense asc);

/* ILLEGAL REQUEST that points at a byte of the CDB. */
void scsi_fail_field(struct scsi_command *c, unsigned byte);

/* The information field: an LBA, an offset. */
void scsi_sense_information(struct scsi_command *c, uint32_t value);

/* An answer of `bytes` was written to data; cut to the allocation length. */
void scsi_answer(struct scsi_command *c, size_t bytes);

/* By the result of a disk. */
void scsi_finish(struct scsi_command *c, int result);

/* What the disk has finished is done. */
void scsi_unit_reap(struct scsi_unit *u);

/* Units. */
int scsi_unit_create(struct loop *l, const struct iscsi_unit_options *o,
                     const char *target, struct scsi_unit **ret_unit, struct err *e);
void scsi_unit_free(struct scsi_unit *u); /* in a strand */
bool scsi_unit_lets(const struct scsi_unit *u, const char *initiator);
void scsi_unit_reset(struct scsi_unit *u);
void scsi_nexus_enter(struct scsi_nexus *n, struct scsi_unit *u);
void scsi_nexus_leave(struct scsi_nexus *n);

/* Tell all initiators of a unit but `except`. */
void scsi_attention(struct scsi_unit *u, enum scsi_attention what,
                    const struct scsi_nexus *except);
enum scsi_sense scsi_attention_sense(enum scsi_attention what);

/* Whether a reservation is in the way. */
bool scsi_conflicts(const struct scsi_command *c);

/* Registrations as bytes that `keep` has stored. */
int scsi_reservations_load(struct scsi_unit *u, const void *bytes, size_t count);
void scsi_reservations_free(struct scsi_unit *u);

extern const struct scsi_row scsi_rows[];
extern const unsigned scsi_row_count;

/* Answers of the rows. */
void scsi_inquiry(struct scsi_command *c);
void scsi_mode_sense6(struct scsi_command *c);
void scsi_mode_sense10(struct scsi_command *c);
void scsi_mode_select6(struct scsi_command *c);
void scsi_mode_select10(struct scsi_command *c);
void scsi_report_luns(struct scsi_command *c);
void scsi_report_opcodes(struct scsi_command *c);
void scsi_report_port_groups(struct scsi_command *c);
void scsi_request_sense(struct scsi_command *c);
void scsi_read_capacity10(struct scsi_command *c);
void scsi_read_capacity16(struct scsi_command *c);
void scsi_start_stop(struct scsi_command *c);
void scsi_prevent_allow(struct scsi_command *c);
void scsi_reserve6(struct scsi_command *c);
void scsi_release6(struct scsi_command *c);
void scsi_persistent_in(struct scsi_command *c);
void scsi_persistent_out(struct scsi_command *c);
void scsi_read(struct scsi_command *c);
void scsi_write(struct scsi_command *c);
void scsi_verify(struct scsi_command *c);
void scsi_write_verify(struct scsi_command *c);
void scsi_synchronize(struct scsi_command *c);
void scsi_unmap(struct scsi_command *c);
void scsi_write_same(struct scsi_command *c);
void scsi_compare_and_write(struct scsi_command *c);
void scsi_or_write(struct scsi_command *c);
void scsi_lba_status(struct scsi_command *c);

#endif
