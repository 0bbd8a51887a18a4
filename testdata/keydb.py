"""Opens a kmsfs key database without kmsfs: written from docs/KMS.md alone.

Gives decode.py the volume key and data keys of a volume whose key database is at hand. Everything that is read is
verified: slots, the code over all rows, every sealed column, the audit log's chain and seals.
"""

import json
import os
import re
import sqlite3
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

import primitives as p
from decode import Wrong, need

TABLES = {"slots": 1, "meta": 2, "keys": 3, "materials": 4, "aliases": 5}


class Bincode:
    """Reads bincode 2, `standard` configuration."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        out = self.data[self.at : self.at + n]
        need(len(out) == n, "Truncated", "row")
        self.at += n
        return out

    def number(self):
        first = self.bytes(1)[0]
        if first < 251:
            return first
        need(first < 254, "BadRow", "integer")
        return int.from_bytes(self.bytes({251: 2, 252: 4, 253: 8}[first]), "little")

    def text(self):
        return self.bytes(self.number()).decode()

    def option(self, read):
        tag = self.bytes(1)[0]
        need(tag in (0, 1), "BadRow", "option")
        return read() if tag else None

    def list(self, read):
        return [read() for _ in range(self.number())]

    def end(self):
        need(self.at == len(self.data), "TooLong", "row")


@dataclass
class Key:
    """What decoding needs of a row of `keys`, and what is worth showing."""

    id: str
    state: str
    materials: list


def read_grant(r):
    pairs = lambda: r.list(lambda: (r.text(), r.text()))
    r.text(), r.text(), r.option(r.text), r.text(), r.option(r.text)  # id, token, name, grantee, retiring
    r.list(r.text)  # operations
    r.option(pairs), r.option(pairs)  # contexts: equal, contained
    r.text(), r.number()  # issuer, created


def read_import(r):
    r.bytes(32), r.option(r.number), r.option(r.text)  # id, expiry, description
    need(r.bytes(1)[0] in (0, 1), "BadRow", "pending")
    r.number(), r.option(r.text)  # since, rotation


def read_key(key_id, version, body):
    r = Bincode(body)
    for _ in range(5):
        r.text()  # description, spec, usage, origin, manager
    r.number()  # created
    state = r.text()
    r.option(lambda: (r.number(), r.number()))  # rotation
    r.number()  # rotations on demand
    r.option(lambda: (r.number(), r.number(), r.option(r.number)))  # deletion
    r.text()  # policy
    r.list(lambda: (r.text(), r.text()))  # tags
    materials = r.list(lambda: r.bytes(32))
    if version > 1:
        r.list(lambda: read_grant(r))
    if version == 2:
        r.option(lambda: (r.bytes(32), r.option(r.number)))  # imported material
    if version > 2:
        r.list(lambda: read_import(r))
        pending = r.option(lambda: r.bytes(32))
        materials += [pending] if pending else []
        r.option(lambda: (r.text(), r.number()))  # Region of the primary, moves
    if version == 4:
        r.number()  # when its last bundle was made
    r.end()
    return Key(key_id, state, materials)


def read_volume(body):
    """Path, time of the count, and uses: key ARN, material, files, bytes, wraps the volume's key, may have grown."""
    r = Bincode(body)
    flag = lambda: bool(r.bytes(1)[0])
    use = lambda: (r.text(), r.option(lambda: r.bytes(32)), r.number(), r.number(), flag(), flag())
    volume = (r.text(), r.option(r.number), r.list(use))
    r.end()
    return volume


def key_id_bytes(key_id):
    """Kind and bytes of a key id, as blobs carry them."""
    if key_id.startswith("mrk-"):
        return b"\1" + bytes.fromhex(key_id[4:])
    return b"\0" + bytes.fromhex(key_id.replace("-", ""))


def material_id(material, key_id):
    return p.hmac(material, b"kmsfs v1 kms material id" + key_id_bytes(key_id))


def slot_key(slot, passphrase, key_file, kit=None):
    """The key of one slot; None if what was given is not for its kind."""
    memory, passes, lanes = struct.unpack_from("<III", slot, 2)
    salt = slot[14:46]
    if slot[1] == 1 and passphrase is not None:
        return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(passphrase)
    if slot[1] == 2 and key_file is not None:
        need(len(key_file) >= 32, "KeyFile", "shorter than 32 bytes")
        return p.hkdf(key_file, salt, b"kmsfs v1 kms slot key file", 32)
    if slot[1] == 3 and kit is not None:
        return p.hkdf(kit, salt, b"kmsfs v1 kms slot recovery kit", 32)
    return None


