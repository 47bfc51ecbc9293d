/* private.h - what the files of the agent share. */
#ifndef VIRT_AGENT_PRIVATE_H
#define VIRT_AGENT_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "virt/agent/agent.h"
#include "virt/agent/frame/frame.h"

#define SCRATCH_BYTES 4096

/* What the kernel's command line asks for. */
struct wish {
    char root[128];              /* "": none */
    char type[32];               /* of its file system */
    char init[256];              /* "": the usual places */
    char host[65];               /* its name; "": the system's own */
    char command[SCRATCH_BYTES]; /* as `frame_put_words` writes it; "": none */
    bool read_only, serves;
};

/* ---- words.c ---- */

/* From the text of /proc/cmdline, which has less than `SCRATCH_BYTES`. */
void wish_read(const char *line, struct wish *ret);

/* A small file as text; the count, or -errno. */
ssize_t agent_read_small(const char *path, char *out, size_t room);

/* ---- net.c ---- */

int agent_raise_loopback(void);

/* The card has the address that the initramfs brings for it, if it brings one; what fails
 * is said on the console. */
void agent_join_network(void);

/* The card, there is one, has that hardware address, and that address, from now on; words as of
 * FRAME_BOOT_NETWORK. */
int agent_change_network(const char *words);

/* A card comes, within moments, and gets that address; -ENODEV. */
int agent_take_card(const char *words);

/* Whether the system below that directory has a program of its own for that. */
bool agent_knows_networks(const char *root);

/* Files of names in /newroot: that of name servers, of hosts, and of its own; `keeps`: those
 * that are there stay. */
void agent_plant_names(const char *host, bool keeps);

/* ---- boot_command.c ---- */

/* Name of a first process that runs one command. */
#define AGENT_RUNS "strata-command"
bool agent_runs_command(void); /* ... it is here */

/* The command of the wish, or of the initramfs, which is read before the root is switched. */
struct boot_command;
struct boot_command *agent_read_command(struct wish *w);

/* Run it as a child, bury what is left to process 1, pass signals on; its code. */
int agent_run_command(const struct boot_command *c);

/* ---- modules.c ---- */

/* Load what /strata/modules lists for `stage` ("root", "network", "files",
 * "later"), and forget the files.
 * How many could not be loaded. */
int agent_load_modules(const char *stage);

/* ---- plug.c ---- */

/* In a child, as long as the guest runs: processors that come are switched on.  `root`: where
 * its files are; -1: here. */
void agent_switch_on_cpus(int root);

/* The processor that this message of the kernel says has come; -1: it says none. */
int agent_cpu_that_came(const char *message);

/* ---- root.c ---- */

/* Make /newroot the file system that is asked for: 0, or -errno said on the console. */
int agent_mount_root(const struct wish *w);

/* The device of a disk (its serial number, or a path), which may take its time to be there. */
bool agent_await_disk(const char *word, char *out, size_t room);

/* Let /newroot be / of this process. */
int agent_switch_root(void);

/* ---- mounts.c ---- */

/* What volumes the initramfs says, which the caller frees; NULL: none.  Before the root is
 * switched: their modules are loaded. */
char *agent_read_mounts(void);

/* Mount them: 0, or -errno said on the console.  At the end, when nothing is to run any more:
 * they are let go. */
int agent_mount_volumes(const char *lines);
void agent_unmount_volumes(const char *lines);

/* ---- seed.c ---- */

/* What the initramfs brings for a new guest goes into /newroot, if no cloud-init is there. */
void agent_plant_seed(void);

/* A file of that text, in the place of what has the name. */
void agent_write_new(const char *path, const char *text);

/* The script of that runs beside the system, until it has ended once. */
void agent_run_seed(int root);

/* ---- identity.c ---- */

/* The files below `root` ("": the system's that runs) by which it is told apart are new ones. */
void agent_become_another(const char *root, const char *host);

/* What a frame FRAME_RENEW asks for. */
int agent_renew(const struct frame *f);

/* ---- exec.c ---- */

/* Become the command in a child that is set up (file system, user, variables); comes back
 * with a code as a shell's when it cannot. */
int agent_exec(const struct frame_exec *x);

/* A child's status as a shell counts it. */
int agent_exit_code(int status);

/* ---- session.c ---- */

/* One connection, until it ends, in the file system that descriptor `root` leads to (-1: in
 * this process's). */
void agent_session(int fd, int root);

/* Send one frame; -errno. */
int agent_send(int fd, enum frame_type type, const void *bytes, size_t n);

/* Run the command of an EXEC frame with its descriptors carried over `fd`; 0 or -errno of the
 * connection. */
struct inbox;
int agent_command(struct inbox *in, const struct frame *f);

/* ---- care.c ---- */

/* Name of the process that serves a machine's host. */
#define AGENT_SERVES "strata-agent"

/* The answer to a request that is no command: 0 or -errno, and text. */
int agent_care(const struct frame *f, char text[SCRATCH_BYTES]);

#endif
