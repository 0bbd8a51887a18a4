#!/usr/bin/env python3
"""Writes testdata/kms/*.json: known answers for docs/KMS.md - blobs, contexts, a whole key database and audit log.

Made with `cryptography` alone, never with kmsfs; reproducible byte for byte. keydb.py reads back what is made here.
usage: make_kms_vectors.py [--check]
"""

import json
import os
import sqlite3
import struct
import sys
import tempfile

import keydb
import primitives as p
from decode import Wrong
from make_vectors import flip, patch, write_files

ROOT_KEY, DATABASE = bytes(range(0x10, 0x30)), bytes(range(0xD0, 0xE0))
REGION, ACCOUNT = "eu-west-1", "111122223333"
PASSPHRASE, KEY_FILE = "correct horse battery staple", bytes(range(0x80, 0xC0))
NONCE, SALT = bytes(range(0x70, 0x88)), bytes(range(0x30, 0x50))
COST = (64, 2, 2)  # KiB, passes, lanes: far too cheap for anything but vectors
ONE, TWO, MULTI = "01234567-89ab-4cde-8f01-23456789abcd", "fedcba98-7654-4321-8fed-cba987654321", "mrk-" + "5a" * 16
MATERIALS = {ONE: [b"\x01" * 32, b"\x02" * 32], TWO: [b"\x03" * 32], MULTI: [b"\x04" * 32]}
ROW_KEY, RING_KEY, AUDIT_KEY = (p.hkdf(ROOT_KEY, DATABASE, b"kmsfs v1 kms " + x, 32) for x in (b"rows", b"ring", b"audit"))
SCHEMA = "CREATE TABLE {} (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) WITHOUT ROWID, STRICT"
RING = "CREATE TABLE ring (one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1), revision INTEGER NOT NULL, mac BLOB NOT NULL) STRICT"


def arn(key_id):
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"


# -- bincode 2, standard configuration -------------------------------------------------------------------


def number(n):
    if n < 251:
        return bytes([n])
    for mark, form, top in ((251, "<H", 1 << 16), (252, "<I", 1 << 32), (253, "<Q", 1 << 64)):
        if n < top:
            return bytes([mark]) + struct.pack(form, n)
    raise ValueError(n)


def text(t):
    return number(len(t.encode())) + t.encode()


def option(value):
    return b"\0" if value is None else b"\1" + value


# Everybody may do everything.
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}'


def key_row(materials, state="Enabled", description="", rotation=None, on_demand=0, deletion=None, policy=POLICY, tags=()):
    out = text(description) + text("SYMMETRIC_DEFAULT") + text("ENCRYPT_DECRYPT") + text("AWS_KMS") + text("CUSTOMER")
    out += number(1767323045000) + text(state)
    out += option(rotation and number(rotation[0]) + number(rotation[1])) + number(on_demand)
    out += option(deletion and number(deletion[0]) + number(deletion[1]) + option(None)) + text(policy)
    out += number(len(tags)) + b"".join(text(k) + text(v) for k, v in tags)
    return out + number(len(materials)) + b"".join(materials)


# -- structures ------------------------------------------------------------------------------------------


def seal_slot(kind, key, costs):
    head = struct.pack("<BBIII", 1, kind, *costs) + SALT
    body = head + p.short_seal(key, b"kmsfs v1 kms slot" + head, ROOT_KEY, NONCE)
    return body + p.sha256(body)[:8]


def slots():
    head = struct.pack("<BBIII", 1, 1, *COST) + SALT
    by_passphrase = keydb.slot_key(head, PASSPHRASE.encode(), None)
    by_file = p.hkdf(KEY_FILE, SALT, b"kmsfs v1 kms slot key file", 32)
    return {"1": seal_slot(1, by_passphrase, COST), "2": seal_slot(2, by_file, (0, 0, 0))}, by_passphrase, by_file


def seal_row(table, name, plain, clear=b""):
    aad = b"kmsfs v1 kms row" + struct.pack("<BI", keydb.TABLES[table], len(name)) + name.encode() + clear
    return p.short_seal(ROW_KEY, aad, plain, NONCE)


def blob(key_id, material, context, plain):
    head = b"\1" + keydb.key_id_bytes(key_id) + keydb.material_id(material, key_id)
    return head + p.short_seal(material, head + p.canonical(context), plain, NONCE)


