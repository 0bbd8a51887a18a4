#!/usr/bin/env python3
"""Reads a kmsfs volume without kmsfs: a second implementation, written from docs/FORMAT.md alone.

usage: decode.py VOLUME KEYS [list | json | cat PATH]

    list   one readable line for every entry (the default)
    json   one JSON object for every entry: names and values in hex, contents as SHA-256
    cat    the plaintext of one file

KEYS is either `--volume-key HEX` and `--data-key FILEID=HEX` for every file, or what opens the embedded key
database (docs/KMS.md): `--passfile FILE` or `--keyfile FILE`.

Everything that is read is verified. Whatever does not verify is named on standard error, and the exit code is 1.
The decoder takes a volume as clean (F-14): it does no recovery.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import stat
import struct
import sys
import tomllib
from dataclasses import dataclass

import primitives as p

PAGE, PRELUDE, SLOT, HEADER = 4096, 512, 512, 1536
FIRST_PAYLOAD, PAYLOAD = 2512, 4048
FINAL, SPARSE = 1, 1


class Wrong(Exception):
    """Bytes that do not follow the format. `kind` is the name that the vectors use: testdata/README.md."""

    def __init__(self, kind, text=""):
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind, self.text = kind, text


def need(truth, kind, text=""):
    if not truth:
        raise Wrong(kind, text)


# -- texts ---------------------------------------------------------------------------------------------


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unb64url(text, kind):
    """Section 1: no padding, no other alphabet, unused bits zero."""
    need(re.fullmatch(rb"[A-Za-z0-9_-]+", text), kind, "base64url")
    try:
        data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise Wrong(kind, "base64url") from None
    need(b64url(data) == text, kind, "unused bits are not zero")
    return data


def exactly(raw, length):
    need(len(raw) >= length, "Truncated", str(len(raw)))
    need(len(raw) <= length, "TooLong", str(len(raw)))


def known_version(found):
    need(found == 1, f"UnknownVersion {{ found: {found} }}")


# -- section 2: layout ---------------------------------------------------------------------------------


def payload(block):
    return PAYLOAD if block else FIRST_PAYLOAD


def first_offset(block):
    return FIRST_PAYLOAD + (block - 1) * PAYLOAD if block else 0


def plain_size(lower_len):
    n, t = divmod(lower_len, PAGE)
    if n == 0:
        return 0
    return first_offset(n - 1) + min(t, payload(n - 1))


def lower_len(size):
    if size == 0:
        return 0
    last = 0 if size <= FIRST_PAYLOAD else 1 + (size - FIRST_PAYLOAD - 1) // PAYLOAD
    return PAGE * (last + 1) + size - first_offset(last)


def is_legal(length):
    """F-5."""
    return length == PAGE or lower_len(plain_size(length)) == length


# -- section 3: records --------------------------------------------------------------------------------


def open_record(content_key, block, record):
    """(plaintext, whether it has FINAL) of a record that is no hole; F-9."""
    need(len(record) == (PAGE if block else PAGE - HEADER), "Truncated", f"record of {len(record)} bytes")
    length, flags, reserved = struct.unpack_from("<HHI", record, 40)
    need(reserved == 0 and flags & ~FINAL == 0, "ReservedNotZero", "record")
    if flags & FINAL:
        need(length <= payload(block) and (length > 0 or block == 0), "BadRecord", f"length {length}")
    else:
        need(length == payload(block), "BadRecord", f"length {length} without FINAL")
    aad = block.to_bytes(8, "little") + record[40:48]
    plain = p.xaes_open(content_key, record[:24], aad, record[24:40], record[48 : 48 + length])
    need(plain is not None, "BadTag", "record")
    need(not any(record[48 + length :]), "BadRecord", "padding")
    return plain, bool(flags & FINAL)


def open_block(content_key, block, record, last, size, sparse):
    """F-12 and F-14: one block of a file of `size` bytes whose last block is `last`."""
    if not any(record):
        need(sparse, "BadRecord", f"block {block}: a hole in a file without SPARSE")
        need(block != last, "BadRecord", f"block {block}: the last block is a hole")
        return bytes(payload(block))
    try:
        plain, final = open_record(content_key, block, record)
    except Wrong as wrong:
        raise Wrong(wrong.kind, f"block {block}: {wrong.text}") from None
    need(final == (block == last), "BadRecord", f"block {block}: FINAL is {final}, the last block is {last}")
    wanted = size - first_offset(last) if block == last else payload(block)
    need(len(plain) == wanted, "BadRecord", f"block {block} holds {len(plain)} bytes, not {wanted}")
    return plain


# -- section 4: header ---------------------------------------------------------------------------------


def parse_prelude(prelude, volume_id):
    """The file id. F-18 is checked if `volume_id` is given."""
    magic, version, suite, page, header, _generation = struct.unpack_from("<8sHHIII", prelude)
    need(magic == b"\x89KMSFS\r\n", "BadMagic")
    known_version(version)
    need(suite == 1, f"UnknownSuite {{ found: {suite} }}")
    need(page == PAGE and header == HEADER, "BadGeometry", f"{page}, {header}")
    need(not any(prelude[56:64] + prelude[392:]), "ReservedNotZero", "prelude")
    need(volume_id in (None, prelude[24:40]), "OtherVolume", prelude[24:40].hex())
    return prelude[40:56]


@dataclass
class Home:
    """Section 4.3."""

    kind: int  # 0 none, 1 under one name, 2 released
    directory: bytes
    sealed: bytes
    raw: bytes

    def verify(self, homes_key, file_id, directory, lower):
        """F-50: the file belongs under the lower name in the directory."""
        name = lower if self.kind == 1 else b""
        tag = p.hmac(homes_key, b"file    " + file_id + self.raw[:24] + name)
        need(self.kind != 0 and p.same(tag, self.raw[296:]), "BadTag", "home")
        if self.kind == 1:
            need(self.directory == directory, "BadTag", "home in another directory")
            need(not self.sealed or lower_name(self.sealed) == lower, "BadTag", "home under another name")


def parse_home(raw):
    exactly(raw, 328)
    kind, length, reserved, directory = struct.unpack_from("<HHI16s", raw)
    need(reserved == 0, "ReservedNotZero", "home")
    need(length <= 272, "BadHome", f"sealed name of {length} bytes")
    need(not any(raw[24 + length : 296]), "ReservedNotZero", "padding of the home")
    need(kind in (0, 1, 2) and length <= 271, "BadHome", f"kind {kind}")
    need(kind == 1 or not any(raw[2:296]), "BadHome", "a file that belongs nowhere has a place")
    need(kind != 0 or not any(raw), "BadHome", "a tag without a home")
    return Home(kind, directory, raw[24 : 24 + length], raw)


@dataclass
class Envelope:
    sequence: int
    sparse: bool
    policy: int
    material: bytes
    arn: str
    wrapped: bytes


def parse_slot(slot):
    """F-15: an Envelope, "empty" or "torn"; Wrong if the fields of a valid slot are."""
    if not any(slot):
        return "empty"
    sequence, flags, policy, material, arn_len, wrapped_len, reserved = struct.unpack_from("<QII32sHHI", slot)
    if sequence == 0 or slot[472:480] != p.sha256(slot[:472] + slot[480:])[:8]:
        return "torn"
    need(reserved == 0 and not any(slot[464:472]), "ReservedNotZero", "slot")
    need(flags & ~SPARSE == 0, "ReservedNotZero", "flags of the slot")
    need(1 <= arn_len <= 152, "BadEnvelope", f"ARN of {arn_len} bytes")
    need(1 <= wrapped_len <= 256, "BadEnvelope", f"wrapped data key of {wrapped_len} bytes")
    padding = slot[56 + arn_len : 208] + slot[208 + wrapped_len : 464]
    need(not any(padding), "ReservedNotZero", "padding of the slot")
    try:
        arn = slot[56 : 56 + arn_len].decode()
    except UnicodeDecodeError:
        raise Wrong("BadEnvelope", "key ARN is no text") from None
    wrapped = slot[208 : 208 + wrapped_len]
    return Envelope(sequence, bool(flags & SPARSE), policy, material, arn, wrapped)


@dataclass
class Header:
    file_id: bytes
    home: Home
    envelope: Envelope  # the current one
    slots: list  # of Envelope, "empty" or "torn"
    raw: bytes

    def verify(self, header_key):
        """F-17. An older slot that is valid was written under the same data key: it must verify too."""
        for at, slot in zip((512, 1024), self.slots, strict=True):
            if isinstance(slot, Envelope):
                prelude = self.raw[:64] + bytes(328) + self.raw[392:PRELUDE]  # without the home
                tag = p.hmac(header_key, prelude + self.raw[at : at + 472])
                which = "current slot" if slot is self.envelope else "older slot"
                need(p.same(tag, self.raw[at + 480 : at + 512]), "BadTag", which)


def parse_header(raw, volume_id):
    need(len(raw) >= HEADER, "Truncated", str(len(raw)))
    file_id = parse_prelude(raw[:PRELUDE], volume_id)
    home = parse_home(raw[64:392])
    slots = [parse_slot(raw[512:1024]), parse_slot(raw[1024:1536])]
    valid = [s for s in slots if isinstance(s, Envelope)]
    need(valid, "TornSlots", f"slot A {slots[0]}, slot B {slots[1]}")
    return Header(file_id, home, max(valid, key=lambda s: s.sequence), slots, raw)  # max keeps A when equal: F-16


# -- section 5: volume.toml ----------------------------------------------------------------------------

FIELDS = {
    "": {"format", "volume", "suite", "created", "names", "kms", "volume_key", "policies", "authentication"},
    "kms": {"place", "path", "url"},
    "volume_key": {"key_arn", "material", "wrapped"},
    "policies": {"number", "alias"},
    "authentication": {"mac"},
}


def hex_field(text, digits, what):
    need(isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", text), "BadText", what)
    return bytes.fromhex(text)


def parse_config(raw):
    """The parsed volume.toml, not yet verified (F-25), and the bytes that the code covers."""
    need(len(raw) <= 262144, "TooLong", "volume.toml")
    end = re.search(rb'(?<=\n)mac = "([0-9a-f]{64})"\n\Z', raw)
    need(end, "Truncated", "the last line")
    try:
        config = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Wrong("BadText", str(error)) from None
    need(type(config.get("format")) is int, "BadText", "format")
    known_version(config["format"])
    parts = [("", config)] + [(k, config.get(k, {})) for k in ("kms", "volume_key", "authentication")]
    for name, part in parts + [("policies", row) for row in config.get("policies", [])]:
        need(set(part) <= FIELDS[name], "BadText", f"[{name}] {sorted(set(part) - FIELDS[name])}")
    need(isinstance(config.get("suite"), str), "BadText", "suite")
    need(config["suite"] == "XAES-256-GCM", "UnknownSuite { found: 0 }", config["suite"])
    need(isinstance(config.get("created"), str), "BadText", "created")
    need(config.get("names", "bound") == "bound", "BadText", "names")
    kms, key = config.get("kms", {}), config.get("volume_key", {})
    need(kms.get("place") in ("embedded", "directory", "endpoint"), "BadText", "place")
    need((kms["place"] == "directory") == ("path" in kms), "BadText", "path")
    need((kms["place"] == "endpoint") == ("url" in kms), "BadText", "url")
    need(isinstance(key.get("key_arn"), str), "BadText", "key_arn")
    config["id"] = hex_field(config.get("volume"), 32, "volume")
    config["material"] = hex_field(key.get("material", "0" * 64), 64, "material")
    try:
        config["wrapped"] = base64.b64decode(key.get("wrapped", "").encode(), validate=True)
    except binascii.Error:
        raise Wrong("BadText", "wrapped") from None
    policies = {}
    for row in config.get("policies", []):
        need(type(row.get("number")) is int and 0 <= row["number"] < 2**32, "BadText", "number")
        need(isinstance(row.get("alias"), str) and row["number"] not in policies, "BadText", "policies")
        policies[row["number"]] = row["alias"]
    need(0 in policies, "BadText", "policy 0")
    config["table"] = policies
    return config, raw[: end.start()], bytes.fromhex(end.group(1).decode())


# -- sections 6 to 9 -----------------------------------------------------------------------------------


def is_plain_name(name):
    """F-31."""
    return 1 <= len(name) <= 255 and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def lower_name(sealed):
    text = b64url(sealed)
    return text if len(text) <= 255 else b"L." + b64url(p.sha256(sealed))


def open_name(names_key, directory_id, lower, sidecar):
    """The plain name of a lower one. `sidecar` is called with the sidecar's name for a long form."""
    if lower.startswith(b"L."):
        sealed = sidecar(lower + b".name")
        need(sealed is not None, "SidecarMissing")
        need(len(sealed) <= 271, "TooLong", f"sidecar of {len(sealed)} bytes")
        need(len(sealed) >= 192, "BadName", f"sidecar of {len(sealed)} bytes")
        need(lower == b"L." + b64url(p.sha256(sealed)), "BadName", "digest of the sidecar")
    else:
        sealed = unb64url(lower, "BadName")
    plain = p.siv_open(names_key, directory_id, sealed)
    need(plain is not None, "BadTag", "name")
    need(is_plain_name(plain), "BadName", "not a file name")
    return plain


