/* engine.c - which engine executes a machine. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"
#include "virt/monitor/private.h"

int engine_create_cpu(struct machine *m, unsigned index, struct err *e)
{
    const char *engine = m->options.engine != NULL ? m->options.engine : "auto";
    const char *name = m->options.model != NULL ? m->options.model : "machine";
    const struct x86_model *model = x86_model_find(name);
    struct cpu **ret = &m->vcpu[index].cpu;
    bool is_auto = strcmp(engine, "auto") == 0;
    const struct translate_options o = {.index = index};
    int r;

    if (model == NULL) {
        return err_set(e, -EINVAL, "there is no processor model '%s'", name);
    }
    if (is_auto || strcmp(engine, "translate") == 0) {
        r = translate_create(m->mem, model, &m->env, &o, ret, is_auto ? NULL : e);
        m->engine_why =
            is_auto ? "this host has no hardware virtualization that works" : "asked for";
        if (r != -ENOTSUP || !is_auto) {
            return r;
        }
        m->engine_why = "this host lets nobody make code at run time";
    } else if (strcmp(engine, "interpret") == 0) {
        m->engine_why = "asked for";
    } else {
        return err_set(e, -EINVAL, "there is no engine '%s' (auto, translate, interpret)",
                       engine);
    }
    return interpret_create(m->mem, model, &m->env, index, ret, e);
}
