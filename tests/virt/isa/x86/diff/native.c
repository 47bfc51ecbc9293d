/* native.c - jobs on the host's own processor.
 *
 * The child never returns from one signal handler: a job ends with a trap or a
 * fault, the handler saves the frame that the kernel made as the job's end, writes
 * the next job's start into the same frame, and returns into it.  So the price of
 * a job is one signal, and every exception is seen alike.
 *
 * Confinement: after set-up the child may read and write its pipe, return from
 * signals and exit; everything else kills it (seccomp), as a job that finds a
 * system call instruction would.  The handler runs on its own stack; it clears the
 * flags AC, NT and ID, which the kernel leaves as a job has them, and puts the thread pointer
 * back, since jobs have FS. */
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "job.h"

#define HANG_SECONDS       5     /* of the child as a whole */
#define TICK_MICROSECONDS  20000 /* of a job: it is lost that runs when the clock ticks */
#define ALT_STACK_BYTES    (256 * 1024)
#define CS64               0x33
#define CS32               0x23
#define DATA_SELECTOR      0x2b
#define TRAP_VECTOR        3
#define XSTATE_BV_OFFSET   512 /* SDM volume 1, 13.4.2 */
#define YMM_HIGH_OFFSET    576 /* component 2, standard form: CPUID.(D,2):EBX */
#define XSTATE_X87_SSE_AVX 7

#define BARE __attribute__((no_sanitize("address", "undefined"), no_stack_protector))

struct shared {
    struct job job[NATIVE_BATCH];
    unsigned count;
    unsigned next; /* jobs begun */
    bool has_ldt;
};

struct native {
    struct shared *s;
    pid_t child;
    int order; /* parent writes one byte: run the batch */
    int done;  /* child writes one byte: it ran */
    bool has[X86_CODE_MODE_COUNT];
};

/* The child's own; set before the first signal. */
static struct {
    struct shared *s;
    int order;
    int done;
    uint64_t thread_pointer;
    uint16_t ss;
} child;

static const int gpr_slot[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                 REG_R12, REG_R13, REG_R14, REG_R15};

BARE static void copy(void *to, const void *from, size_t bytes)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

BARE static void clear(void *to, size_t bytes)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(0) : "memory");
}

BARE static long call3(long number, long a, const void *b, long c)
{
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return r;
}

static uint8_t *at(uint64_t linear)
{
    return (uint8_t *)(uintptr_t)linear;
}

BARE static void save_end(struct job *j, const ucontext_t *u, int signal_number)
{
    const greg_t *g = u->uc_mcontext.gregs;
    const uint8_t *x = (const uint8_t *)u->uc_mcontext.fpregs;
    unsigned i;

    for (i = 0; i < 16; i++) {
        j->end.gpr[i] = (uint64_t)g[gpr_slot[i]];
    }
    j->end.rip = (uint64_t)g[REG_RIP];
    j->end.rflags = (uint64_t)g[REG_EFL];
    copy(j->end.fpu.legacy, x, sizeof j->end.fpu.legacy);
    copy(j->end.fpu.ymm_high, x + YMM_HIGH_OFFSET, sizeof j->end.fpu.ymm_high);
    if ((x[XSTATE_BV_OFFSET] & 4) == 0) { /* in its initial state: not written */
        for (i = 0; i < 16; i++) {
            __builtin_memset(j->end.fpu.ymm_high[i], 0, 16);
        }
    }
    copy(j->end.data, at(JOB_DATA_BORDER - JOB_WINDOW), 2 * JOB_WINDOW);
    copy(j->end.data + 2 * JOB_WINDOW, at(JOB_DATA_END - JOB_WINDOW), JOB_WINDOW);
    copy(j->end.stack, at(JOB_STACK_TOP - JOB_WINDOW), 2 * JOB_WINDOW);
    j->vector = signal_number == SIGVTALRM ? -1 : (int)g[REG_TRAPNO];
    j->error = (uint64_t)g[REG_ERR];
    j->address = (uint64_t)g[REG_CR2];
}

