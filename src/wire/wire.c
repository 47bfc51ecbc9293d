/* wire.c - access to the generated rows. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "contract/task.h"

extern const char wire_texts[];
extern const char wire_completion_bash[], wire_completion_zsh[], wire_completion_fish[];

const char *wire_text(uint32_t at)
{
    return wire_texts + at;
}

const char *wire_word(uint32_t at, unsigned n)
{
    const char *word = wire_texts + at;
    while (n-- > 0) {
        word += strlen(word) + 1;
    }
    return word;
}

const char *wire_completion(const char *shell)
{
    if (strcmp(shell, "bash") == 0) {
        return wire_completion_bash;
    }
    if (strcmp(shell, "zsh") == 0) {
        return wire_completion_zsh;
    }
    return strcmp(shell, "fish") == 0 ? wire_completion_fish : NULL;
}

void wire_action(enum wire_op_id op, char out[WIRE_ACTION_BYTES])
{
    const struct wire_op *row = &wire_op_table[op];
    const char *name = wire_text(row->name);
    const char *space = strchr(name, ' ');
    bool about_host = strcmp(wire_text(row->group), "host") == 0;
    if (about_host) {
        (void)str_print(out, WIRE_ACTION_BYTES, "do '%s'", name);
    } else if (space != NULL) {
        (void)str_print(out, WIRE_ACTION_BYTES, "%s %.*s", space + 1, (int)(space - name),
                        name);
    } else {
        (void)str_print(out, WIRE_ACTION_BYTES, "%s", name);
    }
}

int wire_check_state(enum wire_op_id op, unsigned state, const char *guest, struct err *e)
{
    const struct wire_op *row = &wire_op_table[op];
    if (row->states == 0 || (row->states & (1U << state)) != 0) {
        return 0;
    }
    struct str allowed = {0};
    for (unsigned s = 0; s < TASK_STATE_COUNT; s++) {
        if ((row->states & (1U << s)) != 0) {
            str_addf(&allowed, "%s%s", allowed.len > 0 ? " or " : "",
                     task_state_name((enum task_state)s));
        }
    }
    char action[WIRE_ACTION_BYTES];
    bool plain = strchr(wire_text(row->name), ' ') == NULL;
    wire_action(op, action);
    int r = err_set(e, -EBUSY, "cannot %s%sguest '%s'%sis %s, not %s", action,
                    plain ? " " : ": ", guest, plain ? ": it " : " ",
                    task_state_name((enum task_state)state), str_text(&allowed));
    str_fini(&allowed);
    return r;
}