def audit_lines():
    """(text, head): two records, chained and sealed."""
    out, chain = b"", bytes(32)
    for n, name in enumerate(["CreateKey", "Decrypt"], 1):
        record = {"eventVersion": "1.11", "userIdentity": {}, "eventTime": "2026-01-02T03:04:05Z", "eventName": name}
        body = json.dumps(record | {"sequence": n}, separators=(",", ":"))[:-1].encode()
        chain = p.sha256(chain + body)
        seal = p.hmac(AUDIT_KEY, chain)[:16]
        out += body + b',"chain":"%s","seal":"%s"}\n' % (chain.hex().encode(), seal.hex().encode())
    return out, struct.pack("<Q", 2) + chain


def database():
    """Rows by table and id, and the audit log that belongs to them."""
    log, head = audit_lines()
    ids = {k: [keydb.material_id(m, k) for m in ms] for k, ms in MATERIALS.items()}
    keys = {
        ONE: key_row(
            ids[ONE],
            description="two materials, \u00e4\u4e2d",
            rotation=(365, 1800000000000),
            on_demand=1,
            policy=POLICY,
            tags=[("a", ""), ("team", "storage")],
        ),
        TWO: key_row(ids[TWO], state="Disabled"),
        MULTI: key_row(ids[MULTI], state="PendingDeletion", deletion=(1769915045000, 30)),
    }
    rows = {t: {} for t in keydb.TABLES}
    rows["slots"] = slots()[0]
    rows["meta"] = {"database": DATABASE, "region": REGION.encode(), "account": ACCOUNT.encode(), "audit": head}
    for name, row in keys.items():
        rows["keys"][name] = b"\1" + seal_row("keys", name, row)
        for index, material in enumerate(MATERIALS[name]):
            row_id = f"{name}/{keydb.material_id(material, name).hex()}"
            clear = number(1767323045000 + index) + option(text("ON_DEMAND") if index else None)
            body = b"\1" + struct.pack("<H", len(clear)) + clear
            rows["materials"][row_id] = body + seal_row("materials", row_id, material, clear)
    for alias, target in (("alias/one", ONE), ("alias/two", TWO)):
        rows["aliases"][alias] = b"\1" + text(target) + number(1767323045000) + number(1767323046000)
    return rows, log


def covered(rows, revision):
    """What the code over everything covers; docs/KMS.md, "Code over everything"."""
    out = struct.pack("<Q", revision)
    for table, no in keydb.TABLES.items():
        for name in sorted(rows[table], key=str.encode):
            out += struct.pack("<BQ", no, len(name.encode())) + name.encode()
            out += struct.pack("<Q", len(rows[table][name])) + rows[table][name]
    return out


def write_database(directory, rows, revision, mac, log):
    db = sqlite3.connect(os.path.join(directory, "keys.db"))
    for table in keydb.TABLES:
        db.execute(SCHEMA.format(table))
        db.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows[table].items())
    db.execute(RING)
    db.execute("INSERT INTO ring VALUES (1, ?, ?)", (revision, mac))
    db.execute(f"PRAGMA application_id = {0x6B6D734B}")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    with open(os.path.join(directory, "audit.log"), "wb") as file:
        file.write(log)


def key_databases():
    rows, log = database()
    mac = p.hmac(RING_KEY, covered(rows, 7))
    with tempfile.TemporaryDirectory() as directory:
        write_database(directory, rows, 7, mac, log)
        for passphrase, key_file in ((PASSPHRASE.encode(), None), (None, KEY_FILE)):
            opened = keydb.KeyDatabase(directory, passphrase, key_file)
            assert opened.materials == {(k, keydb.material_id(m, k)): m for k, ms in MATERIALS.items() for m in ms}
    return {
        "about": "A key database, row by row, and its audit log. The clock of its keys stands at 2026-01-02.",
        "section": "docs/KMS.md, Key database",
        "passphrase": PASSPHRASE,
        "key_file": KEY_FILE.hex(),
        "root_key": ROOT_KEY.hex(),
        "derived": {"rows": ROW_KEY.hex(), "ring": RING_KEY.hex(), "audit": AUDIT_KEY.hex()},
        "slot_keys": [x.hex() for x in slots()[1:]],
        "schema": [SCHEMA.format(t) for t in keydb.TABLES] + [RING],
        "tables": {t: {n: body.hex() for n, body in r.items()} for t, r in rows.items()},
        "revision": 7,
        "mac": mac.hex(),
        "audit_log": log.decode(),
        "keys": {
            ONE: {"arn": arn(ONE), "state": "Enabled", "materials": [keydb.material_id(m, ONE).hex() for m in MATERIALS[ONE]]},
            TWO: {"arn": arn(TWO), "state": "Disabled", "materials": [keydb.material_id(m, TWO).hex() for m in MATERIALS[TWO]]},
            MULTI: {
                "arn": arn(MULTI),
                "state": "PendingDeletion",
                "materials": [keydb.material_id(m, MULTI).hex() for m in MATERIALS[MULTI]],
            },
        },
        "aliases": {"alias/one": ONE, "alias/two": TWO},
    }


