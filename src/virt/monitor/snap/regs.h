/* regs.h - the registers of a processor, to and from a stream. */
#ifndef VIRT_MONITOR_SNAP_REGS_H
#define VIRT_MONITOR_SNAP_REGS_H

struct snap;
struct x86_regs;

/* Field by field, so that neither layout nor padding of the struct is in the stream.
 * Whether a processor can have such registers says `cpu_set`. */
void regs_carry(struct x86_regs *r, struct snap *s);

#endif
