#!/usr/bin/python3
"""A proxy that cuts the first COUNT connections that send more than 1 MiB, at that point.

cutter.py PORT COUNT.  Prints its port twice; GET /stats answers how often it cut.
Ends when standard input closes.
"""
import json, os, socket, sys, threading

MiB = 1 << 20
port, left = int(sys.argv[1]), int(sys.argv[2])
cuts = 0
lock = threading.Lock()


def close(*socks):
    for s in socks:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def pump(a, b, counted):
    global left, cuts
    sent = 0
    try:
        while True:
            data = a.recv(65536)
            if not data:
                break
            sent += len(data)
            if counted and sent > MiB:
                with lock:
                    cut = left > 0
                    left -= cut
                    cuts += cut
                if cut:
                    break
                sent = -(1 << 60)
            b.sendall(data)
    except OSError:
        pass
    close(a, b)


def serve(client):
    head = client.recv(65536, socket.MSG_PEEK)
    if head.startswith(b"GET /stats "):
        body = json.dumps({"cuts": cuts}).encode()
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return close(client)
    server = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=pump, args=(server, client, False), daemon=True).start()
    pump(client, server, True)


listener = socket.create_server(("127.0.0.1", 0))


def accept():
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
own = listener.getsockname()[1]
print(own, own, flush=True)
sys.stdin.read()
os._exit(0)