def open_slots(slots, passphrase, key_file, kit=None):
    """The root key: from the first slot that opens."""
    for name, slot in slots.items():
        need(len(slot) == 126 and slot[:1] == b"\1" and slot[1] in (1, 2, 3), "BadSlot", name)
        need(slot[118:] == p.sha256(slot[:118])[:8], "TornSlot", name)
        key = slot_key(slot, passphrase, key_file, kit)
        root = key and p.short_open(key, b"kmsfs v1 kms slot" + slot[:46], slot[46:118])
        if root:
            return root
    raise Wrong("NoSlot", "no slot opens with this passphrase or key file")


def open_blob(blob, materials, key_id, context):
    """The plaintext of a ciphertext blob; `materials` by (key id, material id)."""
    need(len(blob) >= 90 and blob[0] == 1, "BadBlob")
    need(blob[1:18] == key_id_bytes(key_id), "BadBlob", f"another key than {key_id}")
    material = materials.get((key_id, blob[18:50]))
    need(material is not None, "NoMaterial", blob[18:50].hex())
    plain = p.short_open(material, blob[:50] + p.canonical(context), blob[50:])
    need(plain is not None, "BadTag", "ciphertext blob")
    return plain


class KeyDatabase:
    def __init__(self, directory, passphrase, key_file, kit=None):
        path = os.path.join(directory, "keys.db")
        need(os.path.exists(path), "NoKeyDatabase", path)
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            pragma = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            need(pragma == [0x6B6D734B, 1], "UnknownVersion", str(pragma))
            self.rows = {t: dict(db.execute(f"SELECT id, body FROM {t}").fetchall()) for t in TABLES}
            ring = db.execute("SELECT revision, mac FROM ring").fetchall()
        finally:
            db.close()
        need(len(ring) == 1, "BadRow", "ring")
        root = open_slots(self.rows["slots"], passphrase, key_file, kit)
        salt = self.rows["meta"].get("database", b"")
        need(len(salt) == 16, "BadRow", "meta database")
        self.row_key, ring_key, self.audit_key = (
            p.hkdf(root, salt, b"kmsfs v1 kms " + what, 32) for what in (b"rows", b"ring", b"audit")
        )
        need(p.same(p.hmac(ring_key, self.covered(ring[0][0])), ring[0][1]), "BadTag", "code of the key database")
        self.keys, self.materials, self.revoked, self.volumes = {}, {}, {}, {}
        self.read_rows()
        self.verify_audit(os.path.join(directory, "audit.log"))

    def covered(self, revision):
        """What the code over everything covers."""
        out = [struct.pack("<Q", revision)]
        for table, number in TABLES.items():
            for name, body in sorted((k.encode(), v) for k, v in self.rows[table].items()):
                out.append(struct.pack("<BQ", number, len(name)) + name + struct.pack("<Q", len(body)) + body)
        return b"".join(out)

    def unseal(self, table, name, sealed, more=b""):
        aad = b"kmsfs v1 kms row" + struct.pack("<BI", TABLES[table], len(name)) + name.encode() + more
        plain = p.short_open(self.row_key, aad, sealed)
        need(plain is not None, "BadTag", f"row {name} of {table}")
        return plain

    def read_rows(self):
        for name, body in self.rows["keys"].items():
            need(body[:1] in (b"\1", b"\2", b"\3", b"\4"), "UnknownVersion", f"key {name}")
            self.keys[name] = read_key(name, body[0], self.unseal("keys", name, body[1:]))
        for name, body in self.rows["materials"].items():
            need(body[:1] in (b"\1", b"\2"), "UnknownVersion", f"material {name}")
            length = int.from_bytes(body[1:3], "little")
            description, sealed = body[3 : 3 + length], body[3 + length :]
            r = Bincode(description)
            r.number(), r.option(r.text)
            revoked = r.number() if body[:1] == b"\2" else None
            r.end()
            material = self.unseal("materials", name, sealed, description)
            key_id, _, digits = name.partition("/")
            need(material_id(material, key_id).hex() == digits, "BadRow", f"material {name} has another id")
            self.materials[key_id, bytes.fromhex(digits)] = material
            self.revoked[key_id, bytes.fromhex(digits)] = revoked
        listed = {(k.id, m) for k in self.keys.values() for m in k.materials}
        need(listed == set(self.materials), "BadRow", "keys and materials name different materials")
        for name, body in self.rows["meta"].items():
            if name.startswith("volume/"):
                need(body[:1] == b"\1", "UnknownVersion", name)
                self.volumes[name.removeprefix("volume/")] = read_volume(self.unseal("meta", name, body[1:]))
        for name, body in self.rows["aliases"].items():
            need(body[:1] == b"\1", "UnknownVersion", f"alias {name}")
            r = Bincode(body[1:])
            need(r.text() in self.keys, "BadRow", f"alias {name} names no key")
            r.number(), r.number(), r.end()

    def verify_audit(self, path):
        """The chain through all segments, the seals, and that the log reaches the head that the database knows."""
        names = [n for n in os.listdir(os.path.dirname(path)) if re.fullmatch(r"audit\.log\.\d{6,}", n)]
        full = {int(n.rsplit(".", 1)[1]): os.path.join(os.path.dirname(path), n) for n in names}
        if full and os.path.samefile(full[max(full)], path):
            del full[max(full)]
        chain, number, begin, removed, chains = bytes(32), 0, None, None, {}
        last = min(full, default=1) - 1
        for segment, file_path in sorted(full.items()) + [(None, path)]:
            with open(file_path, "rb") as file:
                lines = file.read().split(b"\n")
            need(segment is None or lines[-1] == b"", "BadAudit", f"segment {segment} is torn")
            opens = json.loads(lines[0]).get("opens") if lines[0].startswith(b'{"kmsfsLog":') else None
            if opens and begin is None and opens["segment"] > 1 and segment in (None, opens["segment"]):
                last, number, chain = opens["segment"] - 1, opens["afterSequence"], bytes.fromhex(opens["afterChain"])
            if begin is None:
                begin, chains[number] = (last, number), chain
            else:
                need(opens, "BadAudit", f"segment {last + 1} does not carry the chain on")
            if opens:
                after = (opens["segment"] - 1, opens["afterSequence"], opens["afterChain"])
                need(after == (last, number, chain.hex()), "BadAudit", f"segment {last + 1} follows another one")
            need(segment in (None, last + 1), "BadAudit", f"segment {last + 1} is missing")
            last += 1
            for line in lines[:-1]:
                end = re.search(rb',"chain":"([0-9a-f]{64})","seal":"([0-9a-f]{32})"\}\Z', line)
                need(end, "BadAudit", f"line {number + 1}")
                chain, number = p.sha256(chain + line[: end.start()]), number + 1
                need(chain.hex().encode() == end.group(1), "BadAudit", f"chain of line {number}")
                seal = p.hmac(self.audit_key, chain)[:16].hex().encode()
                need(seal == end.group(2), "BadAudit", f"seal of line {number}")
                record = json.loads(line)
                need(record["sequence"] == number, "BadAudit", f"number of line {number}")
                removed = record.get("removed", removed) if "kmsfsLog" in record else removed
                chains[number] = chain
        need(begin[0] == 0 or (removed and removed["segment"] >= begin[0]), "BadAudit", f"segment {begin[0]} is missing")
        head = self.rows["meta"].get("audit", b"")
        known = int.from_bytes(head[:8], "little")
        need(known < begin[1] or chains.get(known) == head[8:], "BadAudit", f"the log does not reach line {known}")

    def open(self, arn, blob, context):
        key_id = arn.rsplit("/", 1)[-1]
        need(key_id in self.keys, "NoKey", arn)
        return open_blob(blob, self.materials, key_id, context)


class Opener:
    """Finds the key database of a volume when its configuration is known."""

    def __init__(self, volume, passfile, keyfile):
        def read(path):
            if path is None:
                return None
            with open(path, "rb") as file:
                return file.read()

        self.own, self.database = os.path.join(volume, ".kmsfs"), None
        passphrase = read(passfile)
        self.passphrase = None if passphrase is None else passphrase.removesuffix(b"\n")
        self.key_file = read(keyfile)

    def volume_key(self, config):
        directory = config["kms"].get("path", self.own)
        self.database = KeyDatabase(directory, self.passphrase, self.key_file)
        return self.database.open(config["volume_key"]["key_arn"], config["wrapped"], p.volume_context(config["id"]))

    def data_key(self, config, file_id, envelope):
        need(envelope.material in (bytes(32), envelope.wrapped[18:50]), "BadBlob", "the envelope names another material")
        return self.database.open(envelope.arn, envelope.wrapped, p.file_context(config["id"], file_id))
