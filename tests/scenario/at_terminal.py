#!/usr/bin/env python3
"""at_terminal.py COMMAND... - run a command on a terminal, as a person would.

Steps come on standard input, one a line: `expect TEXT`, `send TEXT` (\\r, \\x10
as in Python), `size ROWS COLUMNS`.  All that the command wrote is printed; the
exit code is the command's, or 99 when an expected text did not come.
"""
import codecs
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

PATIENCE_SECONDS = 15


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_until(fd, text, seen):
    """Read until `text` (b"": the end) has come; what is behind it, None: never."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not text or text not in seen:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            return None
        try:
            more = os.read(fd, 65536)
        except OSError:
            more = b""
        if not more:
            return seen if not text else None
        sys.stdout.buffer.write(more)
        seen += more
    return seen.split(text, 1)[1]


def main():
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    set_size(fd, 24, 80)
    seen = b""
    for step in sys.stdin.read().splitlines():
        word, _, rest = step.partition(" ")
        if word == "send":
            os.write(fd, codecs.decode(rest, "unicode_escape").encode("latin-1"))
        elif word == "size":
            set_size(fd, *map(int, rest.split()))
        elif word == "expect":
            seen = read_until(fd, rest.encode(), seen)
            if seen is None:
                print(f"\nat_terminal.py: '{rest}' did not come", flush=True)
                os.kill(pid, 9)
                sys.exit(99)
    if read_until(fd, b"", seen) is None:
        os.kill(pid, 9)
        sys.exit(99)
    sys.stdout.flush()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
