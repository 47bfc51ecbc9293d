"""Plain clients and servers for usernet_test.sh.

get URL FILE          fetch; exit code tells
ask HOST PORT TEXT    send a datagram, print the answer
echo HOST PORT        answer datagrams
"""
import socket
import sys
import urllib.request


def datagram(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.socket(family, socket.SOCK_DGRAM)


def main(verb, *words):
    if verb == "get":
        data = urllib.request.urlopen(words[0], timeout=3).read()
        with open(words[1], "wb") as f:
            f.write(data)
    elif verb == "ask":
        s = datagram(words[0])
        s.settimeout(2)
        s.connect((words[0], int(words[1])))
        s.send(words[2].encode())
        print(s.recv(65536).decode())
    elif verb == "echo":
        s = datagram(words[0])
        if ":" in words[0]:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((words[0], int(words[1])))
        while True:
            data, peer = s.recvfrom(65536)
            s.sendto(data, peer)


try:
    main(*sys.argv[1:])
except OSError as e:
    sys.exit(str(e))