/* CS and SS are in the frame; the kernel leaves the other four alone. */
BARE static void load_segments(const struct job *j, greg_t *g)
{
    bool is_16 = j->mode == X86_CODE16;
    uint64_t cs = is_16                   ? JOB_SELECTOR(JOB_LDT_CODE16)
                  : j->mode == X86_CODE32 ? CS32
                                          : CS64;
    uint64_t ss = is_16 ? JOB_SELECTOR(JOB_LDT_STACK16) : child.ss;
    uint32_t data = is_16 ? JOB_SELECTOR(JOB_LDT_DATA16) : DATA_SELECTOR;

    g[REG_CSGSFS] =
        (greg_t)(((uint64_t)g[REG_CSGSFS] & UINT64_C(0xffffffff0000)) | cs | ss << 48);
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(data));
    if (j->mode == X86_CODE64) {
        __asm__ volatile("wrfsbase %0\n\twrgsbase %0" : : "r"((uint64_t)JOB_DATA));
    } else if (child.s->has_ldt) {
        __asm__ volatile("mov %0, %%fs" : : "r"(JOB_SELECTOR(JOB_LDT_FS)));
        __asm__ volatile("mov %0, %%gs" : : "r"(JOB_SELECTOR(JOB_LDT_GS)));
    }
}

BARE static void load_start(const struct job *j, ucontext_t *u)
{
    greg_t *g = u->uc_mcontext.gregs;
    uint8_t *x = (uint8_t *)u->uc_mcontext.fpregs;
    unsigned i;

    for (i = 0; i < 16; i++) {
        g[gpr_slot[i]] = (greg_t)j->start.gpr[i];
    }
    g[REG_RIP] = (greg_t)j->start.rip;
    g[REG_EFL] = (greg_t)j->start.rflags;
    copy(x, j->start.fpu.legacy, sizeof j->start.fpu.legacy);
    copy(x + YMM_HIGH_OFFSET, j->start.fpu.ymm_high, sizeof j->start.fpu.ymm_high);
    x[XSTATE_BV_OFFSET] |= XSTATE_X87_SSE_AVX;
    clear(at(JOB_CODE), JOB_PAGE);
    clear(at(JOB_DATA), 2 * JOB_PAGE);
    clear(at(JOB_STACK), JOB_PAGE);
    copy(at(JOB_CODE), j->code, JOB_CODE_BYTES);
    copy(at(JOB_DATA_BORDER - JOB_WINDOW), j->start.data, 2 * JOB_WINDOW);
    copy(at(JOB_DATA_END - JOB_WINDOW), j->start.data + 2 * JOB_WINDOW, JOB_WINDOW);
    copy(at(JOB_STACK_TOP - JOB_WINDOW), j->start.stack, 2 * JOB_WINDOW);
    load_segments(j, g);
}

/* The first signal has no job behind it: `next` is 0 then. */
BARE static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    struct shared *s;
    char byte;

    (void)info;
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandl $0xffdbbfff, (%%rsp)\n\t"
                     "popfq\n\tlea 128(%%rsp), %%rsp"
                     :
                     :
                     : "cc", "memory");
    /* What a job may have changed and the kernel does not put back. */
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"((uint32_t)DATA_SELECTOR));
    __asm__ volatile("mov %0, %%fs\n\tmov %0, %%gs" : : "r"(0));
    __asm__ volatile("wrfsbase %0" : : "r"(child.thread_pointer));
    s = child.s;
    if (s->next > 0) {
        save_end(&s->job[s->next - 1], u, number);
    }
    while (s->next >= s->count) {
        s->next = 0;
        s->count = 0;
        if (call3(SYS_write, child.done, "d", 1) != 1 ||
            call3(SYS_read, child.order, &byte, 1) != 1) {
            call3(SYS_exit_group, 0, NULL, 0);
        }
    }
    load_start(&s->job[s->next], u);
    s->next++;
}

