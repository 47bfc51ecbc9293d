/* scsi_numbers.h - status, sense, attentions and shapes of commands, SPC-4 and SAM-5. */
#ifndef RESOURCE_STORAGE_ISCSI_SCSI_NUMBERS_H
#define RESOURCE_STORAGE_ISCSI_SCSI_NUMBERS_H

enum scsi_status {
    SCSI_GOOD = 0,
    SCSI_CHECK_CONDITION = 2,
    SCSI_BUSY = 8,
    SCSI_RESERVATION_CONFLICT = 0x18,
    SCSI_TASK_SET_FULL = 0x28
};

enum scsi_key {
    SCSI_NO_SENSE = 0,
    SCSI_NOT_READY = 2,
    SCSI_MEDIUM_ERROR = 3,
    SCSI_HARDWARE_ERROR = 4,
    SCSI_ILLEGAL_REQUEST = 5,
    SCSI_UNIT_ATTENTION = 6,
    SCSI_DATA_PROTECT = 7,
    SCSI_ABORTED_COMMAND = 0xb,
    SCSI_MISCOMPARE = 0xe
};

/* Additional sense code and its qualifier in one number. */
enum scsi_sense {
    SCSI_ASC_NONE = 0,
    SCSI_ASC_STOPPED = 0x0402,
    SCSI_ASC_WRITE_ERROR = 0x0c00,
    SCSI_ASC_UNEXPECTED_DATA = 0x0c0c,
    SCSI_ASC_READ_ERROR = 0x1100,
    SCSI_ASC_PARAMETER_LENGTH = 0x1a00,
    SCSI_ASC_MISCOMPARE = 0x1d00,
    SCSI_ASC_BAD_OPCODE = 0x2000,
    SCSI_ASC_BAD_LBA = 0x2100,
    SCSI_ASC_BAD_FIELD = 0x2400,
    SCSI_ASC_NO_UNIT = 0x2500,
    SCSI_ASC_BAD_PARAMETER = 0x2600,
    SCSI_ASC_BAD_RELEASE = 0x2604,
    SCSI_ASC_WRITE_PROTECTED = 0x2700,
    SCSI_ASC_SPACE = 0x2707,
    SCSI_ASC_POWER_ON = 0x2900,
    SCSI_ASC_RESET = 0x2903,
    SCSI_ASC_MODE_CHANGED = 0x2a01,
    SCSI_ASC_RESERVATIONS_PREEMPTED = 0x2a03,
    SCSI_ASC_RESERVATIONS_RELEASED = 0x2a04,
    SCSI_ASC_REGISTRATIONS_PREEMPTED = 0x2a05,
    SCSI_ASC_CAPACITY_CHANGED = 0x2a09,
    SCSI_ASC_COMMANDS_CLEARED = 0x2f00,
    SCSI_ASC_NOT_SAVED = 0x3900,
    SCSI_ASC_INTERNAL = 0x4400,
    SCSI_ASC_PROTOCOL_CRC = 0x4705,
    SCSI_ASC_NO_ROOM = 0x5504 /* insufficient registration resources */
};

/* Unit attentions that wait, in the order in which they are told. */
enum scsi_attention {
    SCSI_UA_POWER_ON,
    SCSI_UA_RESET,
    SCSI_UA_COMMANDS_CLEARED,
    SCSI_UA_MODE_CHANGED,
    SCSI_UA_RESERVATIONS_PREEMPTED,
    SCSI_UA_RESERVATIONS_RELEASED,
    SCSI_UA_REGISTRATIONS_PREEMPTED,
    SCSI_UA_CAPACITY_CHANGED,
    SCSI_UA_COUNT
};

/* Direction of a command's data, and where its length stands. */
enum scsi_shape {
    SCSI_NO_DATA,
    SCSI_ANSWER,    /* in; allocation length in the CDB */
    SCSI_PARAMETER, /* out; parameter list length in the CDB */
    SCSI_BLOCKS_IN,
    SCSI_BLOCKS_OUT,
    SCSI_BLOCKS_NONE,  /* a range of blocks, no data */
    SCSI_BLOCKS_CHECK, /* out if BYTCHK says so: VERIFY */
    SCSI_ONE_BLOCK,    /* out: WRITE SAME */
    SCSI_TWICE_OUT     /* out: COMPARE AND WRITE */
};

/* What a reservation of somebody else stops (SPC-4 5.13.2, SPC-2 5.5.1). */
enum scsi_access {
    SCSI_ACCESS_ALWAYS,
    SCSI_ACCESS_UNLESS_RESERVED, /* stopped by RESERVE(6) only */
    SCSI_ACCESS_READ,
    SCSI_ACCESS_WRITE,
    SCSI_ACCESS_OWN /* the command looks itself */
};

#endif
