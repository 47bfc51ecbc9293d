/* drives.h - the disks of the program `machine`: files of the host as devices of PCI. */
#ifndef NODE_MACHINE_DRIVES_H
#define NODE_MACHINE_DRIVES_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk_graph.h"
#include "virt/monitor/pci/card.h"

struct err;
struct loop;
struct nvme;
struct virtio_device;

#define DRIVES_MOST 16

struct drive {
    struct blk_edge edge;
    char path[1024];
    char serial[21]; /* that the guest sees */
    int fd;          /* taken when its layers are opened */
    int base_fd;     /* the same; of what its image stands on, if it `has_base` */
    bool has_base;
    unsigned slot; /* of PCI, of one that came or may go; 0: any */
    bool is_qcow2, is_read_only, is_direct, is_disc, is_nvme;
    struct virtio_device *virtio; /* owned */
    struct nvme *nvme;            /* owned; NULL: the one above, if it is open */
};

/* Zeroed: there are none.  One that went leaves a place without a path and a device. */
struct drives {
    struct drive one[DRIVES_MOST];
    unsigned count;
    struct loop *loop; /* borrowed; of those that are open */
    unsigned marks;
    bool in_turn; /* each request begins when the one before it is answered */
};

/* One more: FILE[,bus=virtio|nvme][,format=raw|qcow2][,read-only][,direct][,serial=WORD]
 * [,slot=NUMBER], or FILE,read-only,cdrom: a disc in a drive.  The file is opened now, but `take_fd` is used where it is not below 0; so is `take_base`, the raw file that an image
 * of changes stands on and that is only read. */
int drives_plan(struct drives *d, const char *word, int take_fd, int take_base,
                struct err *e);

/* With a queue for each processor, up to a few. */
int drives_open(struct drives *d, struct loop *l, unsigned cpus, struct err *e);

/* One that is open, as it is plugged in. */
struct pci_card drives_card(const struct drives *d, unsigned i);

/* One more while others are open; its place.  Turns the loop, as does the end of one. */
int drives_attach(struct drives *d, const char *word, int take_fd, unsigned cpus,
                  struct err *e);
void drives_detach(struct drives *d, unsigned i);

/* The place of the one whose file is called so, or that is in that slot; -ENOENT. */
int drives_find(const struct drives *d, const char *path, unsigned slot);

/* Bytes that the guest has read and written so far; false: nobody counts, of a disc and by NVMe. */
bool drives_moved(const struct drives *d, unsigned i, uint64_t ret[2]);

/* What was written to them is there, for whoever reads their files.  Turns the loop. */
int drives_flush(struct drives *d, struct err *e);

/* The one whose file is called so has so many bytes, not fewer than before: the guest is told
 * at once.  Turns the loop. */
int drives_resize(struct drives *d, const char *path, uint64_t bytes, struct err *e);

/* undo.c: from now on what is written can be thrown away, and is at the end; back to there.
 * While no request is under way.  Turn the loop. */
int drives_mark(struct drives *d, struct err *e);
int drives_rewind(struct drives *d, struct err *e);

/* When no machine uses them. */
void drives_close(struct drives *d);

#endif
