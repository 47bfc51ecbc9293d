/* guest.S - a kernel of one file that walks through the modes of an x86 and prints what
 * it meets, on port e9; it ends with a byte to port f4.
 *
 * Multiboot (flat, loaded at 1 MiB), so that any other emulator can run it.  Each trial
 * prints its letter; an exception prints " vector:error" and goes on at `resume`. */
#define LOAD 0x100000
#define A(symbol) (LOAD + symbol - guest_begin)

#define STACK  0x90000
#define USTACK 0x98000
#define TSS    0x20000
#define TSS2   0x21000
#define PDIR   0x30000
#define PML4   0x34000
#define IDT    0x22000
#define IDT64  0x23000
#define STUB16 0x8000
#define RESUME 0x24000 /* where the next exception goes on */
#define SAVED  0x24008 /* and with which stack */

    .section .rodata
    .global guest_begin, guest_end
    .balign 4096
guest_begin:
    .code32
    .balign 4
header:
    .long 0x1badb002, 0x00010000, -(0x1badb002 + 0x00010000)
    .long A(header), LOAD, A(guest_end), A(guest_end), A(entry)

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* 08 code32 */
    .quad 0x00cf93000000ffff /* 10 data */
    .quad 0x00cffb000000ffff /* 18 user code32 */
    .quad 0x00cff3000000ffff /* 20 user data */
    .quad 0x00affb000000ffff /* 28 user code64: SYSRET wants 18, 20, 28 */
    .quad 0x00af9b000000ffff /* 30 code64 */
    .quad 0x00cf93000000ffff /* 38 data: SYSCALL's SS */
    .quad 0x0000890200000067 /* 40 TSS */
    .quad 0
    .quad 0x0000890210000067 /* 50 TSS2 */
    .quad 0x00009b000000ffff /* 58 code16 */
    .quad 0x000093000000ffff /* 60 data16 */
    .quad 0x00cf13000000ffff /* 68 data, absent */
gdt_end:
gdtr:
    .word gdt_end - gdt - 1
    .long A(gdt), 0
idtr:
    .word 0x7ff
    .long IDT, 0
idtr64:
    .word 0xfff
    .long IDT64, 0
idtr_real:
    .word 0x3ff
    .long 0, 0

/* Print the character / the low byte of eax in hex; all registers but flags stay. */
    .macro PUT char
    pushl %eax
    movb $\char, %al
    outb %al, $0xe9
    popl %eax
    .endm

print_byte: /* al; clobbers eax, ecx */
    movl %eax, %ecx
    shrl $4, %eax
    call print_digit
    movl %ecx, %eax
print_digit:
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 1f
    addb $39, %al
1:  outb %al, $0xe9
    ret

print_word: /* ax */
    pushl %eax
    movb %ah, %al
    call print_byte
    popl %eax
    jmp print_byte

/* Exceptions: each stub pushes an error code where the processor does not, and its
 * vector. */
    .macro STUB to
    .balign 16
    .if v == 8 || (v >= 10 && v <= 14) || v == 17
    nop
    .else
    push $0
    .endif
    push $v
    jmp \to
    .set v, v + 1
    .endm

    .balign 16
stubs:
    .set v, 0
    .rept 33
    STUB common
    .endr

common: /* vector, error, eip, cs, eflags */
    cld
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    PUT ' '
    movl (%esp), %eax
    call print_byte
    PUT ':'
    movl 4(%esp), %eax
    call print_word
    cmpl $14, (%esp)
    jne 1f
    PUT '@'
    movl %cr2, %eax
    shrl $12, %eax
    call print_word
1:  cmpl $1, (%esp)
    jne 2f
    PUT '='
    movl %dr6, %eax
    call print_word
    movl $0xffff0ff0, %eax
    movl %eax, %dr6
2:  testl $0x20000, 16(%esp)
    jz 3f
    PUT 'v'
3:  movb 12(%esp), %al
    andb $3, %al
    call print_digit
    movl SAVED, %esp
    jmp *RESUME

    .macro TRIAL letter
    PUT \letter
    movl $A(9f), RESUME
    movl %esp, SAVED
    .endm
    .macro OVER
9:
    .endm

entry:
    cli
    movl $STACK, %esp
    lgdt A(gdtr)
    ljmp $0x08, $A(1f)
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    /* IDT: interrupt gates to the stubs; 3, 4, 32 for all levels (32 at 80) */
    xorl %ecx, %ecx
    movl $A(stubs), %eax
