/* private.h - what the files of the iSCSI server share. */
#ifndef RESOURCE_STORAGE_ISCSI_PRIVATE_H
#define RESOURCE_STORAGE_ISCSI_PRIVATE_H

#include "resource/storage/iscsi/pdu.h"
#include "resource/storage/iscsi/protocol.h"
#include "resource/storage/iscsi/scsi.h"

#define ISCSI_IN_BYTES     (128u * 1024)       /* of a connection's input buffer */
#define ISCSI_SEGMENT_MOST 262144u             /* MaxRecvDataSegmentLength, ours */
#define ISCSI_TEXT_MOST    8192u               /* bytes of a login's or text's segment */
#define ISCSI_BURST_MOST   1048576u            /* MaxBurstLength, ours */
#define ISCSI_FIRST_MOST   262144u             /* FirstBurstLength, ours */
#define ISCSI_WINDOW       128u                /* commands that may be in work */
#define ISCSI_FLIGHT_MOST  512u                /* those and answers under way */
#define ISCSI_OUT_MOST     (16u * 1024 * 1024) /* bytes of answers that are no data */
#define ISCSI_HELD_MOST    (64u * 1024 * 1024) /* bytes of buffers per session */
#define ISCSI_NAME_BYTES   224                 /* RFC 7143 4.2.7.1, with NUL */
#define ISCSI_PORTALS_MOST 8

struct target {
    struct target *next;
    char *name;  /* owned, like the other texts */
    char *alias; /* may be NULL */
    char *user;  /* NULL: no CHAP */
    char *secret;
    char *own_user;
    char *own_secret;
    struct scsi_unit *units;
    unsigned unit_count;
};

/* What a login settles; RFC 7143 section 13. */
struct settings {
    uint32_t segment; /* MaxRecvDataSegmentLength of the initiator */
    uint32_t burst;
    uint32_t first_burst;
    bool initial_r2t;
    bool immediate_data;
    bool header_digest;
    bool data_digest;
};

enum phase {
    PHASE_LOGIN, /* a strand reads */
    PHASE_FULL,
    PHASE_ENDING /* nothing is read any more; answers go out */
};

struct connection {
    struct iscsi_server *server;
    struct connection *next;
    int fd;
    enum phase phase;
    uint16_t port;         /* portal group tag and relative target port */
    struct target *target; /* NULL: discovery */
    bool discovery;
    uint8_t isid[6];
    uint16_t tsih;
    uint16_t cid;
    char initiator[ISCSI_NAME_BYTES];
    char port_name[SCSI_PORT_BYTES];
    struct settings settings;
    struct scsi_view view; /* nexus: owned array */

    struct loop_watch watch;
    struct loop_poller poller;
    struct loop_task send_task;
    struct loop_task end_task;
    uint64_t last_ns; /* when something came in */

    uint8_t *in; /* owned, ISCSI_IN_BYTES */
    size_t in_at;
    size_t in_end;
    bool big; /* data is: read exactly what belongs to it */
    struct incoming incoming;

    uint32_t command_sn; /* ExpCmdSN */
    uint32_t stat_sn;
    uint32_t next_tag;

    struct command *live; /* not answered */
    unsigned live_count;  /* of those that fill the window */
    unsigned flight;      /* commands that are not free */
    unsigned tasks;       /* that wait */
    struct command *free;
    struct command *waiting_first;
    struct command *waiting_last;
    size_t held;

    struct pdu *out_first;
    struct pdu *out_last;
    size_t out_sent;  /* bytes of the first one that have gone */
    size_t out_extra; /* bytes of PDUs that are no command's */
    unsigned out_pdus;
    bool out_blocked;
    bool broken;
    bool ended;
    bool leaving; /* a logout was answered */
    struct strand *login;
    struct strand_queue gone;

    char *text; /* owned; the rest of a long answer */
    size_t text_bytes;
    size_t text_at;
};

