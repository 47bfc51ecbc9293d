/* mmc.h - a CD drive: what its commands mean, however they came.
 *
 * One drive with one disc of one track of data, which is read only.  A command is looked at and
 * either answered at once or says which bytes of the disc are its answer.
 *
 * Sources: INCITS 430 Multi-Media Commands 5 (MMC), SCSI Primary Commands 4 (SPC), Block
 * Commands 3 (SBC). */
#ifndef VIRTIO_SCSI_MMC_H
#define VIRTIO_SCSI_MMC_H

#include <stdbool.h>
#include <stdint.h>

#define MMC_BLOCK_BYTES  2048u
#define MMC_CDB_BYTES    16u
#define MMC_SENSE_BYTES  18u
#define MMC_ANSWER_BYTES 256u

struct mmc_drive {
    uint64_t blocks; /* of the disc */
    bool is_open;    /* the tray: there is no disc */
    bool is_locked;  /* the tray stays shut */
    bool is_new;     /* the next command is told that there is another disc */
};

enum mmc_status {
    MMC_GOOD = 0,
    MMC_CHECK = 2, /* `sense` says what */
};

struct mmc_command {
    uint8_t cdb[MMC_CDB_BYTES];
    uint8_t status; /* enum mmc_status */
    uint8_t sense[MMC_SENSE_BYTES];

    /* The answer: these bytes, */
    uint8_t data[MMC_ANSWER_BYTES];
    uint32_t bytes;

    /* ... or, if there are any, these of the disc. */
    uint64_t off, disc_bytes;
};

/* `is_unit`: it came to the drive, and not to a unit beside it that does not exist. */
void mmc_do(struct mmc_drive *d, struct mmc_command *c, bool is_unit);

/* The bytes of the disc could not be read. */
void mmc_fail_read(struct mmc_command *c);

#endif
