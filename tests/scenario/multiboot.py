#!/usr/bin/env python3
"""multiboot.py FILE WORD... - a multiboot kernel that does what the words say, one after the other.

    say:TEXT   print on the first serial port      echo:C   print what is typed, until a C comes
    exit:N     write N to the debug-exit port      off      switch off by ACPI
    button     wait for the power button           panic    tell it by pvpanic
    fault      a triple fault                      reset    by the keyboard controller
    spin       never end                           rest     halt for ever, interrupts disabled
    fill:N     touch N megabytes behind the first 16
    ticks:N    print N dots, one each 67 ms of the guest's own time (2^26 of its time-stamp counter)
    in:PORT    read a byte of that port             load:ADDRESS  read four bytes there
    count:N    count down from N million: twice as many instructions
    sum:N      print the sum of the words of those megabytes, in hexadecimal

The head: Multiboot specification 0.6.96, 3.1 (with addresses); code is 32-bit.
"""
import struct
import sys

AT = 0x100000
PM = 0x600  # ACPI: status 2 bytes, enable 2, control 2
SLEEP = 0x2000 | 5 << 10


def out8(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value & 255]) + b"\xee"


def word(text, here):
    name, _, arg = text.partition(":")
    if name == "say":
        return b"".join(out8(0x3F8, c) for c in (arg.replace("\\n", "\n")).encode())
    if name == "exit":
        return b"\xb8" + struct.pack("<I", int(arg)) + b"\x66\xba\xf4\x00\xef"
    if name == "echo":
        # 1: in 0x3fd; test 1; jz 1b; in 0x3f8; cmp al, C; je 2f; out; jmp 1b; 2:
        return (b"\x66\xba\xfd\x03\xec\xa8\x01\x74\xf7\x66\xba\xf8\x03\xec\x3c" + arg.encode()[:1] +
                b"\x74\x03\xee\xeb\xeb")
    if name == "off":
        return b"\x66\xba" + struct.pack("<H", PM + 4) + b"\x66\xb8" + struct.pack("<H", SLEEP) + b"\x66\xef"
    if name == "button":
        # 1: in ax, PM; test ah, 1; jz 1b
        return b"\x66\xba" + struct.pack("<H", PM) + b"\x66\xed\xf6\xc4\x01\x74\xf9"
    if name == "panic":
        return out8(0x505, 1)
    if name == "fault":
        return b"\x0f\x01\x1d" + struct.pack("<I", AT + 0x28) + b"\xcc"  # lidt of zeros; int3
    if name == "reset":
        return out8(0x64, 0xFE)
    if name == "spin":
        return b"\xeb\xfe"
    if name == "rest":
        return b"\xfa\xf4\xeb\xfc"
    if name == "fill":
        # mov edi, 16M; mov ecx, N * 256; 1: mov [edi], edi; add edi, 4096; loop 1b
        return (b"\xbf" + struct.pack("<I", 16 << 20) + b"\xb9" + struct.pack("<I", int(arg) * 256) +
                b"\x89\x3f\x81\xc7\x00\x10\x00\x00\xe2\xf6")
    if name == "ticks":
        # rdtsc; shrd eax, edx, 26; mov ebx, eax; mov ecx, N
        # 1: rdtsc; shrd eax, edx, 26; sub eax, ebx; jz 1b; inc ebx; out '.'; loop 1b
        return (b"\x0f\x31\x0f\xac\xd0\x1a\x89\xc3\xb9" + struct.pack("<I", int(arg)) +
                b"\x0f\x31\x0f\xac\xd0\x1a\x29\xd8\x74\xf6\x43" + out8(0x3F8, ord(".")) + b"\xe2\xec")
    if name == "in":
        return b"\x66\xba" + struct.pack("<H", int(arg, 0)) + b"\xec"
    if name == "load":
        return b"\xa1" + struct.pack("<I", int(arg, 0))
    if name == "count":
        return b"\xb9" + struct.pack("<I", int(arg) * 1000000) + b"\x49\x75\xfd"
    if name == "sum":
        # mov esi, 16M; mov ecx, N << 18; xor ebx, ebx; 1: lodsd; add ebx, eax; loop 1b
        # mov ecx, 8; 2: rol ebx, 4; mov al, bl; and al, 15; add al, '0'; cmp al, '9'; jbe 3f; add al, 39
        # 3: out; loop 2b
        return (b"\xbe" + struct.pack("<I", 16 << 20) + b"\xb9" + struct.pack("<I", int(arg) << 18) +
                b"\x31\xdb\xad\x01\xc3\xe2\xfb\xb9\x08\x00\x00\x00" +
                b"\xc1\xc3\x04\x88\xd8\x24\x0f\x04\x30\x3c\x39\x76\x02\x04\x27\x66\xba\xf8\x03\xee\xe2\xea")
    sys.exit(f"multiboot.py: there is no word '{name}'")


def main():
    code = b""
    for text in sys.argv[2:]:
        code += word(text, len(code))
    flags = 1 << 16
    magic = 0x1BADB002
    head = struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFFFFFF)
    head += struct.pack("<IIIII", AT, AT, 0, 0, AT + 0x30)  # header, load, load end, bss end, entry
    head = head.ljust(0x30, b"\0")
    with open(sys.argv[1], "wb") as f:
        f.write(head + code + b"\xfa\xf4\xeb\xfc")


main()