static int map_fixed(uint64_t linear, unsigned pages, int protection)
{
    void *p = mmap(at(linear), (size_t)pages * JOB_PAGE, protection,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    return p == MAP_FAILED ? -errno : 0;
}

static int map_memory(void)
{
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;

    if (map_fixed(JOB_CODE, 1, all) != 0 ||
        map_fixed(JOB_DATA, 2, PROT_READ | PROT_WRITE) != 0 ||
        map_fixed(JOB_DATA_READ_ONLY, 1, PROT_READ) != 0 ||
        map_fixed(JOB_STACK, 1, PROT_READ | PROT_WRITE) != 0) {
        return -errno;
    }
    (void)*(volatile uint8_t *)at(JOB_DATA_READ_ONLY); /* it is there, not only allowed */
    return 0;
}

static int catch_signals(void)
{
    static const int numbers[] = {SIGTRAP, SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGVTALRM};
    struct sigaction act = {.sa_sigaction = on_signal,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct itimerval tick = {{0, TICK_MICROSECONDS}, {0, TICK_MICROSECONDS}};
    stack_t stack = {.ss_size = ALT_STACK_BYTES};
    unsigned i;

    stack.ss_sp = mmap(NULL, ALT_STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) != 0) {
        return -errno;
    }
    sigaddset(&act.sa_mask, SIGVTALRM);
    for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (sigaction(numbers[i], &act, NULL) != 0) {
            return -errno;
        }
    }
    return setitimer(ITIMER_VIRTUAL, &tick, NULL) == 0 ? 0 : -errno;
}

static int set_entry(unsigned entry, uint32_t base, uint32_t limit, unsigned contents,
                     bool big)
{
    struct user_desc d = {.entry_number = entry,
                          .base_addr = base,
                          .limit = limit,
                          .seg_32bit = big,
                          .contents = contents,
                          .useable = 1};

    return (int)syscall(SYS_modify_ldt, 1, &d, sizeof d);
}

/* Where the kernel refuses, 16-bit code is not tried, nor FS and GS in 32-bit code. */
static bool make_ldt(void)
{
    enum {
        UP = MODIFY_LDT_CONTENTS_DATA,
        DOWN = MODIFY_LDT_CONTENTS_STACK
    };

    return set_entry(JOB_LDT_CODE16, JOB_CODE, 0xffff, MODIFY_LDT_CONTENTS_CODE, false) ==
               0 &&
           set_entry(JOB_LDT_DATA16, JOB_DATA, 0xffff, UP, false) == 0 &&
           set_entry(JOB_LDT_STACK16, JOB_STACK, 0xffff, UP, false) == 0 &&
           set_entry(JOB_LDT_FS, JOB_DATA, JOB_FS_LIMIT, UP, true) == 0 &&
           set_entry(JOB_LDT_GS, JOB_DATA, JOB_GS_LIMIT, DOWN, true) == 0;
}

static int confine(void)
{
#define ALLOW(number)                                                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                 \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_rt_sigreturn),
        ALLOW(SYS_read),
        ALLOW(SYS_write),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
#undef ALLOW
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0],
                                 .filter = filter};
    struct rlimit no_core = {0, 0};

    if (setrlimit(RLIMIT_CORE, &no_core) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        return -errno;
    }
    return 0;
}

static _Noreturn void run_child(struct shared *s, int order, int done)
{
    child.s = s;
    child.order = order;
    child.done = done;
    __asm__ volatile("rdfsbase %0" : "=r"(child.thread_pointer));
    __asm__ volatile("mov %%ss, %0" : "=r"(child.ss));
    s->has_ldt = make_ldt();
    if (map_memory() != 0 || catch_signals() != 0 || confine() != 0) {
        _exit(1);
    }
    __asm__ volatile("int3");
    _exit(2);
}

