#!/usr/bin/env python3
"""Writes testdata/format/v1/*.json: known answers for every structure of docs/FORMAT.md.

Made with `cryptography` alone, never with kmsfs; the output is reproducible byte for byte. Every case is also read
back by decode.py and must give what it says, so that the two Python halves hold each other. README.md beside this
file explains the fields. usage: make_vectors.py [--check]  (check: differ from the files -> exit code 1)
"""

import hashlib
import json
import os
import struct
import sys

import decode
import encode as e
import primitives as p
from decode import FIRST_PAYLOAD, HEADER, PAGE, PAYLOAD

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {}


def pattern(length, step=7):
    """Plaintext of the vectors: byte i is step*i mod 256."""
    return bytes(step * i % 256 for i in range(length))


def trim(data):
    """Hex without the zeros at the end: readers pad to the length that the structure has."""
    return data.rstrip(b"\0").hex()


def patch(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def flip(data, at, bit=1):
    return patch(data, at, bytes([data[at] ^ bit]))


def expect(error, read):
    """Runs the decoder on a case and compares how it ends."""
    try:
        read()
        ended = None
    except decode.Wrong as wrong:
        ended = wrong.kind
    assert ended == error, f"expected {error}, the decoder says {ended}"


def put(path, section, about, **content):
    FILES[path] = {"about": about, "section": section} | content


# -- section 10 ----------------------------------------------------------------------------------------


def keys():
    labels = [f"kmsfs v1 file {k}" for k in p.FILE_KEYS] + [f"kmsfs v1 volume {k}" for k in p.VOLUME_KEYS]
    put(
        "kdf",
        "10.1, 10.2",
        "Keys of a file and of a volume, and every label.",
        data_key=e.DATA_KEY.hex(),
        file_id=e.FILE_ID.hex(),
        file={k: v.hex() for k, v in e.FILE.items()},
        volume_key=e.VOLUME_KEY.hex(),
        volume_id=e.VOLUME_ID.hex(),
        volume={k: v.hex() for k, v in e.VOLUME.items()},
        labels=labels + ["kmsfs v1 symlink inline", "kmsfs v1 symlink external", "kmsfs v1 xattr name"],
    )


def xaes():
    inputs = [
        # C2SP, XAES-256-GCM, test vectors 1 and 2.
        ("c2sp 1", bytes([1]) * 32, b"ABCDEFGHIJKLMNOPQRSTUVWX", b"", b"XAES-256-GCM"),
        ("c2sp 2", bytes([3]) * 32, b"ABCDEFGHIJKLMNOPQRSTUVWX", b"c2sp.org/XAES-256-GCM", b"XAES-256-GCM"),
        ("worked example", e.FILE["content"], e.N1 + e.N2A, bytes(16), b"Hello, kmsfs!\n"),
        ("empty plaintext", e.DATA_KEY, e.SHORT_NONCE, b"", b""),
        ("whole block", e.VOLUME_KEY, e.SHORT_NONCE, b"aad", pattern(300)),
    ]
    cases = []
    for name, key, nonce, aad, plain in inputs:
        tag, ciphertext = p.xaes_seal(key, nonce, aad, plain)
        assert p.xaes_open(key, nonce, aad, tag, ciphertext) == plain
        fields = {"key": key, "nonce": nonce, "aad": aad, "plain": plain, "derived": p.xaes_key(key, nonce)}
        cases.append({"name": name} | {k: v.hex() for k, v in (fields | {"tag": tag, "ciphertext": ciphertext}).items()})
    assert cases[0]["ciphertext"] + cases[0]["tag"] == "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"
    assert cases[1]["ciphertext"] + cases[1]["tag"] == "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"
    put("xaes", "10", "XAES-256-GCM: the derived AES-256-GCM key, tag and ciphertext.", cases=cases)


def contexts():
    rows = [("data key", p.file_context(e.VOLUME_ID, e.FILE_ID)), ("volume key", p.volume_context(e.VOLUME_ID))]
    cases = [{"name": n, "pairs": c, "canonical": p.canonical(c).hex()} for n, c in rows]
    put("contexts", "10.4", "Encryption contexts of kmsfs in canonical bytes.", cases=cases)


# -- section 2 -----------------------------------------------------------------------------------------


def layout():
    sizes = [0, 1, 14, 2511, 2512, 2513, 5000, 6559, 6560, 6561, 10608, 10609, 1 << 20, 1 << 40, 9115285645797878320]
    rows = []
    for size in sizes:
        length = decode.lower_len(size)
        assert decode.plain_size(length) == size and decode.is_legal(length)
        rows.append({"size": size, "blocks": length // PAGE, "lower_len": length})
    lengths = [0, 1, 512, 4095, 4096, 4097, 6608, 6609, 8191, 8192, 8193, 12239, 12240, 12241, 12288, 12289, 1066640]
    lower = [{"lower_len": n, "size": decode.plain_size(n), "legal": decode.is_legal(n)} for n in lengths]
    offsets = []
    for at in (0, 1, 2511, 2512, 2513, 6559, 6560, 6561, 1 << 20, 1 << 40):
        block = 0 if at < FIRST_PAYLOAD else 1 + (at - FIRST_PAYLOAD) // PAYLOAD
        offsets.append({"offset": at, "block": block, "inside": at - decode.first_offset(block)})
    blocks = []
    for b in (0, 1, 2, 3, 259, 1 << 30):
        row = {"block": b, "first_offset": decode.first_offset(b), "payload": decode.payload(b)}
        blocks.append(row | {"record_at": b * PAGE or HEADER, "record_len": PAGE if b else PAGE - HEADER})
    put("layout", "2", "Arithmetic of sizes and offsets.", sizes=rows, lower=lower, offsets=offsets, blocks=blocks)


# -- section 3 -----------------------------------------------------------------------------------------


def records():
    seals = []
    for name, block, length, final in [
        ("first of several", 0, FIRST_PAYLOAD, False),
        ("middle", 1, PAYLOAD, False),
        ("middle, far out", 1 << 40, PAYLOAD, False),
        ("final, one byte", 1, 1, True),
        ("final, full", 2, PAYLOAD, True),
        ("only block", 0, 14, True),
        ("only block, full", 0, FIRST_PAYLOAD, True),
        ("empty file with a header", 0, 0, True),
    ]:
        plain = pattern(length)
        record = e.record(block, plain, final)
        assert decode.open_record(e.FILE["content"], block, record) == (plain, final)
        seals.append({"name": name, "block": block, "len": length, "final": final, "record": trim(record)})

    def sealed(block, length, fields, tail=b""):
        """A record whose tag verifies and whose fields are wrong."""
        plain, nonce = pattern(length), e.N1 + e.N2A
        tag, ciphertext = p.xaes_seal(e.FILE["content"], nonce, block.to_bytes(8, "little") + fields, plain)
        return (nonce + tag + fields + ciphertext + tail).ljust(PAGE if block else PAGE - HEADER, b"\0")

    good, first = e.record(1, pattern(9), True), e.record(0, pattern(9), True)
    rows = [
        ("length shorter than sealed", 1, patch(good, 40, b"\x08"), "BadTag"),
        ("padding not zero, last byte", 1, patch(good, 4095, b"\x01"), "BadRecord"),
        ("padding not zero, first byte", 1, patch(good, 57, b"\x01"), "BadRecord"),
        ("unknown flag", 1, sealed(1, 9, struct.pack("<HHI", 9, 3, 0)), "ReservedNotZero"),
        ("reserved not zero", 1, sealed(1, 9, struct.pack("<HHI", 9, 1, 1)), "ReservedNotZero"),
        ("short without FINAL", 1, sealed(1, 9, struct.pack("<HHI", 9, 0, 0)), "BadRecord"),
        ("empty without FINAL", 0, sealed(0, 0, struct.pack("<HHI", 0, 0, 0)), "BadRecord"),
        ("empty, not block 0", 1, sealed(1, 0, struct.pack("<HHI", 0, 1, 0)), "BadRecord"),
        ("longer than the payload", 1, patch(good, 40, struct.pack("<H", PAYLOAD + 1)), "BadRecord"),
        ("longer than the first payload", 0, patch(first, 40, struct.pack("<H", FIRST_PAYLOAD + 1)), "BadRecord"),
        ("FINAL removed from a full record", 1, patch(e.record(1, pattern(PAYLOAD), True), 42, b"\0"), "BadTag"),
        ("FINAL set on a full record", 1, patch(e.record(1, pattern(PAYLOAD), False), 42, b"\1"), "BadTag"),
        ("another block's number", 2, good, "BadTag"),
        ("another file's key", 1, e.record(1, pattern(9), True, key=e.FILE["xattrs"]), "BadTag"),
        ("N1 changed", 1, flip(good, 0), "BadTag"),
        ("N2 changed", 1, flip(good, 23, 128), "BadTag"),
        ("tag changed", 1, flip(good, 24), "BadTag"),
        ("ciphertext changed", 1, flip(good, 56, 128), "BadTag"),
        ("all zero: a hole is no record", 1, bytes(PAGE), "BadRecord"),
        ("cut by one byte", 1, good[:-1], "Truncated"),
    ]
    errors = []
    for name, block, record, error in rows:
        expect(error, lambda: decode.open_record(e.FILE["content"], block, record))
        errors.append({"name": name, "block": block, "error": error, "len": len(record), "record": trim(record)})
    key = {"content_key": e.FILE["content"].hex(), "n1": e.N1.hex(), "n2": e.N2A.hex()}
    put("records", "3", "Records; the plaintext is 7*i mod 256.", **key, seals=seals, errors=errors)


# -- section 4 -----------------------------------------------------------------------------------------


def as_json(x):
    """What a slot holds."""
    if not isinstance(x, decode.Envelope):
        return x
    fields = {"sequence": x.sequence, "sparse": x.sparse, "policy": x.policy, "arn": x.arn}
    return fields | {"material": x.material.hex() if any(x.material) else None, "wrapped": x.wrapped.hex()}


def slots():
    good, body = e.slot(), e.fields()
    rows = [
        ("typical", good, None),
        ("minimal", e.slot(arn="a", wrapped=b"\xff", material=bytes(32)), None),
        (
            "maximal",
            e.slot(
                sequence=2**64 - 1,
                flags=1,
                policy=2**32 - 1,
                material=b"\xff" * 32,
                arn="x" * 152,
                wrapped=b"\xff" * 256,
            ),
            None,
        ),
        ("ARN of two-byte characters", e.slot(arn="\u00e4" * 76), None),
        ("empty", bytes(512), "empty"),
        ("torn: first half only", good[:256] + bytes(256), "torn"),
        ("torn: second half only", bytes(256) + good[256:], "torn"),
        ("torn: last byte missing", good[:511] + b"\0", "torn"),
        ("torn: half of another envelope", e.slot(sequence=2)[:256] + good[256:], "torn"),
        ("torn: checksum changed", flip(good, 472), "torn"),
        ("torn: tag changed", flip(good, 480), "torn"),
        ("torn: sequence 0 under a fitting checksum", e.finish(e.fields(sequence=0)), "torn"),
        ("unknown flag", e.finish(e.fields(flags=2)), "ReservedNotZero"),
        ("reserved at 52", e.finish(patch(body, 52, b"\1")), "ReservedNotZero"),
        ("reserved at 464", e.finish(patch(body, 471, b"\1")), "ReservedNotZero"),
        ("padding behind the ARN", e.finish(patch(body, 207, b"\1")), "ReservedNotZero"),
        ("padding behind the wrapped key", e.finish(patch(body, 463, b"\1")), "ReservedNotZero"),
        ("no ARN", e.finish(patch(patch(body, 48, b"\0\0"), 56, bytes(152))), "BadEnvelope"),
        ("no wrapped key", e.finish(patch(patch(body, 50, b"\0\0"), 208, bytes(256))), "BadEnvelope"),
        ("ARN too long", e.finish(patch(body, 48, struct.pack("<H", 153))), "BadEnvelope"),
        ("wrapped key too long", e.finish(patch(body, 50, struct.pack("<H", 257))), "BadEnvelope"),
        ("ARN is not UTF-8", e.finish(patch(body, 56, b"\xff")), "BadEnvelope"),
        ("cut by one byte", good[:511], "Truncated"),
    ]
    cases = []
    for name, slot, error in rows:
        case = {"name": name, "len": len(slot), "slot": trim(slot)}
        if error in ("empty", "torn"):
            assert decode.parse_slot(slot) == error, name
            cases.append(case | {"content": error})
        elif error is None:
            cases.append(case | {"content": as_json(decode.parse_slot(slot))})
        else:
            if error != "Truncated":
                expect(error, lambda: decode.parse_slot(slot))
            cases.append(case | {"error": error})
    put("slots", "4.2", "One envelope slot, under the prelude and header key of the worked example.", cases=cases)


def headers():
    a, b = e.slot(), e.slot(sequence=2, flags=1, material=bytes(range(32)), wrapped=bytes(range(184)))
    torn_a, torn_b = flip(a, 3), b[:256] + a[256:]
    pre = e.prelude()
    other = e.finish(e.fields(sequence=3), key=e.FILE["xattrs"])  # checksum holds, tag of another data key
    moved = e.finish(e.fields(), head=e.prelude(file_id=e.DIR_ID))
    rows = [
        ("new file: A, B empty", e.header(a), "A", None),
        ("B newer", e.header(a, b), "B", None),
        ("A newer", e.header(e.slot(sequence=3), b), "A", None),
        ("equal sequences after a scrub: A", e.header(b, b), "A", None),
        ("A torn, B valid", e.header(torn_a, b), "B", None),
        ("B torn, A valid", e.header(a, torn_b), "A", None),
        ("A empty, B valid", pre + bytes(512) + b, "B", None),
        ("generation 7 is read", e.prelude(generation=7) + e.finish(e.fields(), head=e.prelude(generation=7)) + bytes(512), "A", None),
        ("both torn", e.header(torn_a, torn_b), None, "TornSlots"),
        ("A torn, B empty", e.header(torn_a), None, "TornSlots"),
        ("both empty", pre + bytes(1024), None, "TornSlots"),
        ("A valid, B with a bad field", e.header(a, e.finish(e.fields(flags=4))), None, "ReservedNotZero"),
        ("current slot of another data key", e.header(a, other), "B", "BadTag"),
        ("envelope of another file", e.header(moved), "A", "BadTag"),
        ("prelude's file id changed", patch(e.header(a), 40, e.DIR_ID), "A", "BadTag"),
        ("magic changed", flip(e.header(a), 0), None, "BadMagic"),
        ("line end changed by a text transfer", patch(e.header(a), 6, b"\n\n"), None, "BadMagic"),
        ("version 2", patch(e.header(a), 8, b"\2\0"), None, "UnknownVersion { found: 2 }"),
        ("suite 0", patch(e.header(a), 10, b"\0\0"), None, "UnknownSuite { found: 0 }"),
        ("suite 513", patch(e.header(a), 10, b"\1\2"), None, "UnknownSuite { found: 513 }"),
        ("page length 8192", patch(e.header(a), 12, struct.pack("<I", 8192)), None, "BadGeometry"),
        ("header length 1024", patch(e.header(a), 16, struct.pack("<I", 1024)), None, "BadGeometry"),
        ("reserved byte of the prelude", patch(e.header(a), 511, b"\1"), None, "ReservedNotZero"),
        ("home of kind 3", patch(e.header(a), 64, b"\3"), None, "BadHome"),
        ("cut by one byte", e.header(a)[:-1], None, "Truncated"),
    ]
    cases = []
    for name, raw, current, error in rows:
        case = {"name": name, "len": len(raw), "header": trim(raw), "current": current}

        def read(raw=raw):
            decode.parse_header(raw, None).verify(e.FILE["header"])

        expect(error, read)
        if error:
            case |= {"error": error, "at": "verify" if current else "parse"}
        else:
            parsed = decode.parse_header(raw, e.VOLUME_ID)
            assert (parsed.envelope is parsed.slots[0]) == (current == "A")
            case |= {"generation": raw[20], "slots": [as_json(s) for s in parsed.slots]}
        cases.append(case)
    put("headers", "4", "Prelude and slots; file id, volume id and keys of the worked example.", cases=cases)


# -- whole files ---------------------------------------------------------------------------------------


def files():
    """Lower files as rows of pages, and what a reader of a clean volume makes of them (F-14)."""
    n2 = [e.N2A, e.N2B] + [bytes([i]) * 12 for i in range(8)]
    plain3 = pattern(FIRST_PAYLOAD + PAYLOAD + 20)
    three = e.file_bytes(plain3, n2)
    pages = [three[i : i + PAGE] for i in range(0, 3 * PAGE, PAGE)]
    sparse_header = e.header(e.slot(flags=1))
    sparse0 = sparse_header + pages[0][HEADER:]
    hole = bytes(PAGE)
    swapped = pattern(FIRST_PAYLOAD + 2 * PAYLOAD + 5)
    four = e.file_bytes(swapped, n2)
    p4 = [four[i : i + PAGE] for i in range(0, 4 * PAGE, PAGE)]
    one = e.file_bytes(pattern(14), n2)[:PAGE]
    zeros = pattern(FIRST_PAYLOAD) + bytes(PAYLOAD) + plain3[-20:]
    bad_block = "BadRecord"
    rows = [
        # name, pages, tail, plaintext or None, error, block
        ("no header", [], 0, b"", None, None),
        ("empty with a header", [e.header() + e.record(0, b"", True)], 0, b"", None, None),
        ("14 bytes", [one], 14, pattern(14), None, None),
        ("2512 bytes", [e.file_bytes(pattern(2512), n2)[:PAGE]], 2512, pattern(2512), None, None),
        ("three blocks", pages, 20, plain3, None, None),
        ("a hole in the middle", [sparse0, hole, pages[2]], 20, zeros, None, None),
        ("a hole as block 0", [sparse_header + bytes(PAGE - HEADER), *pages[1:]], 20, bytes(2512) + plain3[2512:], None, None),
        ("hole without SPARSE", [pages[0], hole, pages[2]], 20, None, bad_block, 1),
        ("the last block is a hole", [sparse0, pages[1], hole], 20, None, bad_block, 2),
        ("blocks 1 and 2 swapped", [p4[0], p4[2], p4[1], p4[3]], 5, None, "BadTag", 1),
        ("cut at a page's end", pages[:2], PAYLOAD, None, bad_block, 1),
        ("cut down to its header", pages[:1], 0, None, bad_block, 0),
        ("one byte shorter", pages, 19, None, bad_block, 2),
        ("one byte longer", pages, 21, None, bad_block, 2),
        ("grown by a page of zeros", [*pages, hole], 1, None, bad_block, 2),
        ("FINAL in the middle", [one, *pages[1:]], 20, None, bad_block, 0),
        ("block 1 twice", [pages[0], pages[1], pages[1], pages[2]], 20, None, "BadTag", 2),
        ("both slots torn", [flip(three, 515)[:PAGE], *pages[1:]], 20, None, "TornSlots", "header"),
        ("header of another volume", [patch(pages[0], 24, e.DIR_ID), *pages[1:]], 20, None, "OtherVolume", "header"),
        ("header of another file", [e.prelude(file_id=e.DIR_ID) + pages[0][512:], *pages[1:]], 20, None, "BadTag", "header"),
    ]
    cases = []
    for name, parts, tail, plain, error, place in rows:
        raw = b"".join(parts) + bytes(tail)

        def read(raw=raw):
            out, size, last = b"", decode.plain_size(len(raw)), len(raw) // PAGE - 1
            assert decode.is_legal(len(raw)), name
            if raw:
                header = decode.parse_header(raw[:HEADER], e.VOLUME_ID)
                header.verify(p.file_keys(e.DATA_KEY, header.file_id)["header"])
            for b in range(last + 1):
                record = raw[b * PAGE or HEADER : (b + 1) * PAGE]
                out += decode.open_block(e.FILE["content"], b, record, last, size, header.envelope.sparse)
            return out

        expect(error, read)
        case = {"name": name, "pages": [trim(x) for x in parts], "tail": tail}
        if error:
            case |= {"error": error, "part": "header" if place == "header" else f"block {place}"}
        else:
            assert read() == plain, name
            case |= {"size": len(plain), "sha256": hashlib.sha256(plain).hexdigest()}
        cases.append(case)
    put("files", "2, 3, 4", "Whole lower files of a clean volume, under the worked example's keys.", cases=cases)


# -- sections 5 to 9 -----------------------------------------------------------------------------------


def names():
    rows = [b"a", b"hello.txt", b"\xff\x01", "\u00e4\u4e2d".encode(), b"n" * 175, b"n" * 176, b"n" * 255, b".kmsfs.dir"]
    cases = []
    for plain in rows:
        lower, sealed = e.name(plain)
        assert decode.open_name(e.VOLUME["names"], e.DIR_ID, lower, lambda _: sealed) == plain
        case = {"plain": plain.hex(), "sealed": sealed.hex(), "lower": lower.decode()}
        cases.append(case | ({"sidecar": lower.decode() + ".name"} if lower.startswith(b"L.") else {}))
    short, long = e.name(b"hello.txt")[0], e.name(b"n" * 176)
    other_dir = e.name(b"hello.txt", directory=e.FILE_ID)[0]
    dot_dot, slash = e.name(b"..")[0], e.name(b"a/b")[0]
    fits = e.name(b"n" * 175)[1]
    bad = [
        # what a directory can hold, with the sidecar's content, and how a reader takes it
        ("last character changed", short[:-1] + b"A", None, "BadTag"),
        ("unused bits not zero", short[:-1] + b"h", None, "BadName"),
        ("padded", short + b"==", None, "BadName"),
        ("standard alphabet", b"4WQlxyE4/DiqcrW99LOs1rAvcTvyIvg3+g", None, "BadName"),
        ("a plain name", b"notes.txt", None, "BadName"),
        ("name of another directory", other_dir, None, "BadTag"),
        ("opens to ..", dot_dot, None, "BadName"),
        ("opens to a/b", slash, None, "BadName"),
        ("sidecar changed", long[0], flip(long[1], 0), "BadName"),
        ("sidecar of another name", long[0], e.name(b"n" * 177)[1], "BadName"),
        ("sidecar cut", long[0], long[1][:-1], "BadName"),
        ("sidecar with more behind", long[0], long[1] + bytes(100), "TooLong"),
        ("short name in the long form", b"L." + decode.b64url(p.sha256(fits)), fits, "BadName"),
        (
            "long name of another directory",
            e.name(b"n" * 176, directory=e.FILE_ID)[0],
            e.name(b"n" * 176, directory=e.FILE_ID)[1],
            "BadTag",
        ),
    ]
    errors = []
    for name, lower, sidecar, error in bad:
        if name == "last character changed":
            assert decode.unb64url(lower, "BadName")
        expect(error, lambda: decode.open_name(e.VOLUME["names"], e.DIR_ID, lower, lambda _: sidecar))
        errors.append({"name": name, "lower": lower.decode(), "error": error} | ({"sidecar": sidecar.hex()} if sidecar else {}))
    own = [".kmsfs", ".kmsfs.dir", ".kmsfs.tmp.0011", ".kmsfsx", long[0].decode() + ".name"]
    foreign = ["notes.txt", "L.", "L.short", "L.short.name", long[0].decode() + ".nam", "=", ".", "A" * 22, "A" * 21]
    put(
        "names",
        "6.1, 6.2",
        "Names in the directory of the worked example.",
        cases=cases,
        errors=errors,
        own=own,
        foreign=foreign,
    )


def markers():
    key = e.VOLUME["markers"]
    good = e.marker()

    def retag(raw64):
        return raw64 + p.hmac(key, raw64)

    home = e.directory_home(e.name(b"hello.txt")[0])
    rows = [(0, bytes(16)), (1, bytes(16)), (2**32 - 1, bytes(16)), (0, home)]
    cases = [{"policy": n, "home": h.hex(), "marker": e.marker(n, home=h).hex()} for n, h in rows]
    rows = [
        ("magic changed", flip(good, 0), "BadMagic"),
        ("version 2", retag(patch(good[:64], 8, b"\2")), "UnknownVersion { found: 2 }"),
        ("reserved at 10", retag(patch(good[:64], 11, b"\1")), "ReservedNotZero"),
        ("home changed", flip(good, 63), "BadTag"),
        ("policy changed", patch(good, 12, b"\1"), "BadTag"),
        ("directory id changed", flip(good, 32), "BadTag"),
        ("tag changed", flip(good, 95), "BadTag"),
        ("another volume", e.marker(volume_id=e.FILE_ID), "BadTag"),
        ("cut by one byte", good[:-1], "Truncated"),
        ("one byte more", good + b"\0", "TooLong"),
        ("empty", b"", "Truncated"),
    ]
    errors = []
    for name, raw, error in rows:
        expect(error, lambda: decode.parse_marker(raw, key, e.VOLUME_ID))
        errors.append({"name": name, "marker": raw.hex(), "error": error})
    for case in cases:
        assert decode.parse_marker(bytes.fromhex(case["marker"]), key, e.VOLUME_ID) == (
            e.DIR_ID,
            case["policy"],
            bytes.fromhex(case["home"]),
        )
    put("markers", "6.3", "Directory markers of the worked example's volume and directory.", cases=cases, errors=errors)


def homes():
    lower, long = e.name(b"hello.txt")[0], e.name(b"n" * 255)[0]
    bare = e.home(1, b"", e.DIR_ID, long)
    rows = [
        ("under a name", e.named_home(b"hello.txt"), lower),
        ("under a long name", e.named_home(b"n" * 255), long),
        ("under a long name that was not at hand", bare, long),
        ("released", e.home(2), lower),
    ]
    cases = []
    for name, raw, at in rows:
        decode.parse_home(raw).verify(e.VOLUME["homes"], e.FILE_ID, e.DIR_ID, at)
        sealed = decode.parse_home(raw).sealed
        cases.append({"name": name, "home": raw.hex(), "lower": at.decode(), "sealed": sealed.hex()})
    good = e.named_home(b"hello.txt")
    other = e.name(b"hello.txu")[0]
    rows = [
        ("another name", good, e.FILE_ID, e.DIR_ID, other, "BadTag"),
        ("another directory", good, e.FILE_ID, e.FILE_ID, lower, "BadTag"),
        ("another file", good, e.DIR_ID, e.DIR_ID, lower, "BadTag"),
        ("another file, released", e.home(2), e.DIR_ID, e.DIR_ID, lower, "BadTag"),
        ("none", bytes(328), e.FILE_ID, e.DIR_ID, lower, "BadTag"),
        ("tag changed", flip(good, 327), e.FILE_ID, e.DIR_ID, lower, "BadTag"),
        ("sealed name changed", flip(good, 24), e.FILE_ID, e.DIR_ID, lower, "BadTag"),
        ("sealed name taken away", patch(patch(good, 2, bytes(2)), 24, bytes(272)), e.FILE_ID, e.DIR_ID, lower, "BadTag"),
        ("released by hand", patch(good, 0, b"\2"), e.FILE_ID, e.DIR_ID, lower, "BadHome"),
        ("kind 3", patch(good, 0, b"\3"), e.FILE_ID, e.DIR_ID, lower, "BadHome"),
        ("a tag without a home", patch(bytes(328), 300, b"\1"), e.FILE_ID, e.DIR_ID, lower, "BadHome"),
        ("sealed name too long", patch(good, 2, b"\x11\1"), e.FILE_ID, e.DIR_ID, lower, "BadHome"),
        ("reserved", patch(good, 4, b"\1"), e.FILE_ID, e.DIR_ID, lower, "ReservedNotZero"),
        ("padding", patch(good, 295, b"\1"), e.FILE_ID, e.DIR_ID, lower, "ReservedNotZero"),
        ("cut by one byte", good[:-1], e.FILE_ID, e.DIR_ID, lower, "Truncated"),
    ]
    errors = []
    for name, raw, file_id, directory, at, error in rows:
        key = e.VOLUME["homes"]
        expect(error, lambda: decode.parse_home(raw).verify(key, file_id, directory, at))
        ids = {"file": file_id.hex(), "directory": directory.hex()}
        errors.append({"name": name, "home": raw.hex(), "lower": at.decode(), "error": error} | ids)
    put("homes", "4.3", "Homes of the worked example's file in its directory.", cases=cases, errors=errors)


def symlinks():
    key, none = e.VOLUME["symlinks"], lambda _: None
    cases = []
    for target in (b"x", b"../target", b"\xff\xfe", pattern(3031, 3).replace(b"\0", b"."), b"t" * 4095):
        external_text, content = e.symlink_external(target)
        assert decode.open_symlink(key, external_text, lambda _: content) == target
        case = {"target": target.hex(), "external": external_text.decode(), "content": content.hex(), "inline": None}
        if len(e.symlink_inline(target)) <= 4095:
            case["inline"] = e.symlink_inline(target).decode()
            assert decode.open_symlink(key, e.symlink_inline(target), none) == target
        cases.append(case)
    text, content = e.symlink_external(b"../target")
    inline = e.symlink_inline(b"../target")
    other = e.symlink_external(b"../target", link=e.FILE_ID)[1]
    moved = decode.b64url(content)  # an external target in the inline form
    link = e.LINK_ID.hex().encode()
    rows = [
        ("inline: changed", patch(inline, 0, b"d"), None, "BadTag"),
        ("inline: not base64url", inline + b"!", None, "BadText"),
        ("inline: plain text", b"../target", None, "BadText"),
        ("external content inline", moved, None, "BadTag"),
        ("external: content changed", text, flip(content, 48), "BadTag"),
        ("external: content of another id", text, other, "BadTag"),
        ("external: content cut", text, content[:39], "BadTag"),
        ("external: leading zero", b"@" + link + b".09", content, "BadText"),
        ("external: sign", b"@" + link + b".+9", content, "BadText"),
        ("external: no length", b"@" + link + b".", content, "BadText"),
        ("external: too long", b"@" + link + b".4096", content, "BadText"),
        ("external: upper-case id", b"@" + link.upper().replace(b"9", b"A") + b".9", content, "BadText"),
        ("external: id too short", b"@" + link[:-1] + b".9", content, "BadText"),
        ("external: no id", b"@", content, "BadText"),
    ]
    errors = []
    for name, raw, stored, error in rows:
        expect(error, lambda: decode.open_symlink(key, raw, lambda _: stored))
        case = {"name": name, "text": raw.decode(), "error": error}
        errors.append(case | ({"content": stored.hex()} if stored is not None else {}))
    sizes = [{"text": len(e.symlink_inline(b"t" * n)), "size": n} for n in (1, 2, 3, 4, 9, 100, 3030, 3031)]
    about = "Symlink targets, both forms; sizes: text length -> target length (F-35)."
    put("symlinks", "7", about, nonce=e.SHORT_NONCE.hex(), link=link.decode(), cases=cases, errors=errors, sizes=sizes)


def xattrs():
    names_key, key = e.VOLUME["xattr names"], e.FILE["xattrs"]
    cases = []
    for owner, owner_id, value_key in [("file", e.FILE_ID, key), ("dir", e.DIR_ID, e.VOLUME["xattrs"])]:
        for name, value in [
            (b"user.comment", b"draft"),
            (b"user.x", b""),
            (b"user." + b"n" * 167, b"v"),
            (b"user." + b"n" * 168, b"v"),
            (b"user." + b"n" * 250, pattern(200)),
        ]:
            lower, stored = e.xattr(name, value, owner_id, value_key)
            assert decode.open_xattr(names_key, value_key, owner_id, lower, stored) == (name, value)
            case = {"owner": owner, "name": name.hex(), "value": value.hex()}
            cases.append(case | {"lower": lower.decode(), "stored": stored.hex()})
    short, value = e.xattr(b"user.comment", b"draft", e.FILE_ID, key)
    long, long_value = e.xattr(b"user." + b"n" * 200, b"draft", e.FILE_ID, key)
    fits = p.siv_seal(names_key, b"kmsfs v1 xattr name", b"comment")
    in_long = b"user.kmsfs.L." + decode.b64url(p.sha256(fits))
    rows = [
        ("value changed", short, flip(value, len(value) - 1), "BadTag"),
        ("value of another name", short, e.xattr(b"user.other", b"draft", e.FILE_ID, key)[1], "BadTag"),
        ("value of another file", short, e.xattr(b"user.comment", b"draft", e.DIR_ID, key)[1], "BadTag"),
        ("value under another key", short, e.xattr(b"user.comment", b"draft", e.FILE_ID, e.FILE["content"])[1], "BadTag"),
        ("value cut", short, value[:41], "BadTag"),
        ("no length", short, value[:1], "Truncated"),
        ("stored name cut", long, long_value[:100], "Truncated"),
        ("short form with a stored name", short, len(fits).to_bytes(2, "little") + fits + value[2:], "BadName"),
        ("long form of a short name", in_long, len(fits).to_bytes(2, "little") + fits + value[2:], "BadName"),
        ("stored name changed", long, flip(long_value, 2), "BadName"),
        ("name changed", patch(short, 11, b"7"), value, "BadTag"),
        ("name not base64url", short + b"=", value, "BadName"),
    ]
    errors = []
    for name, lower, stored, error in rows:
        expect(error, lambda: decode.open_xattr(names_key, key, e.FILE_ID, lower, stored))
        errors.append({"name": name, "lower": lower.decode(), "stored": stored.hex(), "error": error})
    about = "Attributes on a file and on a directory; errors: read as the file's."
    put("xattrs", "8", about, nonce=e.SHORT_NONCE.hex(), cases=cases, errors=errors)


def states():
    key, good = e.VOLUME["checkpoint"], e.state(1, 1767323045, 500000000)

    def retag(raw32):
        return raw32 + p.hmac(key, raw32)

    cases = []
    good_ones = [(1, 1767323045, 500000000, 0), (0, -(2**63), 0, 0), (1, 2**63 - 1, 999999999, 0), (0, 1767323045, 5, 1)]
    for clean, seconds, nanos, moves in good_ones:
        raw = e.state(clean, seconds, nanos, moves)
        assert decode.parse_state(raw, key) == (bool(clean), seconds, nanos, bool(moves))
        cases.append({"clean": bool(clean), "seconds": seconds, "nanoseconds": nanos, "old_moves": bool(moves),
                      "state": raw.hex()})
    rows = [
        ("magic changed", flip(good, 7), "BadMagic"),
        ("version 2", retag(patch(good[:32], 8, b"\2")), "UnknownVersion { found: 2 }"),
        ("clean 2", retag(patch(good[:32], 10, b"\2")), "BadRecord"),
        ("old moves 2", retag(patch(good[:32], 11, b"\2")), "BadRecord"),
        ("reserved at 12", retag(patch(good[:32], 12, b"\1")), "ReservedNotZero"),
        ("reserved at 28", retag(patch(good[:32], 31, b"\1")), "ReservedNotZero"),
        ("a whole second of nanoseconds", e.state(1, 0, 10**9), "BadRecord"),
        ("set to clean by hand", patch(e.state(0, 1767323045, 0), 10, b"\1"), "BadTag"),
        ("tag changed", flip(good, 63), "BadTag"),
        ("cut by one byte", good[:-1], "Truncated"),
        ("one byte more", good + b"\0", "TooLong"),
    ]
    errors = []
    for name, raw, error in rows:
        expect(error, lambda: decode.parse_state(raw, key))
        errors.append({"name": name, "state": raw.hex(), "error": error})
    put("states", "9", "The state file.", cases=cases, errors=errors)


def configs():
    wrapped = decode.base64.b64encode(e.WRAPPED).decode()

    def text(
        top="", kms='place = "embedded"\n', key="", policies=((0, "alias/volume"),), created="2026-01-02T03:04:05Z", **k
    ):
        rows = "".join(f'\n[[policies]]\nnumber = {n}\nalias = "{a}"\n' for n, a in policies)
        return (
            "# A kmsfs volume. Not to be edited: the last line covers all lines above it.\n"
            f"format = {k.get('format', 1)}\n"
            f'volume = "{k.get("volume", e.VOLUME_ID.hex())}"\n'
            f'suite = "{k.get("suite", "XAES-256-GCM")}"\n'
            f'created = "{created}"\n{top}'
            f"\n[kms]\n{kms}"
            f'\n[volume_key]\nkey_arn = "{e.ARN}"\n'
            f"{k.get('material', material)}"
            f'wrapped = "{k.get("wrapped", wrapped)}"\n{key}'
            f"{rows}"
            "\n[authentication]\n"
        )

    material = f'material = "{e.MATERIAL.hex()}"\n'
    cases = []
    for name, body, place, has_material, policies in [
        ("typical", text(), None, True, {0: "alias/volume"}),
        ("names bound", text(top='names = "bound"\n'), None, True, {0: "alias/volume"}),
        ("no material", text(material=""), None, False, {0: "alias/volume"}),
        (
            "directory, several policies",
            text(kms='place = "directory"\npath = "/srv/kms"\n', policies=((0, "alias/a"), (7, "alias/b"), (2**32 - 1, "c"))),
            "/srv/kms",
            True,
            {0: "alias/a", 7: "alias/b", 2**32 - 1: "c"},
        ),
        ("endpoint", text(kms='place = "endpoint"\nurl = "unix:/run/kms"\n'), None, True, {0: "alias/volume"}),
    ]:
        raw = e.config(body)
        parsed, covered, mac = decode.parse_config(raw)
        assert p.hmac(e.VOLUME["config"], covered) == mac and parsed["table"] == policies
        bound = parsed.get("names") == "bound"
        case = {"name": name, "text": raw.decode(), "path": place, "material": has_material, "bound": bound}
        if "url" in parsed["kms"]:
            case["url"] = "unix:/run/kms"
            decode.need(parsed["kms"]["url"] == case["url"], "BadText", "url")
        cases.append(case | {"policies": [[n, a] for n, a in policies.items()]})
    good = e.config(text()).decode()
    mac = good[-66:-2]
    rows = [
        ("alias changed", good.replace("alias/volume", "alias/volumf"), "BadTag"),
        ("comment changed", good.replace("Not to", "not to"), "BadTag"),
        ("volume id changed", good.replace(e.VOLUME_ID.hex(), e.FILE_ID.hex()), "BadTag"),
        ("code changed", good.replace(mac, "0" * 64), "BadTag"),
        ("code in upper case", good.replace(mac, mac.upper()), "Truncated"),
        ("code of 62 digits", good.replace(mac, mac[2:]), "Truncated"),
        ("no line feed at the end", good[:-1], "Truncated"),
        ("a line behind the code", good + "# more\n", "Truncated"),
        ("the code's line indented", good.replace('\nmac = "', '\n mac = "'), "Truncated"),
        ("empty", "", "Truncated"),
        ("version 2", e.config(text(format=2)), "UnknownVersion { found: 2 }"),
        ("version 2 with an unknown field", e.config(text(format=2, top="new = 1\n")), "UnknownVersion { found: 2 }"),
        ("suite unknown", e.config(text(suite="AES-128-ECB")), "UnknownSuite { found: 0 }"),
        ("names otherwise", e.config(text(top='names = "free"\n')), "BadText"),
        ("unknown field", e.config(text(top="extra = 1\n")), "BadText"),
        ("unknown field in a table", e.config(text(key='more = "x"\n')), "BadText"),
        ("unknown place", e.config(text(kms='place = "cloud"\n')), "BadText"),
        ("embedded with a path", e.config(text(kms='place = "embedded"\npath = "/x"\n')), "BadText"),
        ("directory without a path", e.config(text(kms='place = "directory"\n')), "BadText"),
        ("endpoint without a URL", e.config(text(kms='place = "endpoint"\n')), "BadText"),
        ("endpoint with a path", e.config(text(kms='place = "endpoint"\nurl = "unix:/k"\npath = "/x"\n')), "BadText"),
        ("volume id of 30 digits", e.config(text(volume="a0" * 15)), "BadText"),
        ("volume id in upper case", e.config(text(volume=e.VOLUME_ID.hex().upper())), "BadText"),
        ("material of 62 digits", e.config(text(material=f'material = "{"40" * 31}"\n')), "BadText"),
        ("wrapped key is not base64", e.config(text(wrapped="!")), "BadText"),
        ("policy number twice", e.config(text(policies=((0, "a"), (1, "b"), (1, "c")))), "BadText"),
        ("no policy 0", e.config(text(policies=((1, "b"),))), "BadText"),
        ("policy number too large", e.config(text(policies=((0, "a"), (2**32, "b")))), "BadText"),
        ("policy number negative", e.config(text(policies=((0, "a"), (-1, "b")))), "BadText"),
        ("not TOML", e.config(text(top="= 1\n")), "BadText"),
        ("key twice", e.config(text(top='suite = "XAES-256-GCM"\n')), "BadText"),
    ]
    errors = []
    for name, raw, error in rows:
        raw = raw.encode() if isinstance(raw, str) else raw

        def read(raw=raw):
            parsed, covered, mac = decode.parse_config(raw)
            keys = p.volume_keys(e.VOLUME_KEY, parsed["id"])
            decode.need(p.hmac(keys["config"], covered) == mac, "BadTag")

        expect(error, read)
        errors.append({"name": name, "text": raw.decode(), "error": error})
    put("configs", "5", "volume.toml; the wrapped key and material of the worked example.", cases=cases, errors=errors)


def write_files(directory, files):
    """Writes the files, or with --check says which differ; gives the exit code."""
    differing = []
    for name, content in files.items():
        path = os.path.join(directory, name + ".json")
        text = json.dumps(content, indent=1) + "\n"
        if "--check" in sys.argv:
            with open(path, encoding="ascii") as file:
                differing += [path] * (file.read() != text)
            continue
        os.makedirs(directory, exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    for path in differing:
        print(f"{path}: differs from what the script makes", file=sys.stderr)
    return 1 if differing else 0


def main():
    for make in (keys, xaes, contexts, layout, records, slots, headers, files, names, markers, homes, symlinks, xattrs, states, configs):
        make()
    return write_files(os.path.join(HERE, "format", "v1"), FILES)


if __name__ == "__main__":
    sys.exit(main())