struct listener {
    struct loop_watch watch; /* first */
    struct iscsi_server *server;
    char *address; /* owned */
    uint16_t port;
};

struct iscsi_server {
    struct loop *loop;
    struct iscsi_server_options options;
    struct target *targets;
    struct connection *connections;
    struct listener listen[ISCSI_PORTALS_MOST];
    unsigned listen_count;
    uint16_t last_tsih;
    struct iscsi_counts counts;
    bool ending;
    struct strand_queue all_gone;
};

/* server.c */
struct target *iscsi_target_find(const struct iscsi_server *s, const char *name);
bool iscsi_target_lets(const struct target *t, const char *initiator);
void iscsi_connection_end(struct connection *c);
void iscsi_connection_maybe_free(struct connection *c);

/* The session of the same initiator port and target port ends, its commands too. In a
 * strand. */
void iscsi_reinstate(struct connection *c);

/* Units that the initiator may see. */
int iscsi_enter_units(struct connection *c);

/* login.c: 0, or why the connection ends.  In a strand. */
int iscsi_login(struct connection *c);

/* transmit.c */
int iscsi_transmit_begin(struct connection *c);
bool iscsi_transmit_take(struct connection *c);

/* What came whole and is no command or its data; -errno: the connection ends. */
int iscsi_other(struct connection *c);

/* command.c: a head came; where its data goes is written to `incoming`.  -errno: the
 * connection ends. */
int iscsi_command_begin(struct connection *c);
int iscsi_data_begin(struct connection *c);

/* The data has come. */
int iscsi_command_came(struct connection *c);
int iscsi_data_came(struct connection *c);
void iscsi_command_put(struct command *m);

/* Without an answer; a command that runs counts in `t` until it is over. */
void iscsi_command_abort(struct command *m, struct task *t);
void iscsi_commands_resume(struct connection *c);
struct scsi_nexus *iscsi_nexus(const struct connection *c, const uint8_t lun[8]);
void iscsi_reap(struct connection *c);

/* task.c */
int iscsi_task(struct connection *c);
void iscsi_task_done(struct task *t);

/* reply.c: a PDU of its own, with room for data behind it; NULL: no memory. */
struct pdu *iscsi_pdu(size_t data_bytes, uint8_t **ret_data);

/* Queue it; ExpCmdSN and MaxCmdSN are written, StatSN with `counts` as a new one. */
void iscsi_send(struct connection *c, struct pdu *p, bool counts);
void iscsi_answer(struct command *m);
void iscsi_ask_data(struct command *m);
void iscsi_reply_send(struct connection *c);
void iscsi_reply_drop(struct connection *c);
int iscsi_refuse(struct connection *c, enum iscsi_reject why);

/* text.c: the next KEY=VALUE of a segment; NULL: no more.  The segment ends with a NUL. */
char *iscsi_text_next(char **at, char *end, char **ret_value);

/* Lines of an answer; what does not fit sets `full`. */
struct text {
    char *at;
    size_t bytes;
    size_t room;
    bool full;
};

void iscsi_text_put(struct text *t, const char *key, const char *value);
void iscsi_text_put_number(struct text *t, const char *key, uint32_t value);

/* Settle one key of the operational stage; false: the key is not known there. */
bool iscsi_settle(struct settings *s, const char *key, const char *value, struct text *t);
char *iscsi_send_targets(const struct connection *c, const char *which,
                         size_t *ret_bytes);

/* chap.c */
#define CHAP_SUM_MOST       32
#define CHAP_CHALLENGE_MOST 1024

struct chap {
    unsigned algorithm; /* 0: not chosen */
    uint8_t id;
    uint8_t challenge[CHAP_SUM_MOST];
    bool proved;
};

/* The keys of one step; 0, or the status of a refusal. */
struct chap_keys {
    const char *algorithms;
    const char *name;
    const char *response;
    const char *id;
    const char *challenge;
};

unsigned iscsi_chap_step(struct chap *h, const struct target *x,
                         const struct chap_keys *k, struct text *t);

#endif