def parse_marker(raw, markers_key, volume_id):
    """Section 6.3: (directory id, key policy, home)."""
    exactly(raw, 96)
    magic, version, reserved, policy = struct.unpack_from("<8sHHI", raw)
    need(magic == b"KMSFSDIR", "BadMagic")
    known_version(version)
    need(p.same(p.hmac(markers_key, raw[:64]), raw[64:]), "BadTag", "marker")
    need(reserved == 0, "ReservedNotZero", "marker")
    need(raw[16:32] == volume_id, "BadTag", f"marker of volume {raw[16:32].hex()}")
    return raw[32:48], policy, raw[48:64]


def open_symlink(symlinks_key, text, external):
    """Section 7: the target. `external` is called with the hex of an id."""
    if text.startswith(b"@"):
        match = re.fullmatch(rb"@([0-9a-f]{32})\.([1-9][0-9]{0,3})", text)
        need(match and int(match.group(2)) <= 4095, "BadText", "symlink")
        sealed = external(match.group(1))
        need(sealed is not None, "SymlinkMissing", match.group(1).decode())
        aad = b"kmsfs v1 symlink external" + bytes.fromhex(match.group(1).decode())
    else:
        sealed, aad = unb64url(text, "BadText"), b"kmsfs v1 symlink inline"
    target = p.short_open(symlinks_key, aad, sealed)
    need(target is not None, "BadTag", "symlink target")
    need(1 <= len(target) <= 4095 and b"\0" not in target, "BadText", "symlink target")
    return target


