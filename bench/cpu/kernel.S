/* kernel.S - the smallest kernel that runs one Linux program: boot, gates, ways in.
 *
 * Multiboot 1 (Multiboot specification 0.6.96, 3.1 and 3.2) starts us in flat 32-bit
 * mode without paging.  From there: page tables of 2 MiB pages, long mode (Intel SDM
 * 3A, 9.8.5), then `kernel_main`.  Linked at 1 MiB, below 4 MiB as a whole. */
#define MAGIC      0x1badb002
#define FLAGS      3 /* modules on page borders, memory map */
#define KERNEL_CS  0x08
#define KERNEL_DS  0x10
#define USER_DS    0x1b
#define USER_CS    0x23
#define TSS        0x28
#define USER_CS_32 0x3b

#define CR0_PG_NE_MP 0x80000022
#define CR0_EM       0x00000004
#define CR4_PAE      0x00000020
#define MSR_EFER     0xc0000080
#define EFER         0x00000901 /* SCE, LME, NXE */

        .section .boot, "ax"
        .code32
        .balign 4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)

        .global kernel_start
kernel_start:
        cli
        cld
        movl    $stack_top, %esp
        movl    %ebx, %edi              /* what the loader says, for kernel_main */

        movl    $boot_pdpt + 3, boot_pml4
        movl    $boot_pdpt + 3, boot_pml4 + 256 * 8
        movl    $boot_pd + 3, boot_pdpt
        xorl    %ecx, %ecx
1:      movl    %ecx, %eax              /* 512 pages of 2 MiB */
        shll    $21, %eax
        orl     $0x83, %eax
        movl    %eax, boot_pd(, %ecx, 8)
        incl    %ecx
        cmpl    $512, %ecx
        jb      1b

        movl    %cr4, %eax
        orl     $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    $boot_pml4, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        movl    $EFER, %eax
        xorl    %edx, %edx
        wrmsr
        movl    %cr0, %eax
        andl    $~CR0_EM, %eax
        orl     $CR0_PG_NE_MP, %eax
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $KERNEL_CS, $long_mode

        .code64
        .text
long_mode:
        movl    $KERNEL_DS, %eax
        movl    %eax, %ss
        movl    %eax, %ds
        movl    %eax, %es
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        movq    $stack_top, %rsp
        movl    $tss, %eax              /* its base, into the descriptor */
        movw    %ax, gdt_tss + 2
        shrl    $16, %eax
        movb    %al, gdt_tss + 4
        movl    $TSS, %eax
        ltr     %ax
        movl    %edi, %edi
        call    kernel_main
        ud2

/* kernel_enter(rip, rsp): to ring 3 with empty registers. */
        .global kernel_enter
kernel_enter:
        movl    $USER_CS, %edx
        jmp     enter
/* kernel_enter_32(rip, rsp): the same in compatibility mode. */
        .global kernel_enter_32
kernel_enter_32:
        movl    $USER_CS_32, %edx
        movl    $USER_DS, %eax          /* segments count there */
        movl    %eax, %ds
        movl    %eax, %es
enter:
        pushq   $USER_DS
        pushq   %rsi
        pushq   $0x2
        pushq   %rdx
        pushq   %rdi
        xorl    %eax, %eax
        xorl    %ebx, %ebx
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        xorl    %esi, %esi
        xorl    %edi, %edi
        xorl    %ebp, %ebp
        xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        xorl    %r10d, %r10d
        xorl    %r11d, %r11d
        xorl    %r12d, %r12d
        xorl    %r13d, %r13d
        xorl    %r14d, %r14d
        xorl    %r15d, %r15d
        iretq

/* SYSCALL: one processor, no interrupts, so the program's stack pointer may wait in
 * memory.  number rax, arguments rdi rsi rdx; all but rax, rcx, r11 come back. */
        .global kernel_syscall
kernel_syscall:
        movq    %rsp, user_rsp
        movq    $stack_top, %rsp
        pushq   user_rsp
        pushq   %rcx
        pushq   %r11
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %r8
        pushq   %r9
        pushq   %r10
        subq    $8, %rsp
        movq    %rdx, %rcx
        movq    %rsi, %rdx
        movq    %rdi, %rsi
        movq    %rax, %rdi
        call    kernel_call
        addq    $8, %rsp
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdx
        popq    %rsi
        popq    %rdi
        popq    %r11
        popq    %rcx
        popq    %rsp
        sysretq

/* INT 80 of 32-bit programs: number eax, arguments ebx ecx edx; all but eax come back. */
        .global kernel_int80
kernel_int80:
        pushq   %rbx
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %rbp
        cld
        movl    %eax, %edi
        movl    %ebx, %esi
        xchgl   %ecx, %edx              /* edx was the third, ecx the second */
        call    kernel_call_32
        popq    %rbp
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rbx
        iretq

/* Page fault, from a program: it goes on at the same instruction, or not at all. */
        .global kernel_page
kernel_page:
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        subq    $8, %rsp
        cld
        movq    80(%rsp), %rdi          /* error code */
        movq    88(%rsp), %rsi          /* rip */
        movq    %cr2, %rdx
        call    kernel_page_fault
        addq    $8, %rsp
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        addq    $8, %rsp
        iretq

/* A gate for each of the 32 exceptions, 16 bytes each. */
        .balign 16
        .global kernel_gates
kernel_gates:
        vector = 0
        .rept   32
        .balign 16
        .if     (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
        .else
        pushq   $0
        .endif
        pushq   $vector
        jmp     fault
        vector = vector + 1
        .endr
fault:
        popq    %rdi                    /* vector */
        popq    %rsi                    /* error code */
        movq    (%rsp), %rdx            /* rip */
        movq    %cr2, %rcx
        andq    $-16, %rsp
        call    kernel_fault

        .data
        .balign 16
gdt:    .quad   0
        .quad   0x00af9b000000ffff      /* 08 kernel code */
        .quad   0x00cf93000000ffff      /* 10 kernel data; SYSRET counts from here */
        .quad   0x00cff3000000ffff      /* 18 program's data */
        .quad   0x00affb000000ffff      /* 20 program's code */
gdt_tss:.quad   0x0000890000000067      /* 28 */
        .quad   0
        .quad   0x00cffb000000ffff      /* 38 program's code, 32 bits */
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .quad   gdt

        .balign 16
tss:    .long   0
        .quad   fault_stack_top         /* RSP0 */
        .fill   0x66 - 12, 1, 0
        .word   0x68                    /* no map of ports */

        .bss
user_rsp:
        .skip   8
        .balign 4096
        .global boot_pml4
boot_pml4:
        .skip   4096
boot_pdpt:
        .skip   4096
boot_pd:
        .skip   4096
        .skip   8192
fault_stack_top:
        .skip   16384
stack_top:
        .section .note.GNU-stack, "", @progbits
