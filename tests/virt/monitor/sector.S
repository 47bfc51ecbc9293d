/* sector.S - the first sector of a disk: a BIOS loads it to 0x7c00, in real mode.  It asks the BIOS for
 * its memory map, reads the second sector through it, prints what it got to the first serial port and
 * ends by the debug-exit port; a second run of the same machine first resets it once by port 0xcf9. */
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    ljmp $0, $begin
begin:
    cld
    movb %dl, drive
    movw $hello, %si
    call print
    movb drive, %dl
    movb $0x42, %ah /* extended read */
    movw $packet, %si
    int $0x13
    jc failed
    movw $0x8000, %si
    call print
    movl $0xe820, %eax /* how much memory is there */
    xorl %ebx, %ebx
    movl $24, %ecx
    movl $0x534d4150, %edx
    movw $0x9000, %di
    int $0x15
    jc failed
    cmpl $0x534d4150, %eax
    jne failed
    movw $map, %si
    call print
    movb $0x4f, %al /* a byte of the clock's memory stays over a reset */
    outb %al, $0x70
    inb $0x71, %al
    cmpb $0x5a, %al
    je ended
    movb $0x4f, %al
    outb %al, $0x70
    movb $0x5a, %al
    outb %al, $0x71
    movw $0xcf9, %dx
    movb $6, %al
    outb %al, %dx
ended:
    movb $0x21, %al
    outb %al, $0xf4
failed:
    movb $1, %al
    outb %al, $0xf4
1:  hlt
    jmp 1b

print:
    movw $0x3f8, %dx
2:  lodsb
    testb %al, %al
    jz 3f
    outb %al, %dx
    jmp 2b
3:  ret

hello: .asciz "the first sector runs\r\n"
map:   .asciz "there is a memory map\r\n"
    .balign 4
packet:
    .byte 16, 0
    .word 1, 0x8000, 0
    .quad 1
drive: .byte 0
    .org 510
    .word 0xaa55
    .asciz "the second sector was read\r\n"
    .org 1024
