/* guest.S - the oracle's kernel: boot to 64-bit mode, and attempts that may fault.
 *
 * Multiboot 1, as bench/cpu/kernel.S.  `attempt_kernel(code, a, b)` calls code at level
 * 0, `attempt_user(code, a, b)` at level 3 until INT 81; both give 0, or 1 where an
 * exception ended it, with `fault` = vector, error code, CR2. */
#define MAGIC     0x1badb002
#define FLAGS     3
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_DS   0x1b
#define USER_CS   0x23
#define TSS       0x28

        .section .boot, "ax"
        .code32
        .balign 4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
        .global kernel_start
kernel_start:
        cli
        cld
        movl    $stack_top, %esp
        movl    $boot_pdpt + 7, boot_pml4
        movl    $boot_pd + 7, boot_pdpt
        xorl    %ecx, %ecx
1:      movl    %ecx, %eax              /* 1 GiB, level 0 only */
        shll    $21, %eax
        orl     $0x83, %eax
        movl    %eax, boot_pd(, %ecx, 8)
        incl    %ecx
        cmpl    $512, %ecx
        jb      1b
        movl    %cr4, %eax
        orl     $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
        movl    %eax, %cr4
        movl    $boot_pml4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        movl    $0x901, %eax
        xorl    %edx, %edx
        wrmsr
        movl    %cr0, %eax
        andl    $~4, %eax
        orl     $0x80000022, %eax
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
        movl    $tss, %eax
        movw    %ax, gdt + TSS + 2
        shrl    $16, %eax
        movb    %al, gdt + TSS + 4
        movl    $TSS, %eax
        ltr     %ax
        call    kernel_main
        ud2

        .macro  keep
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushfq
        movq    %rsp, resume
        .endm

        .global attempt_kernel
attempt_kernel:
        keep
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        call    *%rax
        xorl    %edx, %edx
        jmp     back
        .global attempt_user
attempt_user:
        keep
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        pushfq
        popq    %rcx
        pushq   $USER_DS
        pushq   $0x40001f00
        pushq   %rcx
        pushq   $USER_CS
        pushq   %rax
        iretq
/* rdx: 0 or 1; rax: what the code left there. */
back:
        movq    resume, %rsp
        movl    $KERNEL_DS, %ecx
        movl    %ecx, %ss
        movl    %ecx, %ds
        movl    %ecx, %es
        movq    %rax, left
        movl    %edx, %eax
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .global gate_81
gate_81:
        xorl    %edx, %edx
        jmp     back

        .balign 16
        .global gates
gates:
        vector = 0
        .rept   32
        .balign 16
        .if     (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
        .else
        pushq   $0
        .endif
        pushq   $vector
        jmp     caught
        vector = vector + 1
        .endr
caught:
        popq    fault
        popq    fault + 8
        pushq   %rax
        movq    %cr2, %rax
        movq    %rax, fault + 16
        popq    %rax
        movl    $1, %edx
        jmp     back

/* What is attempted; copied to a page of level 3, too: no addresses of its own. */
        .balign 16
        .global code_read, code_write, code_jump, code_end
code_read:
        movzbl  (%rdi), %eax
        testq   %rsi, %rsi
        jz      1f
        int     $0x81
1:      ret
        .balign 16
code_write:
        movb    %sil, 7(%rdi)
        testq   %rsi, %rsi
        jz      1f
        int     $0x81
1:      ret
        .balign 16
code_jump:
        testq   %rsi, %rsi
        jz      1f
        jmp     *%rdi
1:      call    *%rdi
        ret
code_end:

        .macro  probe name, code:vararg
        .global \name
        .balign 16
\name:
        \code
        ret
        .endm
        .macro  selector name, insn
        .global code_\name
        .balign 16
code_\name:
        movl    $0x5a5a, %eax
        \insn
        setz    %dl
        movzbl  %dl, %edx
        shlq    $32, %rdx
        orq     %rdx, %rax
        ret
        .endm
        selector lar, "lar %edi, %eax"
        selector lsl, "lsl %edi, %eax"
        selector verr, "verr %di"
        selector verw, "verw %di"
        selector ds, "movl %edi, %ds"
        selector ss, "movl %edi, %ss"
        selector lldt, "lldt %di"
        probe   code_wrmsr, movl %edi, %ecx; movl %esi, %eax; shrq $32, %rsi; movl %esi, %edx; wrmsr
        probe   code_rdmsr, movl %edi, %ecx; rdmsr; shlq $32, %rdx; orq %rdx, %rax
        probe   code_cr0, movq %rdi, %cr0
        probe   code_cr4, movq %rdi, %cr4
        probe   code_cr3, movq %rdi, %cr3
        probe   code_dr7, movq %rdi, %dr7
        probe   code_dr6, movq %rdi, %dr6
        .global code_iret
        .balign 16
code_iret:                              /* rdi: CS | SS << 16 | flags << 32 */
        movq    %rsp, %rcx
        movl    %edi, %eax
        shrl    $16, %eax
        pushq   %rax
        pushq   %rcx
        movq    %rdi, %rax
        shrq    $32, %rax
        pushq   %rax
        movzwl  %di, %eax
        pushq   %rax
        leaq    1f(%rip), %rax
        pushq   %rax
        iretq
1:      pushfq
        popq    %rax
        ret

        .data
        .balign 16
        .global gdt
gdt:    .quad   0
        .quad   0x00af9b000000ffff
        .quad   0x00cf93000000ffff
        .quad   0x00cff3000000ffff
        .quad   0x00affb000000ffff
        .quad   0x0000890000000067
        .fill   11, 8, 0                /* 30: .. 80: for the tests */
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .quad   gdt
        .balign 16
tss:    .long   0
        .quad   trap_stack_top
        .fill   0x66 - 12, 1, 0
        .word   0x68
        .global fault, left
fault:  .quad   0, 0, 0
left:   .quad   0
resume: .quad   0

        .bss
        .balign 4096
        .global boot_pml4, boot_pdpt
boot_pml4:
        .skip   4096
boot_pdpt:
        .skip   4096
boot_pd:
        .skip   4096
        .skip   4096
trap_stack_top:
        .skip   16384
stack_top:
        .section .note.GNU-stack, "", @progbits
