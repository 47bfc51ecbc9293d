/* virt/agent/agent.h - the program inside a guest: its first process, and the host's hand.
 *
 * As the first process of an initramfs it mounts what programs expect, loads modules,
 * and then - as the kernel's command line says - gives the machine to a root file system
 * and its own init, or runs one command and ends the machine with its code.  Beside
 * either it serves the host (virt/agent/frame).
 *
 * Parameters of the command line:
 *     strata.root=NAME       the disk of that serial number, or a path such as /dev/vda
 *     strata.rootfs=TYPE     its file system (ext4)
 *     strata.ro              is not written to: what is written goes to memory
 *     strata.init=PATH       what is executed there, in the place of the usual places
 *     strata.agent           serve the host on vsock
 *     strata.command=WORDS   the command, as `frame_put_words` writes it
 *     systemd.hostname=NAME  the host name, as systemd reads it, too
 *
 * A longer command, with a user and variables, lies in the initramfs (FRAME_BOOT_COMMAND).
 *
 * Nothing here uses the project's libraries: a guest has none of them. */
#ifndef VIRT_AGENT_AGENT_H
#define VIRT_AGENT_AGENT_H

/* The first process: does not come back but for an error that ends the machine. */
int agent_boot(void);

/* Serve connections at the listening descriptor, each in a process of its own, until it
 * fails.  They are served in the file system that descriptor `root` (a directory) leads to;
 * -1: in this process's. */
int agent_serve(int listener, int root);

/* Serve at a unix socket; for tests, and for guests without vsock. */
int agent_serve_path(const char *path);

#endif