def open_xattr(names_key, values_key, owner, lower, raw):
    """Section 8: (plain name, value)."""
    need(len(raw) >= 2, "Truncated", "attribute")
    text, length = lower.removeprefix(b"user.kmsfs."), int.from_bytes(raw[:2], "little")
    need(len(raw) >= 2 + length, "Truncated", "attribute")
    if text.startswith(b"L."):
        sealed, rest = raw[2 : 2 + length], raw[2 + length :]
        need(text == b"L." + b64url(p.sha256(sealed)), "BadName", "digest of the attribute")
        need(len(b"user.kmsfs." + b64url(sealed)) > 255, "BadName", "fits the short form")
    else:
        sealed, rest = unb64url(text, "BadName"), raw[2:]
        need(length == 0, "BadName", "the short form has a stored name")
    name = p.siv_open(names_key, b"kmsfs v1 xattr name", sealed)
    need(name is not None, "BadTag", "attribute name")
    value = p.short_open(values_key, owner + sealed, rest)
    need(value is not None, "BadTag", "attribute value")
    need(len(name) <= 250 and b"\0" not in name, "BadName", "not an attribute name")
    return b"user." + name, value


def parse_state(raw, checkpoint_key):
    """Section 9: (clean, seconds, nanoseconds, old moves)."""
    exactly(raw, 64)
    magic, version, clean, moves, r1, seconds, nanos, r2 = struct.unpack_from("<8sHBB4sqII", raw)
    need(magic == b"KMSFSTAT", "BadMagic")
    known_version(version)
    need(p.same(p.hmac(checkpoint_key, raw[:32]), raw[32:]), "BadTag", "state")
    need(clean in (0, 1), "BadRecord", f"clean {clean}")
    need(moves in (0, 1), "BadRecord", f"old moves {moves}")
    need(not any(r1) and r2 == 0, "ReservedNotZero", "state")
    need(nanos < 10**9, "BadRecord", f"nanoseconds {nanos}")
    return bool(clean), seconds, nanos, bool(moves)


