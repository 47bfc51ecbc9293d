/* picture.S - the first sector of a disk that shows something by the BIOS of the screen: what, says
 * its byte 508.  't': words; 'p': a plane of mode 0x12 through the set/reset register; 'b': 320 by
 * 200 bytes, each its place's lowest 8 bits; 'f': a frame buffer of 800 by 600 words, red and
 * green by column and row, and blue all; 'k': nothing, but each key that is typed is a line.  The first
 * serial port says "shown", or "failed". */
    .code16
    .globl _start
_start:
    ljmp $0, $begin
begin:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    cld
    movb what, %al
    cmpb $'p', %al
    je planes
    cmpb $'b', %al
    je bytes
    cmpb $'f', %al
    je frame
    cmpb $'k', %al
    je type
    movw $words, %si
1:  lodsb
    testb %al, %al
    jz shown
    movb $0x0e, %ah
    movw $0x0007, %bx
    int $0x10
    jmp 1b
type:
    cli /* the BIOS writes to that port, too, at each tick of the clock */
    movw $good, %si
    movw $0x3f8, %dx
2:  lodsb
    outb %al, %dx
    testb %al, %al
    jnz 2b
3:  sti
    xorw %ax, %ax
    int $0x16
    cli
    movw $0x3f8, %dx
    outb %al, %dx
    movb %ah, %al
    addb $0x20, %al /* the key's own code, as a character */
    outb %al, %dx
    movb $'\n', %al
    outb %al, %dx
    jmp 3b
planes:
    movw $0x0012, %ax
    int $0x10
    movw $0xa000, %ax
    movw %ax, %es
    movw $0x3ce, %dx
    movw $0x0c00, %ax /* set/reset: red and intense */
    outw %ax, %dx
    movw $0x0f01, %ax /* in all planes */
    outw %ax, %dx
    movw $0xf008, %ax /* the left half of each byte */
    outw %ax, %dx
    xorw %di, %di
    movw $38400, %cx
2:  movb %es:(%di), %al /* the latches */
    stosb
    loop 2b
    jmp shown
bytes:
    movw $0x0013, %ax
    int $0x10
    movw $0xa000, %ax
    movw %ax, %es
    xorw %di, %di
    xorw %ax, %ax
    movw $64000, %cx
3:  stosb
    incw %ax
    loop 3b
    jmp shown
frame:
    movw $0x4f01, %ax
    movw $0x0143, %cx /* SeaBIOS: 800 by 600, 32 bits */
    movw $0x9000, %di
    int $0x10
    cmpw $0x004f, %ax
    jne failed
    movw $0x4f02, %ax
    movw $0x4143, %bx
    int $0x10
    cmpw $0x004f, %ax
    jne failed
    movl 0x9028, %edi
    cli
    lgdt table
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $8, $protected
    .code32
protected:
    movw $16, %ax
    movw %ax, %es
    xorl %edx, %edx
4:  xorl %ecx, %ecx
5:  movl %edx, %eax
    shll $8, %eax
    movb $0xff, %al
    movl %ecx, %ebx
    shll $16, %ebx
    andl $0xff0000, %ebx
    andl $0xffff, %eax
    orl %ebx, %eax
    stosl
    incl %ecx
    cmpl $800, %ecx
    jne 5b
    incl %edx
    cmpl $600, %edx
    jne 4b
    movw $16, %ax
    movw %ax, %ds
    movl $good, %esi
    jmp 6f
    .code16
shown:
    movw $good, %si
    jmp say
failed:
    movw $bad, %si
say:
    cli
    movw $0x3f8, %dx
7:  lodsb
    outb %al, %dx
    testb %al, %al
    jnz 7b
    sti
8:  hlt
    jmp 8b
    .code32
6:  movw $0x3f8, %dx
9:  lodsb
    outb %al, %dx
    testb %al, %al
    jnz 9b
    hlt
    .code16
words:
    .asciz "\r\nthese words are from the first sector\r\n"
good:
    .asciz "shown\n"
bad:
    .asciz "failed\n"
    .balign 8
entries:
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table:
    .word 23
    .long entries
    .org 508
what:
    .byte 't', 0, 0x55, 0xaa