def contexts():
    """Canonical bytes where sorting and lengths matter."""
    rows = [
        ("no pairs", {}),
        ("one pair", {"a": "b"}),
        ("empty value", {"a": ""}),
        ("sorted by bytes", {"b": "1", "a": "2", "B": "3", "\u00e4": "4", "aa": "5"}),
        ("a join could be forged", {"a": "b,c=d"}),
        ("which is not this", {"a": "b", "c": "d"}),
        ("beyond ASCII", {"\u4e2d": "\U0001f511", "key": "\u00e4"}),
        ("data key", p.file_context(bytes(range(0xA0, 0xB0)), bytes(range(0xB0, 0xC0)))),
    ]
    cases = [{"name": n, "pairs": c, "canonical": p.canonical(c).hex()} for n, c in rows]
    return {"about": "Encryption contexts.", "section": "docs/KMS.md, Ciphertext blob", "cases": cases}


def blobs():
    materials = {(k, keydb.material_id(m, k)): m for k, ms in MATERIALS.items() for m in ms}
    file_context = p.file_context(bytes(range(0xA0, 0xB0)), bytes(range(0xB0, 0xC0)))
    rows = [
        ("data key, current material", ONE, 1, file_context, bytes(range(32))),
        ("data key, older material", ONE, 0, file_context, bytes(range(32))),
        ("no context", ONE, 1, {}, b"x"),
        ("largest plaintext", ONE, 1, {"a": ""}, bytes(i % 256 for i in range(4096))),
    ]
    cases = []
    for name, key, index, context, plain in rows:
        made = blob(key, MATERIALS[key][index], context, plain)
        assert keydb.open_blob(made, materials, key, context) == plain
        case = {"name": name, "key": arn(key), "current": index == len(MATERIALS[key]) - 1, "context": context}
        cases.append(case | {"plain": plain.hex(), "blob": made.hex()})
    good = blob(ONE, MATERIALS[ONE][1], file_context, bytes(range(32)))
    wrong = [
        ("version 2", patch(good, 0, b"\2"), file_context),
        ("kind of key id unknown", patch(good, 1, b"\2"), file_context),
        ("key that does not exist", flip(good, 5), file_context),
        ("material that does not exist", flip(good, 20), file_context),
        ("material of the same key", patch(good, 18, keydb.material_id(MATERIALS[ONE][0], ONE)), file_context),
        ("nonce changed", flip(good, 50), file_context),
        ("tag changed", flip(good, 74), file_context),
        ("ciphertext changed", flip(good, 121), file_context),
        ("cut by one byte", good[:-1], file_context),
        ("one byte more", good + b"\0", file_context),
        ("cut in the head", good[:40], file_context),
        ("head alone", good[:90], file_context),
        ("no context", good, {}),
        ("context with a pair more", good, file_context | {"x": "y"}),
        ("context with another value", good, file_context | {"kmsfs:file": "00" * 16}),
        ("not a blob", b"junk", {}),
    ]
    errors = []
    for name, raw, context in wrong:
        try:
            keydb.open_blob(raw, materials, ONE, context)
            raise AssertionError(name)
        except Wrong:
            errors.append({"name": name, "blob": raw.hex(), "context": context, "error": "InvalidCiphertext"})
    return {
        "about": "Blobs under the keys of database.json; nonce of all of them: `nonce`.",
        "section": "docs/KMS.md, Ciphertext blob",
        "nonce": NONCE.hex(),
        "cases": cases,
        "errors": errors,
    }


def main():
    files = {"contexts": contexts(), "blobs": blobs(), "database": key_databases()}
    return write_files(os.path.join(os.path.dirname(os.path.abspath(__file__)), "kms"), files)


if __name__ == "__main__":
    sys.exit(main())
