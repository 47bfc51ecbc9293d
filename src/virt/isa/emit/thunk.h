/* thunk.h - code that all regions share, in reach of their calls and jumps. */
#ifndef VIRT_ISA_EMIT_THUNK_H
#define VIRT_ISA_EMIT_THUNK_H

#include "virt/isa/emit/private.h"

/* The registers of a slow access.  H_RSP: what it would hold is in the frame already, or
 * there is none. */
struct emit_slow {
    bool loads; /* `value` is its result, else what is stored */
    uint8_t address, value;
};

/* What thunks lead to, in the code that `emit_trampolines` writes. */
struct emit_thunk_ends {
    const uint8_t *slow, *leave;
    enum host_reg number; /* of an exit: the first that is not pinned */
};

/* Goes on at `resume`; NULL: behind it. */
void emit_call_slow(struct emit *e, const struct emit_slow *s, uint32_t site,
                    const uint8_t *resume);
/* Out of the region, with that in `leave_exit`. */
void emit_leave_by(struct emit *e, int64_t why);

/* All pairs of calls go but that which stands for none. */
void emit_forget_calls(struct asm_out *o, const struct emit_env *env);

size_t emit_thunks_bytes(void);
void emit_thunks(struct asm_out *o, const struct emit_env *env,
                 const struct emit_thunk_ends *ends);
/* In what a thunk called: the number of its site. */
void emit_find_site(struct asm_out *o, enum host_reg r);

#endif
