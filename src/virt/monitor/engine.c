/* engine.c - which engine executes a machine, and what of it the machine has to know.
 *
 * The hardware's virtualization where a guest that runs has shown that it works; else the
 * translator; else, where the host lets nobody make code at run time, the interpreter.
 *
 * Software counts the guest's time-stamp counter by the machine's clock, whatever its
 * cycles are called; hardware counts the host's cycles, and other ones only where it can
 * scale them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"
#include "virt/monitor/kvm/kvm.h"
#include "virt/monitor/private.h"

#define HZ_LEAST UINT64_C(1000000)
#define HZ_MOST  UINT64_C(100000000000)

/* Room for host code, whose memory is taken when it is filled.  A compiler with its system
 * has about 170 MiB of it; what does not fit is made again. */
#define CODE_BYTES_ALL   (512u << 20)
#define CODE_BYTES_MOST  (128u << 20) /* of one processor */
#define CODE_BYTES_LEAST (32u << 20)

struct engine {
    const char *name;
    bool has_calls; /* hypercalls leave the guest, and translations can be flushed */
    int (*create)(struct machine *m, const struct x86_model *model, unsigned index,
                  struct err *e);
};

static int create_kvm(struct machine *m, const struct x86_model *model, unsigned index,
                      struct err *e)
{
    int r = m->kvm == NULL ? kvm_vm_create(m->mem, m->options.kvm, &m->kvm, e) : 0;

    r = r == 0 ? kvm_cpu_create(m->kvm, model, &m->env, index, &m->vcpu[index].cpu, e)
               : r;
    if (r == 0) {
        m->clock_hz =
            engine_tsc_hz(m); /* so that the counter's offset is in its cycles */
    }
    return r;
}

static size_t code_bytes(const struct machine *m)
{
    size_t each = CODE_BYTES_ALL / m->options.cpus_most & ~(size_t)(MEM_PAGE_BYTES - 1);

    return each > CODE_BYTES_MOST    ? CODE_BYTES_MOST
           : each < CODE_BYTES_LEAST ? CODE_BYTES_LEAST
                                     : each;
}

static int create_translate(struct machine *m, const struct x86_model *model,
                            unsigned index, struct err *e)
{
    const struct translate_options o = {.index = index, .code_bytes = code_bytes(m)};

    return translate_create(m->mem, model, &m->env, &o, &m->vcpu[index].cpu, e);
}

static int create_interpret(struct machine *m, const struct x86_model *model,
                            unsigned index, struct err *e)
{
    return interpret_create(m->mem, model, &m->env, index, &m->vcpu[index].cpu, e);
}

/* In the order in which they are preferred. */
static const struct engine engines[] = {
    {"kvm", false, create_kvm},
    {"translate", true, create_translate},
    {"interpret", true, create_interpret},
};

static const struct engine *find(const char *name)
{
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        if (strcmp(engines[i].name, name) == 0) {
            return &engines[i];
        }
    }
    return NULL;
}

static void choose(struct machine *m)
{
    struct kvm_report report;

    if (m->options.is_deterministic) {
        m->engine = find("translate");
        (void)snprintf(m->engine_why, sizeof m->engine_why,
                       "only software counts instructions");
        return;
    }
    kvm_probe(m->options.kvm, &report);
    m->engine = find(report.is_good ? "kvm" : "translate");
    (void)snprintf(m->engine_why, sizeof m->engine_why, "%s", report.why);
}

static int choose_engine(struct machine *m, struct err *e)
{
    const char *name = m->options.engine != NULL ? m->options.engine : "auto";

    if (m->engine != NULL) {
        return 0;
    }
    if (strcmp(name, "auto") == 0) {
        choose(m);
        return 0;
    }
    if (m->options.is_deterministic && strcmp(name, "kvm") == 0) {
        return err_set(e, -EINVAL,
                       "cannot make a deterministic machine with engine 'kvm': only "
                       "software counts instructions");
    }
    m->engine = find(name);
    (void)snprintf(m->engine_why, sizeof m->engine_why, "asked for");
    return m->engine != NULL
               ? 0
               : err_set(e, -EINVAL,
                         "there is no engine '%s' (auto, kvm, translate, interpret)",
                         name);
}

/* Before the first processor, since hardware takes CPUID once. */
static void show_features(struct machine *m)
{
    uint32_t none = (m->options.cpus_most > 1 ? 0 : PV_OF_MANY) |
                    (m->options.is_deterministic ? PV_STEAL_TIME : 0);

    m->features = m->options.hides ? 0 : engine_features(m) & ~none;
}

static bool is_auto(const struct machine *m)
{
    return m->options.engine == NULL || strcmp(m->options.engine, "auto") == 0;
}

int engine_create_cpu(struct machine *m, unsigned index, struct err *e)
{
    const char *name = m->options.model != NULL ? m->options.model : "machine";
    const struct x86_model *model = x86_model_find(name);
    struct err later = {0};
    int r;

    if (model == NULL) {
        return err_set(e, -EINVAL, "there is no processor model '%s'", name);
    }
    r = choose_engine(m, e);
    if (r != 0) {
        return r;
    }
    show_features(m);
    r = m->engine->create(m, model, index, &later);
    if (r == -ENOTSUP && is_auto(m) && m->engine == find("translate") && index == 0) {
        m->engine = find("interpret");
        (void)snprintf(m->engine_why, sizeof m->engine_why,
                       "this host lets nobody make code at run time");
        r = m->engine->create(m, model, index, e);
    } else if (r != 0) {
        err_set(e, r, "%s", later.text);
    }
    return r;
}

int engine_add_memory(struct machine *m, struct err *e)
{
    for (unsigned i = 0; i < m->cpus && m->vcpu[i].cpu != NULL; i++) {
        cpu_kick(m->vcpu[i].cpu, CPU_KICK_FLUSH_TLB); /* there was nothing there */
    }
    return m->kvm != NULL ? kvm_vm_give_memory(m->kvm, e) : 0;
}

void engine_release(struct machine *m)
{
    kvm_vm_destroy(m->kvm);
    m->kvm = NULL;
}

const unsigned long *machine_engine_calls(const struct machine *m)
{
    static const unsigned long none[] = {0};

    return m->kvm != NULL ? kvm_calls() : none;
}

uint32_t engine_features(const struct machine *m)
{
    return PV_ALWAYS | (m->engine->has_calls ? PV_BY_CALLS : 0);
}

/* ---- the time-stamp counter ---- */

uint64_t engine_tsc_hz(const struct machine *m)
{
    uint64_t hz;

    (void)cpu_tsc(m->vcpu[0].cpu, m->clock_hz, &hz);
    return hz;
}

int engine_check_tsc(const struct machine *m, uint64_t hz, struct err *e)
{
    if (hz < HZ_LEAST || hz > HZ_MOST) {
        return err_set(e, -EBADMSG, "the time-stamp counter's frequency is damaged");
    }
    if (m->kvm != NULL && !kvm_can_count(m->vcpu[0].cpu, hz)) {
        return err_set(
            e, -ENOTSUP,
            "the guest counts time by %llu MHz, and this host's hardware only by "
            "its own: another engine can go on with it",
            (unsigned long long)(hz / 1000000));
    }
    return 0;
}

void engine_set_tsc(struct machine *m, uint64_t hz)
{
    for (unsigned i = 0; m->kvm != NULL && i < m->cpus; i++) {
        (void)kvm_count_by(m->vcpu[i].cpu, hz);
    }
    m->clock_hz = m->kvm != NULL ? engine_tsc_hz(m) : hz;
}