# -- a volume ------------------------------------------------------------------------------------------


class Volume:
    def __init__(self, path, volume_key, data_key):
        """`volume_key(config)` and `data_key(config, file_id, envelope)` give keys; they may raise Wrong."""
        self.path, self.data_key, self.findings = os.fsencode(path), data_key, []
        with open(self.path + b"/.kmsfs/volume.toml", "rb") as file:
            self.config, covered, mac = parse_config(file.read())
        self.id = self.config["id"]
        self.keys = p.volume_keys(volume_key(self.config), self.id)
        need(p.same(p.hmac(self.keys["config"], covered), mac), "BadTag", "volume.toml")
        try:
            clean = parse_state(self.read(b"/.kmsfs/state") or b"", self.keys["checkpoint"])[0]
        except Wrong as wrong:
            clean = self.found("/.kmsfs/state", wrong)
        if clean is False:
            print("note: the volume is not clean", file=sys.stderr)

    def found(self, where, wrong):
        self.findings.append((where, wrong))

    def read(self, lower):
        try:
            with open(self.path + lower, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def home_of_directory(self, own, parent, lower):
        """F-51: bytes 48..64 of the marker."""
        if parent is None or "names" not in self.config:
            return bytes(16)
        name = lower.rsplit(b"/", 1)[-1]
        return p.hmac(self.keys["homes"], b"dir     " + own + parent + name)[:16]

    def entries(self, lower=b"", plain=b"/", parent=None):
        """Every entry below a lower directory, as dicts; what does not verify becomes a finding."""
        try:
            marker = self.read(lower + b"/.kmsfs.dir")
            need(marker is not None, "MarkerMissing")
            directory, policy, home = parse_marker(marker, self.keys["markers"], self.id)
            wanted = self.home_of_directory(directory, parent, lower)
            need(p.same(home, wanted), "BadTag", "home of the directory")
        except Wrong as wrong:
            return self.found(plain, wrong)
        entry = {"path": plain, "kind": "dir", "id": directory, "policy": policy}
        entry["xattrs"] = self.xattrs(lower, plain, directory, self.keys["xattrs"])
        yield entry
        for name in sorted(os.listdir(self.path + (lower or b"/"))):
            if name.startswith(b".kmsfs") or re.fullmatch(rb"L\.[A-Za-z0-9_-]{43}\.name", name):
                continue  # F-30
            at = lower + b"/" + name
            try:
                plain_name = open_name(self.keys["names"], directory, name, lambda s: self.read(lower + b"/" + s))
            except Wrong as wrong:
                self.found(at, wrong)
                continue
            yield from self.entry(at, plain.rstrip(b"/") + b"/" + plain_name, directory)

    def entry(self, lower, plain, directory):
        info = os.lstat(self.path + lower)
        entry = {"path": plain, "lower": lower, "inode": info.st_ino, "links": info.st_nlink}
        try:
            if stat.S_ISDIR(info.st_mode):
                yield from self.entries(lower, plain, directory)
            elif stat.S_ISLNK(info.st_mode):
                text = os.readlink(self.path + lower)
                links = lambda name: self.read(b"/.kmsfs/links/" + name)  # noqa: E731
                yield entry | {"kind": "symlink", "target": open_symlink(self.keys["symlinks"], text, links)}
            elif stat.S_ISREG(info.st_mode):
                yield entry | self.file(lower, plain, info.st_size, directory)
            else:
                yield entry | {"kind": "special", "mode": info.st_mode, "device": info.st_rdev}
        except Wrong as wrong:
            self.found(plain, wrong)

    def open_header(self, lower):
        """(header, the file's keys), verified; F-17."""
        with open(self.path + lower, "rb") as file:
            header = parse_header(file.read(HEADER), self.id)
        keys = p.file_keys(self.data_key(self.config, header.file_id, header.envelope), header.file_id)
        header.verify(keys["header"])
        return header, keys

    def check_home(self, header, directory, name):
        if "names" in self.config:
            header.home.verify(self.keys["homes"], header.file_id, directory, name)
        else:
            need(header.home.kind == 0, "BadHome", "a home in a volume without")

    def file(self, lower, plain, length, directory):
        need(is_legal(length), "BadLength", str(length))
        out = {"kind": "file", "size": plain_size(length), "header": None, "xattrs": {}}
        digest = hashlib.sha256()
        if length:
            out["header"], keys = self.open_header(lower)
            self.check_home(out["header"], directory, lower.rsplit(b"/", 1)[-1])
            out["xattrs"] = self.xattrs(lower, plain, out["header"].file_id, keys["xattrs"])
        for block in self.blocks(lower, length):
            digest.update(block)
        return out | {"sha256": digest.digest()}

    def blocks(self, lower, length):
        """The plaintext of a file, block by block."""
        if length == 0:
            return
        header, keys = self.open_header(lower)
        size, last = plain_size(length), length // PAGE - 1
        with open(self.path + lower, "rb") as file:
            file.seek(HEADER)
            for block in range(last + 1):
                record = file.read(PAGE if block else PAGE - HEADER)
                yield open_block(keys["content"], block, record, last, size, header.envelope.sparse)
            need(not any(file.read()), "Tail", "bytes after the last page")  # F-8

    def xattrs(self, lower, plain, owner, key):
        out, path = {}, self.path + (lower or b"/")
        for name in os.listxattr(path, follow_symlinks=False):
            name = os.fsencode(name)
            if not name.startswith(b"user.kmsfs."):
                continue
            try:
                raw = os.getxattr(path, name, follow_symlinks=False)
                opened, value = open_xattr(self.keys["xattr names"], key, owner, name, raw)
                out[opened] = value
            except Wrong as wrong:
                self.found(plain + b" " + name, wrong)
        return out


# -- command line --------------------------------------------------------------------------------------


def describe(entry):
    """An entry as JSON: bytes as hex, an envelope as its fields."""
    header = entry.pop("header", None)
    out = {k: v.hex() if isinstance(v, bytes) else v for k, v in entry.items()}
    if header:
        e = header.envelope
        out |= {"id": header.file_id.hex(), "sequence": e.sequence, "sparse": e.sparse, "policy": e.policy}
        out |= {"arn": e.arn, "material": e.material.hex()}
    if "xattrs" in out:
        out["xattrs"] = {k.hex(): v.hex() for k, v in out["xattrs"].items()}
    return out


def readable(entry):
    kind = {"dir": "d", "file": "-", "symlink": "l", "special": "?"}[entry["kind"]]
    path = entry["path"].decode(errors="backslashreplace")
    more = f" -> {entry['target'].decode(errors='backslashreplace')}" if "target" in entry else ""
    return f"{kind} {entry.get('size', ''):>12} {path}{more}"


def key_source(args):
    """The two functions that `Volume` asks for keys."""
    if args.passfile or args.keyfile:
        import keydb  # docs/KMS.md; not needed when keys are given

        opener = keydb.Opener(args.volume, args.passfile, args.keyfile)
        return opener.volume_key, opener.data_key
    given = dict(pair.split("=", 1) for pair in args.data_key)

    def data_key(_config, file_id, _envelope):
        need(file_id.hex() in given, "NoDataKey", f"file id {file_id.hex()}")
        return bytes.fromhex(given[file_id.hex()])

    return lambda _config: bytes.fromhex(args.volume_key), data_key


def main():
    parser = argparse.ArgumentParser(description="Read a kmsfs volume without kmsfs.")
    parser.add_argument("volume")
    parser.add_argument("--volume-key", metavar="HEX")
    parser.add_argument("--data-key", metavar="FILEID=HEX", action="append", default=[])
    parser.add_argument("--passfile")
    parser.add_argument("--keyfile")
    parser.add_argument("command", nargs="?", choices=("list", "json", "cat"), default="list")
    parser.add_argument("path", nargs="?")
    args = parser.parse_intermixed_args()
    if not (args.volume_key or args.passfile or args.keyfile):
        parser.error("a key is needed: --volume-key, --passfile or --keyfile")
    try:
        volume = Volume(args.volume, *key_source(args))
    except Wrong as wrong:
        print(f"{args.volume}: {wrong}", file=sys.stderr)
        return 1
    wanted, found = b"/" + os.fsencode(args.path or "").lstrip(b"/"), False
    for entry in volume.entries():
        if args.command == "cat" and entry["path"] == wanted and entry["kind"] == "file":
            found = True
            length = os.lstat(volume.path + entry["lower"]).st_size
            for block in volume.blocks(entry["lower"], length):
                sys.stdout.buffer.write(block)
        elif args.command == "json":
            print(json.dumps(describe(entry)))
        elif args.command == "list":
            print(readable(entry))
    if args.command == "cat" and not found:
        volume.found(args.path, Wrong("NotFound", "no such file"))
    for where, wrong in volume.findings:
        where = os.fsencode(where).decode(errors="backslashreplace")
        print(f"{where}: {wrong}", file=sys.stderr)
    return 1 if volume.findings else 0


if __name__ == "__main__":
    sys.exit(main())
