#!/usr/bin/env python3
"""without.py THING COMMAND... - run a command on a host that lacks something.

THING is userns (no user namespace can be made) or fsopen (no file system can be
mounted by descriptor).  A filter of system calls gives the errors of such a kernel:
it goes to children, and needs no change of the host."""
import ctypes
import os
import struct
import sys

LOAD, EQUAL, AND_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EINVAL, ENODEV = 22, 19
CLONE_NEWUSER = 0x10000000
CALLS = {"x86_64": {"clone": 56, "unshare": 272, "clone3": 435, "fsopen": 430},
         "aarch64": {"clone": 220, "unshare": 97, "clone3": 435, "fsopen": 430}}


def op(code, k, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, k)


def deny(nr, errno):
    return [op(EQUAL, nr, 0, 1), op(RETURN, ERRNO | errno)]


def deny_user(nr):  # the flags are the first argument
    return [op(EQUAL, nr, 0, 4), op(LOAD, 16), op(AND_SET, CLONE_NEWUSER, 0, 1),
            op(RETURN, ERRNO | EINVAL), op(LOAD, 0)]


def main():
    calls = CALLS[os.uname().machine]
    if sys.argv[1] == "userns":
        body = deny_user(calls["clone"]) + deny_user(calls["unshare"])
        body += deny(calls["clone3"], EINVAL)  # its flags cannot be seen
    else:
        body = deny(calls["fsopen"], ENODEV)
    code = b"".join([op(LOAD, 0), *body, op(RETURN, ALLOW)])
    text = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8,
                                                      ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(program), 0, 0):
        sys.exit(f"without.py: no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