1:  movl %eax, %edx
    movw %dx, IDT(,%ecx,8)
    movw $0x08, IDT+2(,%ecx,8)
    movw $0x8e00, IDT+4(,%ecx,8)
    shrl $16, %edx
    movw %dx, IDT+6(,%ecx,8)
    addl $16, %eax
    incl %ecx
    cmpl $32, %ecx
    jb 1b
    movb $0xee, IDT+3*8+5
    movb $0xee, IDT+4*8+5
    movl %eax, %edx
    movw %dx, IDT+0x80*8
    movw $0x08, IDT+0x80*8+2
    movw $0xee00, IDT+0x80*8+4
    shrl $16, %edx
    movw %dx, IDT+0x80*8+6
    movw $0x6e00, IDT+0x82*8+4 /* absent */
    lidt A(idtr)
    movl $STACK, TSS+4
    movl $0x10, TSS+8
    movw $0x68, TSS+102
    movl $0x40, %eax
    ltr %ax

    /* Faults of 32-bit code. */
    TRIAL 'a'
    ud2
    OVER
    TRIAL 'b'
    movl $0x1238, %eax
    movl %eax, %ds
    OVER
    TRIAL 'c'
    movl $0x68, %eax
    movl %eax, %ds
    OVER
    TRIAL 'd'
    xorl %ecx, %ecx
    divl %ecx
    OVER
    TRIAL 'e'
    int $0x81
    OVER
    TRIAL 'f'
    int $0x82
    OVER
    TRIAL 'g'
    xorl %eax, %eax
    movl %eax, %fs
    .globl guest_null
guest_null:
    movl %fs:0, %eax
    OVER
    TRIAL 'h'
    movl $0x7fffffff, %eax
    incl %eax
    into
    OVER
    TRIAL 'i'
    int3
    OVER
    TRIAL 'j'
    ljmp $0x10, $0
    OVER
    TRIAL 'k'
    movl $0x80000000, %eax
    orl $0x20000000, %eax
    .globl guest_paging
guest_paging:
    movl %eax, %cr0
    OVER

    /* 32-bit paging: two pages of 4 MiB, the second not writable, the third absent. */
    movl $0x87, PDIR
    movl $0x400085, PDIR+4
    movl $0, PDIR+8
    movl $PDIR, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x10, %eax
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80010001, %eax
    movl %eax, %cr0
    TRIAL 'l'
    movl 0x801000, %eax
    OVER
    TRIAL 'm'
    movl $1, 0x800ffe
    OVER
    TRIAL 'n'
    movl $1, 0x400000
    OVER
    TRIAL 'o'
    movl %cr0, %eax
    andl $~0x10000, %eax
    movl %eax, %cr0
    movl $1, 0x400000
    PUT '+'
    orl $0x10000, %eax
    movl %eax, %cr0
    OVER

    /* Level 3. */
    .macro USER where, flags=2
    pushl $0x23
    pushl $USTACK
    pushl $\flags
    pushl $0x1b
    pushl $A(\where)
    iret
    .endm
    TRIAL 'p'
    USER u_cli
u_cli:
    cli
    OVER
    TRIAL 'q'
    USER u_store
u_store:
    movl $0x23, %eax
    movl %eax, %ds
    movl $1, 0x400000
    OVER
    TRIAL 'r'
    USER u_int
u_int:
    int $0x80
    OVER
    TRIAL 's'
    USER u_out
u_out:
    inb $0x60, %al
    OVER
    TRIAL 't'
    USER u_int1
u_int1:
    int $0x30
    OVER
    movl $0x10, %eax
    movl %eax, %ds

    /* A single step and a data breakpoint. */
    TRIAL 'u'
    pushl $0x102
    popf
    nop
    nop
    OVER
    TRIAL 'v'
    movl $0x25000, %eax
    movl %eax, %dr0
    movl $0x000d0001, %eax
    movl %eax, %dr7
    movl $1, 0x25002
    nop
    OVER
    TRIAL 'w'
    movl $A(w_here), %eax
    movl %eax, %dr0
    movl $1, %eax
    movl %eax, %dr7
    nop
