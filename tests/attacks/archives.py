"""Zip and safetensors files with inconsistent headers, and config texts."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile

from attacks import pickles as p

Parts = dict[str, bytes]


def archive(pickled: bytes, data: Parts | None = None, method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A file in the layout of ``torch.save``; keywords are additional members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as members:
        members.writestr("a/data.pkl", pickled)
        for key, content in (p.DATA if data is None else data).items():
            members.writestr(f"a/data/{key}", content)
        for key, content in {"version": b"3\n", **more}.items():
            members.writestr(f"a/{key}", content)
    return out.getvalue()


PLAIN = p.checkpoint(p.fields(w=p.tensor()), p.fields(epoch=p.number(1)))


def members_of(content: bytes) -> tuple[list[int], list[int], int]:
    """Offsets of the local headers, the entries of the central directory, and its end record."""
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        local = [info.header_offset for info in members.infolist()]
    end = content.rindex(b"PK\x05\x06")
    place, central = struct.unpack_from("<I", content, end + 16)[0], []
    while content[place : place + 4] == b"PK\x01\x02":
        central.append(place)
        place += 46 + sum(struct.unpack_from("<HHH", content, place + 28))
    return local, central, end


LOCAL = {"version": (4, "H"), "flags": (6, "H"), "method": (8, "H"), "crc": (14, "I"), "compressed": (18, "I")}
LOCAL |= {"size": (22, "I"), "name length": (26, "H"), "extra length": (28, "H")}
CENTRAL = {"version": (6, "H"), "flags": (8, "H"), "method": (10, "H"), "crc": (16, "I"), "compressed": (20, "I")}
CENTRAL |= {"size": (24, "I"), "name length": (28, "H"), "extra length": (30, "H"), "comment length": (32, "H")}
CENTRAL |= {"disk": (34, "H"), "offset": (42, "I")}
END = {"disk": (4, "H"), "entries here": (8, "H"), "entries": (10, "H"), "size": (12, "I"), "offset": (16, "I")}
END |= {"comment length": (20, "H")}
NAMES = ["../../../etc/x", "/etc/x", "a/../a/data.pkl", "a/data.pkl", "a/constants.pkl", "a/code/x.py", "a/data/0", ""]
NAMES += ["b/data.pkl", "a/.format_version", "a/byteorder", "a/\x1b[2J\n", "x" * 60000, "a/.data/serialization_id"]


def crafted_zip(chance: random.Random) -> bytes:
    """A zip file with a random choice of unusual members and methods, wrong numbers, added or missing bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as members:
        entries = [("a/data.pkl", PLAIN), *((f"a/data/{key}", content) for key, content in p.DATA.items())]
        entries.append(("a/version", b"3\n"))
        for _ in range(chance.choice([0, 0, 1, 2])):
            content = chance.choice([PLAIN, b"", b"big", b"1", bytes(1000), b"\xff"])
            entries.insert(chance.randrange(len(entries) + 1), (chance.choice(NAMES), content))
        if chance.random() < 0.2:
            entries = [entry for entry in entries if entry[0] != chance.choice(entries)[0]]
        for name, content in entries:
            method = chance.choice(
                [zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
            )
            info = zipfile.ZipInfo(name.replace("\0", ""))
            info.compress_type = method
            if chance.random() < 0.1:
                info.extra = struct.pack("<HH", chance.choice([1, 0x5455, 0x7075]), 8) + bytes(8)
            with members.open(info, "w", force_zip64=chance.random() < 0.1) as file:
                file.write(content)
        members.comment = b"c" * chance.choice([0, 0, 0, 10, 65535])
    content = bytearray(out.getvalue())
    local, central, end = members_of(bytes(content))
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        place, fields = chance.choice([(chance.choice(local), LOCAL), (chance.choice(central), CENTRAL), (end, END)])
        offset, kind = fields[chance.choice(sorted(fields))]
        most = (1 << 8 * struct.calcsize(kind)) - 1
        struct.pack_into(
            "<" + kind, content, place + offset, chance.choice([0, 1, 8, 16, 100, most // 2 + 1, most, most - 1])
        )
    kind = chance.randrange(8)
    if kind == 0:
        content = bytearray(chance.choice([b"x", bytes(100), b"PK\x03\x04"])) + content
    elif kind == 1:
        content += chance.choice([b"x", bytes(100), content[end:], content[:64]])
    elif kind == 2:
        del content[chance.randrange(len(content)) :]
    elif kind == 3:
        start = chance.randrange(len(content))
        del content[start : start + chance.randrange(1, 40)]
    return bytes(content)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with bytes replaced, deleted, duplicated or truncated."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place, kind = chance.randrange(len(content)), chance.randrange(5)
        if kind == 0:
            content[place] = chance.randrange(256)
        elif kind == 1:
            del content[place : place + chance.randrange(1, 9)]
        elif kind == 2:
            content[place:place] = content[chance.randrange(len(content)) :][: chance.randrange(1, 33)]
        elif kind == 3:
            content[place:place] = bytes([chance.choice(b"cRoib}q)t\x93\x81\x85\x86\x87]e(0.NQJX\x8ahrj")])
        else:
            content[place] ^= 1 << chance.randrange(8)
        content = content or bytearray(b".")
    return bytes(content)


# ---------------------------------------------------------------------------------------------------
# safetensors
# ---------------------------------------------------------------------------------------------------

KINDS = [
    "F32",
    "F64",
    "I64",
    "BOOL",
    "F8_E4M3",
    "F8_E8M0",
    "F4",
    "F6_E2M3",
    "C64",
    "U16",
    "x",
    "",
    "BF16",
    "F16",
    "U64",
]
ABOUT = [
    {},
    {"format": "gfl_plugin.weights.2"},
    {"format": "gfl_plugin.weights.1"},
    {"format": "pt"},
    {"sha256": "0" * 64},
]
ABOUT += [{"format": "\x1b[2J"}, {"format": 3}, {"x": None}, {"a": ["b"]}, "text", {"format": "gfl_plugin.weights.99"}]


def crafted_safetensors(chance: random.Random) -> bytes:
    """A safetensors file with a random choice of bad offsets, unusual types, duplicate keys, and a wrong header."""
    body = bytes(chance.randrange(256) for _ in range(64))
    entries = []
    for number in range(chance.choice([0, 1, 1, 2, 3])):
        shape = chance.choice(
            [[4], [2, 2], [], [0], [0, 2**62], [2**32, 2**32], [-1], [2**63], [1.5], "x", [16], [1] * 200]
        )
        first = chance.choice([0, 0, 16, 32, 2**63, -1])
        last = chance.choice([16, 16, 32, 48, 64, 0, 2**64, 2**40])
        name = chance.choice([f"w{number}", "w", "__metadata__", "\x1b[2J", "\ud800", "é", ""])
        entries.append(
            (name, {"dtype": chance.choice(KINDS[:1] * 9 + KINDS), "shape": shape, "data_offsets": [first, last]})
        )
    if chance.random() < 0.8:
        entries.insert(chance.randrange(len(entries) + 1), ("__metadata__", chance.choice(ABOUT)))
    header = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in entries) + "}"
    content = header.encode() + b" " * (-len(header) % 8)
    kind = chance.randrange(12)
    if kind == 0:
        content = chance.choice(
            [b"[" * 5000, b"\xff" * 16, b"", b"null", b"{" * 100_000, content * 2, b"\xef\xbb\xbf" + content]
        )
    length = len(content) if kind != 1 else chance.choice([0, 1, 2**20, 2**31, 2**63, 2**64 - 1, len(content) + 64])
    content = struct.pack("<Q", length) + content + body[: chance.choice([64, 64, 16, 32, 48, 0])]
    return mutated(content, chance) if chance.random() < 0.5 else content


# ---------------------------------------------------------------------------------------------------
# Config texts
# ---------------------------------------------------------------------------------------------------

ATOMS = [
    "1",
    "-2.5",
    "None",
    "True",
    "'x'",
    "b'x'",
    "inf",
    "nan",
    "...",
    "1j",
    "0x1F",
    "x",
    "f'{x}'",
    "f'{open(1)}'",
    "1e999",
]
ATOMS += [
    "'\\N{DIGIT ONE}'",
    "'\x0c'",
    "'\u202e'",
    "''' \n '''",
    "-'x'",
    "0" * 20,
    "9" * 5000,
    "'\ud800'",
    "ｄict()",
    "r'\\'",
    "'\\q'",
]
FORMS = [
    "[{0}, {1}]",
    "({0},)",
    "{{{0}: {1}}}",
    "{{{0}, {1}}}",
    "dict(a={0}, b={1})",
    "dict({{{0}: {1}}}, c=1)",
    "-{0}",
    "{0} + {1}",
]
FORMS += [
    "{0}[{1}]",
    "{0}({1})",
    "[{0} for y in {1}]",
    "lambda: {0}",
    "{0} if {1} else 2",
    "(y := {0})",
    "*{0}",
    "dict(**{0})",
]
FORMS += [
    "{0}.y",
    "{0} < {1}",
    "not {0}",
    "await {0}",
    "dict(a={0}, a={1})",
    "{{**{0}}}",
    "({0})",
    "{0} {1}",
    "dict(type={0})",
]
LINES = [
    "a = {0}",
    "b = {0}\n",
    "_base_ = {0}",
    "a: {0} = {1}",
    "a, b = {0}",
    "del a",
    "import os",
    "if {0}: a = 1",
    "a += {0}",
]
LINES += [
    "def a(x={0}): pass",
    "class a({0}): pass",
    "@{0}\ndef a(): pass",
    "with {0}: pass",
    "{0}",
    "a = b = {0}",
    "a.b = {0}",
]
LINES += [
    "match {0}:\n case {1}: pass",
    "async def a(): await {0}",
    "global a",
    "# coding: rot13",
    "# -*- coding: utf-7 -*-",
]
LINES += [
    "custom_imports = dict(imports=[{0}])",
    "ａ = {0}",
    "a = {0};b = {1}",
    "\x0ca = {0}",
    "filename = {0}",
    "raise {0}",
]
LINES += [
    "env_variables = {0}",
    "_delete_ = {0}",
    "while {0}: pass",
    "try: pass\nexcept {0}: pass",
    "\ufeffa = {0}",
    "type = {0}",
]


def config_text(chance: random.Random) -> str:
    """Python text from a small grammar, sometimes with damage."""

    def expression(depth: int) -> str:
        if depth <= 0 or chance.random() < 0.3:
            return chance.choice(ATOMS)
        form = chance.choice(FORMS[:7] * 4 + FORMS)
        return form.format(expression(depth - 1), expression(depth - 1))

    lines = [
        chance.choice(LINES[:3] * 6 + LINES).format(expression(4), expression(2))
        for _ in range(chance.choice([1, 1, 2, 5]))
    ]
    text = "\n".join(lines)
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        place = chance.randrange(len(text) + 1)
        odd = chance.choice(
            ["\0", "\x0c", "\r", "\t", "\\", "(", "[" * 150, "{" * 90, "'", '"""', "\u2028", "\xa0", "⁡", "#", "\ud800"]
        )
        text = text[:place] + odd + text[place + chance.randrange(2) :]
    return text
