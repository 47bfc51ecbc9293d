"""picture.py text PICTURE ROM - the characters of a picture of 9 by 16 dots each, by the font of a BIOS;
picture.py colors PICTURE - how large it is, and its colors, the most frequent first.
What is wrong with a file that calls itself PNG is an error."""

import struct
import sys
import zlib
from collections import Counter


def rows(path):
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG"
    at, packed, last = 8, b"", b""
    while at < len(data):
        length, last = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(last + body), "a wrong sum"
        if last == b"IHDR":
            width, height, bits, kind, pack, filters, lace = struct.unpack(">IIBBBBB", body)
            assert (bits, kind, pack, filters, lace) == (8, 2, 0, 0, 0)
        elif last == b"IDAT":
            packed += body
        at += 12 + length
    assert last == b"IEND" and at == len(data), "it is cut"
    raw = zlib.decompress(packed)
    assert len(raw) == height * (1 + 3 * width)
    above = bytes(3 * width)
    found = []
    for y in range(height):
        line = raw[y * (1 + 3 * width) : (y + 1) * (1 + 3 * width)]
        assert line[0] in (0, 2)
        row = bytes(line[1:]) if line[0] == 0 else bytes((a + b) & 255 for a, b in zip(line[1:], above))
        found.append([row[i : i + 3] for i in range(0, 3 * width, 3)])
        above = row
    return found


def text(path, rom):
    picture = rows(path)
    code = open(rom, "rb").read()
    first = code.index(bytes.fromhex("00007e81a58181bd9981817e00000000")) - 16  # of character 1
    glyphs = {code[first + 16 * c : first + 16 * c + 16]: chr(c) for c in range(255, 31, -1)}
    for top in range(0, len(picture) - 15, 16):
        line = ""
        for left in range(0, len(picture[0]) - 8, 9):
            cell = [row[left : left + 8] for row in picture[top : top + 16]]
            paper = picture[top][left + 8]
            glyph = bytes(sum((p != paper) << (7 - i) for i, p in enumerate(row)) for row in cell)
            line += glyphs.get(glyph, "?")
        print(line.rstrip())


if __name__ == "__main__":
    if sys.argv[1] == "text":
        text(sys.argv[2], sys.argv[3])
    else:
        picture = rows(sys.argv[2])
        print(f"{len(picture[0])}x{len(picture)}")
        for color, n in Counter(p for row in picture for p in row).most_common(8):
            print(f"{color.hex()} {n}")