w_here:
    nop
    OVER
    xorl %eax, %eax
    movl %eax, %dr7

    /* A task that prints and returns. */
    PUT 'x'
    movl $TSS2, %edi
    xorl %eax, %eax
    movl $26, %ecx
    rep stosl
    movl %cr3, %eax
    movl %eax, TSS2+28
    movl %eax, TSS+28
    movl $A(task), TSS2+32
    movl $2, TSS2+36
    movl $USTACK, TSS2+56
    movl $0x10, TSS2+72
    movl $0x08, TSS2+76
    movl $0x10, TSS2+80
    movl $0x10, TSS2+84
    lcall $0x50, $0
    PUT '>'
    pushf
    popl %eax
    shrl $8, %eax
    call print_byte /* NT is clear again */
    clts
    jmp 1f
task:
    PUT '<'
    pushf
    popl %eax
    shrl $8, %eax
    call print_byte /* NT is set */
    str %eax
    call print_word
    iret
1:
    /* Virtual-8086 mode: INT 21 with IOPL 0, then HLT with IOPL 3. */
    movl $A(stub16), %esi
    movl $STUB16, %edi
    movl $stub16_end - stub16, %ecx
    rep movsb
    .macro V86 ip, flags
    pushl $0
    pushl $0
    pushl $0
    pushl $0
    pushl $0x700
    pushl $0x800
    pushl $0x20000 | \flags
    pushl $STUB16 >> 4
    pushl $\ip - stub16
    iret
    .endm
    TRIAL 'y'
    V86 v_int, 2
    OVER
    TRIAL 'z'
    V86 v_hlt, 0x3002
    OVER

    /* Real mode and back. */
    PUT 'A'
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movw $STUB16 >> 4, 0x21 * 4 + 2
    movw $r_handler - stub16, 0x21 * 4
    lidt A(idtr_real)
    ljmp $0x58, $STUB16 + (r_leave - stub16)
back:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $STACK, %esp
    PUT 'C'

    /* Long mode: 1 GiB mapped in pages of 2 MiB for all, the third without execution,
     * the fourth for the supervisor, the fifth absent. */
    movl $PML4, %edi
    xorl %eax, %eax
    movl $0xc00, %ecx
    rep stosl
    movl $PML4 + 0x1000 + 7, PML4
    movl $PML4 + 0x2000 + 7, PML4 + 0x1000
    movl $0x87, %eax
    xorl %ecx, %ecx
