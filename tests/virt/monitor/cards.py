"""cards.py KIND USERNET MACHINE... - the host's side of cards.sh, in a network namespace of its own.

KIND: tap, frames, vsock, balloon (watches the machine's memory), port,
or none.  Opens the network or the sockets, serves echoes, runs the machine with --net or
--vsock, and gives its exit code."""
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454ca, 2, 0x1000, 0x4000


def echo(s):
    while data := s.recv(1 << 16):
        s.sendall(data)


def echo_stream(server):
    while True:
        peer, _ = server.accept()

        def serve(s):
            while data := s.recv(1 << 16):
                s.sendall(data)
            s.close()
        threading.Thread(target=serve, args=(peer,), daemon=True).start()


def echo_datagrams(s):
    while True:
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)


def serve(address):
    tcp = socket.create_server((address, 9000))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, 9001))
    threading.Thread(target=echo_stream, args=(tcp,), daemon=True).start()
    threading.Thread(target=echo_datagrams, args=(udp,), daemon=True).start()


def ip(words):
    subprocess.run(['ip', *words.split()], check=True)


def open_tap():
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', b'tap0', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    ip('address add 10.0.2.2/24 dev tap0')
    ip('link set tap0 up')
    return fd


def open_frames(usernet):
    ip('link add up0 type veth peer name up1')
    ip('link set up1 up')
    ip('address add 192.0.2.1/24 dev up0')
    ip('link set up0 up')
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen([usernet, f'--frames={theirs.fileno()}'], pass_fds=[theirs.fileno()], env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
    theirs.close()
    return ours.detach()


def open_sockets(directory):
    """A program comes by the entrance and talks to port 1 of the guest."""
    entrance = socket.socket(socket.AF_UNIX)
    entrance.bind(f'{directory}/entrance')
    entrance.listen()
    visitor = threading.Thread(target=visit, args=(f'{directory}/entrance',), daemon=True)
    visitor.start()
    return entrance.detach(), visitor


def resident_mib(pid):
    with open(f'/proc/{pid}/status') as f:
        return next(int(line.split()[1]) // 1024 for line in f if line.startswith('VmRSS'))


def watch(command):
    """The machine's own memory when the guest says that it has touched some, and that it freed it."""
    touched = 0
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        print(line, end='', flush=True)
        if 'balloon: touched' in line:
            touched = resident_mib(p.pid)
        elif 'balloon: freed' in line:
            back = touched - resident_mib(p.pid)
            print('host:', 'most of it is back' if back > 64 else f'FAILED: {back} of {touched} MiB are back')
    return p.wait()


def enter(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.sendall(b'CONNECT 1\n')
    try:
        said = s.recv(3)
    except ConnectionResetError:
        said = b''
    return s if said == b'OK\n' else None


def visit(path):
    data, got = os.urandom(1 << 20), b''
    for _ in range(600):
        if s := enter(path):
            break
        time.sleep(0.1)
    else:
        print('host: FAILED: the guest does not listen')
        return
    threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)), daemon=True).start()
    while more := s.recv(1 << 16):
        got += more
    print('host: the guest echoes', 'right' if got == data else f'FAILED: {len(got)} bytes', flush=True)


kind, usernet, *machine = sys.argv[1:]
fds = []
ip('link set lo up')
if kind == 'tap':
    fds = [open_tap()]
elif kind == 'frames':
    fds = [open_frames(usernet)]
elif kind == 'port':
    ours, theirs = socket.socketpair()
    fds = [theirs.detach()]
    threading.Thread(target=echo, args=(ours,), daemon=True).start()
    machine += ['--port', f'name=org.strata.test,fd={fds[0]}']
elif kind == 'vsock':
    directory = tempfile.TemporaryDirectory()
    *fds, visitor = open_sockets(directory.name)
    machine += ['--vsock', f'cid=77,listen={fds[0]}']
if kind in ('tap', 'frames'):
    serve('0.0.0.0')
    machine += ['--net', f'{kind}={fds[0]},mac=52:54:00:aa:bb:cc']
if kind == 'balloon':
    sys.exit(watch(machine))
code = subprocess.run(machine, pass_fds=fds, stdin=subprocess.DEVNULL, timeout=150).returncode
if kind == 'vsock':
    visitor.join(10)
sys.exit(code)