static int spawn(struct native *n)
{
    int order[2], done[2];
    char byte;

    if (pipe(order) != 0 || pipe(done) != 0) {
        return -errno;
    }
    n->s->next = 0;
    n->s->count = 0;
    n->child = fork();
    if (n->child < 0) {
        return -errno;
    }
    if (n->child == 0) {
        close(order[1]);
        close(done[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        run_child(n->s, order[0], done[1]);
    }
    close(order[0]);
    close(done[1]);
    n->order = order[1];
    n->done = done[0];
    return read(n->done, &byte, 1) == 1 ? 0 : -ENOSYS;
}

static void reap(struct native *n)
{
    if (n->child > 0) {
        kill(n->child, SIGKILL);
        waitpid(n->child, NULL, 0);
        close(n->order);
        close(n->done);
        n->child = 0;
    }
}

int native_run(struct native *n, unsigned count)
{
    struct pollfd wait = {.fd = n->done, .events = POLLIN};
    unsigned i;
    char byte;

    for (i = 0; i < count; i++) {
        n->s->job[i].vector = -1;
    }
    n->s->count = count;
    n->s->next = 0;
    if (write(n->order, "g", 1) == 1 && poll(&wait, 1, HANG_SECONDS * 1000) == 1 &&
        read(n->done, &byte, 1) == 1) {
        return 0;
    }
    reap(n);
    return spawn(n) == 0 ? 1 : -ECHILD;
}

/* One job that each mode executes its own way: AAM is #UD in 64-bit code, and the
 * immediate of the move behind it has as many bytes as the operand. */
static bool try_mode(struct native *n, enum x86_code_mode mode)
{
    static const uint8_t code[] = {0xd4, 10, 0xb9, 1, 0, 0x90, 0x90};
    struct job *j = &n->s->job[0];

    memset(j, 0, sizeof *j);
    memset(j->code, 0xcc, sizeof j->code);
    memcpy(j->code, code, sizeof code);
    j->mode = (uint8_t)mode;
    j->start.rip = mode == X86_CODE16 ? 0 : JOB_CODE;
    j->start.rflags = 0x202;
    j->start.gpr[0] = 123;
    j->start.gpr[4] = mode == X86_CODE16 ? JOB_STACK_TOP - JOB_STACK : JOB_STACK_TOP;
    j->start.fpu.legacy[24] = 0x80; /* MXCSR 0x1f80 */
    j->start.fpu.legacy[25] = 0x1f;
    j->start.fpu.legacy[0] = 0x7f;
    j->start.fpu.legacy[1] = 3;
    return native_run(n, 1) == 0 && j->vector == TRAP_VECTOR && j->end.gpr[0] == 0x0c03 &&
           j->end.gpr[1] == (mode == X86_CODE16 ? 1 : 0x90900001);
}

int native_create(struct native **ret_native)
{
    struct native *n = calloc(1, sizeof *n);
    int r;

    if (n == NULL) {
        return -ENOMEM;
    }
    n->s = mmap(NULL, sizeof *n->s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    if (n->s == MAP_FAILED) {
        free(n);
        return -ENOMEM;
    }
    signal(SIGPIPE, SIG_IGN);
    r = spawn(n);
    if (r != 0) {
        native_destroy(n);
        return r;
    }
    n->has[X86_CODE64] = true;
    n->has[X86_CODE32] = try_mode(n, X86_CODE32);
    n->has[X86_CODE16] = n->s->has_ldt && try_mode(n, X86_CODE16);
    *ret_native = n;
    return 0;
}

bool native_has_mode(const struct native *n, enum x86_code_mode mode)
{
    return n->has[mode];
}

struct job *native_jobs(struct native *n)
{
    return n->s->job;
}

void native_destroy(struct native *n)
{
    if (n == NULL) {
        return;
    }
    reap(n);
    munmap(n->s, sizeof *n->s);
    free(n);
}
