/* boot.S - a boot sector that reads and writes its disk through the firmware.
 *
 * It reads 8 KiB from sector 8, adds 1 to each byte, writes them to sector 64, and says O or F
 * on the firmware's debug port; then QEMU ends.  The driver is the firmware's. */
        .code16
        .globl _start
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        movb    %dl, drive
        movw    $packet, %si
        movb    $0x42, %ah              /* extended read */
        int     $0x13
        jc      failed
        movw    $0x1000, %ax
        movw    %ax, %es
        xorw    %di, %di
        movw    $8192, %cx
1:      incb    %es:(%di)
        incw    %di
        loop    1b
        movl    $64, packet + 8
        movw    $packet, %si
        movw    $0x4300, %ax            /* extended write */
        movb    drive, %dl
        int     $0x13
        jc      failed
        movb    $'O', %al
        jmp     out
failed: movb    $'F', %al
out:    outb    %al, $0xe9
        outb    %al, $0xf4              /* isa-debug-exit */
        hlt
drive:  .byte   0
        .align  4
packet: .byte   16, 0
        .word   16                      /* sectors */
        .word   0, 0x1000               /* to 0x10000 */
        .quad   8                       /* from here */
        .org    510
        .word   0xaa55
