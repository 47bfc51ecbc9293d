/* input.c - what viewers type, held until the guest takes it. */
#include "node/keeper/private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

void keeper_input_push(struct keeper *k)
{
    while (k->c.input >= 0 && k->input_at < k->input_len) {
        ssize_t n = write(k->c.input, k->input + k->input_at, k->input_len - k->input_at);

        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0 && errno != EINTR) {
            k->input_ends = true; /* the guest closed its end */
            k->input_at = k->input_len;
        }
        k->input_at += n > 0 ? (size_t)n : 0;
    }
    k->input_at = 0;
    k->input_len = 0;
    if (k->input_ends && k->c.input >= 0 && k->c.input != k->c.master) {
        (void)close(k->c.input);
        k->c.input = -1;
    }
}

void keeper_input_take(struct keeper *k, const char *bytes, size_t len)
{
    if (k->c.input < 0 || k->input_ends) {
        return;
    }
    if (len > sizeof k->input) {
        len = sizeof k->input;
    }
    memcpy(k->input, bytes, len);
    k->input_at = 0;
    k->input_len = len;
    (void)fault_step("keeper.input.taken");
    keeper_input_push(k);
}

void keeper_input_end(struct keeper *k)
{
    if (k->c.input == k->c.master || k->c.keeps_input) {
        return; /* on a terminal the user types the end-of-file character */
    }
    k->input_ends = true;
    keeper_input_push(k);
}