1:  movl %eax, PML4 + 0x2000(,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $512, %ecx
    jb 1b
    movl $0x80000000, PML4 + 0x2000 + 2 * 8 + 4
    andl $~4, PML4 + 0x2000 + 3 * 8
    movl $0, PML4 + 0x2000 + 4 * 8
    movl $0x20, %eax
    movl %eax, %cr4
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax /* NXE, LME, SCE */
    wrmsr
    movl %cr0, %eax
    orl $0x80010000, %eax
    movl %eax, %cr0
    rdmsr
    PUT 'D'
    call print_word
    ljmp $0x30, $A(long)

    .code64
    .macro PUT64 char
    push %rax
    movb $\char, %al
    outb %al, $0xe9
    pop %rax
    .endm
    .macro TRIAL64 letter
    PUT64 \letter
    movl $A(9f), RESUME
    mov %rsp, SAVED
    .endm

    .balign 16
stubs64:
    .set v, 0
    .rept 33
    STUB common64
    .endr

common64: /* vector, error, rip, cs, rflags, rsp, ss */
    PUT64 ' '
    mov (%rsp), %eax
    call print64_byte
    PUT64 ':'
    mov 8(%rsp), %eax
    call print64_word
    cmpl $14, (%rsp)
    jne 1f
    PUT64 '@'
    mov %cr2, %rax
    shr $12, %rax
    call print64_word
1:  movb 24(%rsp), %al
    andb $3, %al
    call print64_digit
    mov SAVED, %rsp
    jmp *RESUME

print64_byte:
    mov %eax, %ecx
    shr $4, %eax
    call print64_digit
    mov %ecx, %eax
print64_digit:
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 1f
    addb $39, %al
1:  outb %al, $0xe9
    ret
print64_word:
    push %rax
    movb %ah, %al
    call print64_byte
    pop %rax
    jmp print64_byte

long:
    mov $0x10, %eax
    mov %eax, %ss
    mov $STACK, %esp
    xor %ecx, %ecx
    mov $A(stubs64), %eax
1:  mov %ecx, %edi
    cmp $32, %ecx
    jne 2f
    mov $0x80, %edi
2:  shl $4, %edi
    mov %eax, %edx
    movw %dx, IDT64(%rdi)
    movw $0x30, IDT64+2(%rdi)
    movw $0xee00, IDT64+4(%rdi)
    shr $16, %edx
    movw %dx, IDT64+6(%rdi)
    movq $0, IDT64+8(%rdi)
    add $16, %eax
    inc %ecx
    cmp $33, %ecx
    jb 1b
    movb $1, IDT64+8*16+4 /* #DF on IST1 */
    lidt A(idtr64)
    movq $STACK, TSS+4
    movq $0x8f000, TSS+0x24
    movb $0x89, A(gdt)+0x45
    mov $0x40, %eax
    ltr %ax
    TRIAL64 'E'
    ud2
    OVER
    TRIAL64 'F'
    mov $0x800000000000, %rax
    mov (%rax), %eax
    OVER
    TRIAL64 'G'
    mov $0x800000000000, %rsp
    pop %rax
    OVER
    mov $0x10, %eax
    TRIAL64 'H'
    mov $0x8000000000000000, %rax
    jmp *%rax
    OVER
    TRIAL64 'I'
    movl $1, 0x800123
    OVER
    TRIAL64 'J'
    mov $0x400000, %eax
    jmp *%rax
    OVER
    TRIAL64 'K'
    movl $1, 0x7ffffe /* into the absent page: the first bytes stay */
    OVER
    mov 0x7ffffe, %ax
    call print64_word

    .macro USER64 where
    push $0x23
    push $USTACK
    push $0x202
    push $0x2b
    push $A(\where)
    iretq
    .endm
    TRIAL64 'L'
    USER64 l_cli
l_cli:
    cli
    OVER
    TRIAL64 'M'
    USER64 l_load
l_load:
    mov 0x600000, %eax
    OVER
    TRIAL64 'N'
    USER64 l_fetch
l_fetch:
    mov $0x400000, %eax
    jmp *%rax
    OVER
    TRIAL64 'O'
    USER64 l_int
l_int:
    int $0x80
    OVER

    /* SYSCALL and SYSRET. */
    mov $0xc0000081, %ecx
    xor %eax, %eax
    mov $0x001b0030, %edx
    wrmsr
    mov $0xc0000082, %ecx
    mov $A(sys_entry), %eax
    xor %edx, %edx
    wrmsr
    mov $0xc0000084, %ecx
    mov $0x200, %eax
    wrmsr
    TRIAL64 'P'
    USER64 l_syscall
l_syscall:
    syscall
    mov %cs, %eax
    mov %eax, %ebx
    ud2
sys_entry:
    mov %rcx, %rdx
    push %rdx
    mov %cs, %eax
    call print64_byte
    pop %rcx
    sysretq
    OVER
    mov %ebx, %eax
    call print64_byte
    TRIAL64 'Q' /* the canonical check of SYSRET comes at level 0 */
    mov $0x800000000000, %rcx
    mov $2, %r11d
    sysretq
    OVER
    TRIAL64 'R'
    USER64 l_compat
l_compat: /* to compatibility mode and into the kernel from there */
    push $0x1b
    push $A(c_code)
    lretq
    .code32
c_code:
    movl $0x23, %eax
    movl %eax, %ds
    pushl $0x12345678
    popl %ebx
    ud2
    .code64
    OVER
    TRIAL64 'S' /* a page fault whose stack is absent: double fault on IST1 */
    movq $0x800800, TSS+4
    USER64 l_double
l_double:
    mov 0x800000, %eax
    OVER
    movq $STACK, TSS+4
    TRIAL64 'T'
    mov %cr0, %rax
    and $0x7fffffff, %eax
    .globl guest_unpaging
guest_unpaging:
    mov %rax, %cr0
    OVER
    TRIAL64 'U'
    mov $0x40, %eax
    lldt %ax
    OVER
    PUT64 10
    xor %eax, %eax
    outb %al, $0xf4
1:  hlt
    jmp 1b

/* 16-bit code, copied to STUB16. */
    .code16
stub16:
v_int:
    int $0x21
v_hlt:
    hlt
r_leave: /* 16-bit protected mode: drop PE, and be in real mode with the next jump */
    movw $0x60, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr0, %eax
    andl $~1, %eax
    movl %eax, %cr0
    ljmp $STUB16 >> 4, $r_real - stub16
r_real:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7000, %sp
    movb $'B', %al
    int $0x21
    outb %al, $0xe9
    smsw %ax
    andb $1, %al
    addb $'0', %al
    outb %al, $0xe9
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $A(back)
r_handler:
    outb %al, $0xe9
    incw %ax
    iretw
stub16_end:

    .balign 16
guest_end:
    .section .note.GNU-stack, "", @progbits
