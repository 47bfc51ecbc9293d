/* machine.h - the worker half of a machine: the process in which a guest's kernel runs. */
#ifndef NODE_MACHINE_MACHINE_H
#define NODE_MACHINE_MACHINE_H

/* Run a machine until it ends, as words say:
 *
 *     --plan FD                              what `far_create` hands over
 *     --kernel FILE [--initrd FILE] ...      directly, for tests and instruments
 *
 * The first serial port is standard input and output.  The exit code: 0 the guest switched
 * itself off; what it wrote to the debug-exit port; 129 it reset itself and was not to start
 * again; 134 it panicked; 139 a triple fault; 142 it did not serve its watchdog; 128 and the number of a signal that ended it; 125 the worker failed; 2 wrong words. */
int node_machine(int argc, char **argv);

#endif
