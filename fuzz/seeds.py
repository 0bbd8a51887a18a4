#!/usr/bin/env python3
"""Seeds of the corpora, from the vectors in testdata and the sessions of tests/kms_wire.

    fuzz/seeds.py        writes fuzz/corpus/TARGET/seed-*

The vectors come from an independent implementation; each is input of a target as it stands.
"""
import base64
import hashlib
import json
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTDATA = HERE.parent / "testdata"
CORPUS = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"


def seed(target, data):
    """Writes one seed, named by its content."""
    place = CORPUS / target
    place.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        data = data.encode()
    (place / f"seed-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)


def seed_calls(target, text):
    """One seed of calls; what names RSA keys is among the inputs that may make them: see RSA_EVERY."""
    while "RSA_2048" in text and sum(text.encode()) % 17 != 0:
        text += "\n"
    seed(target, text)


def vectors(name):
    """A file of vectors."""
    return json.loads((TESTDATA / name).read_text())


def cases(name, *lists):
    """The cases of some lists of a file of vectors."""
    file = vectors(f"format/v1/{name}.json")
    return [case for key in lists for case in file.get(key, [])]


def files():
    """Structures of a volume's files."""
    for case in cases("headers", "cases", "errors"):
        seed("file_header", bytes.fromhex(case["header"])[:1536])
    for case in cases("records", "seals", "errors"):
        record = bytes.fromhex(case["record"])
        block = case["block"]
        head = bytes([block]) if block < 2 else b"\x03" + struct.pack("<Q", block)
        seed("record", head + record[40:48] + record[:200])
    for case in cases("markers", "cases", "errors"):
        seed("dir_marker", bytes.fromhex(case["marker"]))
    for case in cases("states", "cases", "errors"):
        seed("volume_state", bytes.fromhex(case["state"]))
    for case in cases("configs", "cases", "errors"):
        if len(case["text"]) < 20_000:
            seed("volume_config", case["text"])
    for case in cases("layout", "sizes", "lower"):
        seed("layout", struct.pack("<Q", case["lower_len"] % 2**64))


def archives():
    """Header archives: a head, and entries of each kind without a good tag."""
    head = b"KMSFSHDR" + struct.pack("<H6x16sQ24x", 1, bytes(range(0xA0, 0xB0)), 1_700_000_000)
    entry = lambda kind, path, data: struct.pack("<BII", kind, len(path), len(data)) + path + data + bytes(32)
    entries = [entry(1, b"volume.toml", b"x"), entry(2, b"", bytes(96)), entry(3, b"a/b", bytes(64)), entry(4, b"a/L.x.name", b"y")]
    end = entry(255, b"", b"")
    seed("header_archive", head + b"".join(entries) + end)
    seed("header_archive", head + end)
    seed("header_archive", head + entry(3, b"../x", b"")[:20])
    seed("recovery_kit", "# kit\n" + "abandon " * 23 + "art")
    seed("recovery_kit", "1. zoo\n2. ZOO\n" + "zoo " * 21 + "vote")
    seed("recovery_kit", "legal winner thank year")


def bundles():
    """Requests and bundles of replicas, and what a bundle carries."""
    short = lambda text: bytes([len(text)]) + text.encode()
    long = lambda data: struct.pack("<H", len(data)) + data
    region = short("000000000000") + short("eu-west-1")
    seed("replica_bundle", b"KMSFSREQ" + struct.pack("<HQ", 1, 1_700_086_400_000) + region + long(bytes(550)) + long(bytes(60)))
    seed("replica_bundle", b"KMSFSKEY" + struct.pack("<H", 1) + bytes(32) + region + long(bytes(60)) + long(bytes(512)) + bytes(80))
    arn = "arn:aws:kms:us-east-1:000000000000:key/mrk-0123456789abcdef0123456789abcdef"
    material = lambda fill, rotation, revoked: bincode(bytes(32), 1_700_000_000_000, rotation, revoked, 32, bytes([fill]) * 32)
    first, second = material(1, None, b"\1" + bincode(1_700_000_000_001)), material(2, b"\1" + bincode("ON_DEMAND"), None)
    head = lambda origin: bincode(arn, 3, 1_700_000_000_002, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", origin)
    seed("replica_bundle", head("AWS_KMS") + bincode(2) + first + second + bincode(0))
    imported = bincode(bytes(32), None, None, b"\0", 1_700_000_000_000, None)
    seed("replica_bundle", head("EXTERNAL") + bincode(1) + second + bincode(1) + imported)


def names():
    """Names, targets, attributes."""
    for case in cases("names", "cases", "errors"):
        if "plain" in case:
            seed("plain_name", bytes.fromhex(case["plain"]))
        sealed = bytes.fromhex(case.get("sealed", ""))
        seed("lower_name", case["lower"].encode() + b"\n" + sealed)
    for name in cases("names", "own", "foreign"):
        seed("lower_name", name if isinstance(name, str) else name.get("lower", ""))
    for case in cases("symlinks", "cases", "errors"):
        for field in ("inline", "external", "text"):
            if case.get(field):
                seed("symlink", case[field])
    for case in cases("xattrs", "cases", "errors"):
        seed("xattr", case["lower"].encode() + b"\n" + bytes.fromhex(case["stored"]))
    for name in (b"user.a", b"user." + b"n" * 250, b"user.\xff\x00"):
        seed("xattr", name + b"\nvalue")


def bincode(*values):
    """bincode 2's standard configuration: numbers in as few bytes as they need."""
    out = b""
    for value in values:
        if isinstance(value, int):
            if value < 251:
                out += bytes([value])
            elif value < 2**16:
                out += b"\xfb" + struct.pack("<H", value)
            elif value < 2**32:
                out += b"\xfc" + struct.pack("<I", value)
            else:
                out += b"\xfd" + struct.pack("<Q", value)
        elif isinstance(value, str):
            out += bincode(len(value.encode())) + value.encode()
        elif value is None:
            out += b"\0"
        elif isinstance(value, bytes):
            out += value
        elif isinstance(value, list):
            out += bincode(len(value), *value)
        else:
            out += bincode(*value)
    return out


POLICY = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
     "Action": "kms:*", "Resource": "*"}]})


def key_row(state, rotation, deletion, materials):
    """A key's row in the database."""
    return bincode("for files", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", "CUSTOMER",
                   1_700_000_000_000, state, rotation, 1, deletion, POLICY, [("team", "a")], materials)


def rows():
    """Rows of the key database."""
    material = bincode(1_700_000_000_000, b"\x01", "ON_DEMAND")
    material = b"\x01" + struct.pack("<H", len(material)) + material + bytes(32)
    alias = b"\x01" + bincode("07070707-0707-4707-8707-070707070707", 1, 2)
    key = key_row("Enabled", (b"\x01", 365, 1_731_536_000_000), None, [bytes(32), b"\x01" * 32])
    dead = key_row("PendingDeletion", None, (b"\x01", 1_700_600_000_000, 7, b"\x00"), [bytes(32)])
    grant = bincode("a" * 64, "token", b"\x01", "name", "arn:aws:iam::000000000000:user/ann", None,
                    ["Decrypt"], b"\x01", [("k", "v")], None, "arn:aws:iam::000000000000:root", 5)
    more = key + bincode(1) + grant + b"\x01" + bytes(32) + b"\x01" + bincode(1_800_000_000_000)
    for version, row in ((1, key), (1, dead), (2, more)):
        sizes = struct.pack("<HH", len(row), len(material))
        seed("key_rows", bytes([version]) + sizes + row + material + alias)
    for kind, cost in ((1, (8, 1, 1)), (2, (0, 0, 0)), (1, (2**31, 99, 99))):
        seed("key_slot", bytes([1, kind]) + struct.pack("<III", *cost) + bytes(32 + 72 + 8))
    for case in vectors("kms/blobs.json")["cases"] + vectors("kms/blobs.json")["errors"]:
        seed("blob", bytes.fromhex(case["blob"]))
    record = '{"eventVersion":"1.11","eventName":"Decrypt"'
    tail = ',"sequence":1,"chain":"%s","seal":"%s"}' % ("0" * 64, "0" * 32)
    seed("audit_line", record + tail)


def sessions():
    """Calls, from the sessions that tests/kms_wire.rs plays."""
    for path in sorted((HERE.parent / "tests" / "kms_wire").glob("*.txt")):
        calls = [line for line in path.read_text().splitlines() if line[:2] in ("> ", "+ ")]
        for at in range(0, len(calls), 8):
            seed_calls("kms_calls", "\n".join(calls[at : at + 8]))
        for call in calls:
            operation, _, body = call[2:].partition(" ")
            if call.startswith("> "):
                seed_calls("http_service", "POST / \nX-Amz-Target:TrentService.%s\n\n%s" % (operation, body))
    for operation, body in (
        ("Sign", {"KeyId": "$3", "Message": "YQ==", "SigningAlgorithm": "ECDSA_SHA_256"}),
        ("GenerateMac", {"KeyId": "$4", "Message": "YQ==", "MacAlgorithm": "HMAC_SHA_256"}),
        ("GetParametersForImport", {"KeyId": "$6", "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
                                    "WrappingKeySpec": "RSA_2048"}),
        ("ImportKeyMaterial", {"KeyId": "$6", "ImportToken": "$ImportToken", "EncryptedKeyMaterial":
                               "YQ==", "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}),
        ("Encrypt", {"KeyId": "$2", "Plaintext": "YQ==",
                     "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
        ("ReEncrypt", {"CiphertextBlob": "$CiphertextBlob", "DestinationKeyId": "$1"}),
    ):
        seed_calls("kms_calls", "> Encrypt {\"KeyId\": \"$1\", \"Plaintext\": \"YQ==\"}\n> %s %s\n+ 400 days"
             % (operation, json.dumps(body)))


def policies():
    """Key policies, with who asks and a context."""
    condition = {
        "StringEquals": {"kms:EncryptionContext:team": ["a", "b"], "kms:ViaService": "fs"},
        "ForAllValues:StringLike": {"kms:EncryptionContextKeys": ["t*m"]},
        "Bool": {"aws:PrincipalIsAWSService": "false"}, "Null": {"aws:PrincipalArn": False},
        "NumericLessThanEqualsIfExists": {"kms:x": 7}, "ArnLike": {"aws:PrincipalArn": "arn:*:iam::*"},
    }
    statement = {"Sid": "s", "Effect": "Deny", "NotPrincipal": {"AWS": ["000000000000"]},
                 "Action": ["kms:De*", "kms:?ncrypt"], "Resource": "*", "Condition": condition}
    for document in (POLICY, json.dumps({"Statement": statement}), json.dumps({"Statement": [
            {**statement, "Effect": "Allow", "NotPrincipal": "*"}]})):
        for who in ("arn:aws:iam::000000000000:user/ann", "fs.kmsfs.internal"):
            seed("access_policy", f"{who}\nteam=a\n{document}")
    for text in ("alias/aws/fs", "01234567-89ab-4cde-8f01-23456789abcd", "arn:aws:iam::000000000000:root",
                 "arn:aws:kms:us-east-1:000000000000:key/01234567-89ab-4cde-8f01-23456789abcd",
                 "mrk-0123456789abcdef0123456789abcdef", "arn:aws:sts::000000000000:assumed-role/a/b"):
        seed("key_names", text)


def requests():
    """HTTP requests, control requests, credentials, tokens."""
    # Signed by botocore with the clock at 2026-01-31 23:59:59.
    signature = "5d2500e3ef0c280eccd017942f19c1fa00979f6d51b9bf39539ae127b6ecf071"
    seed("sigv4", "POST / \ncontent-type:application/x-amz-json-1.1\n"
         "x-amz-target:TrentService.DescribeKey\nhost:127.0.0.1:8733\nx-amz-date:20260131T235959Z\n"
         "authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260131/eu-west-1/kms/aws4_request, "
         "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + signature +
         '\n\n{"KeyId": "alias/x"}')
    seed("sigv4", "GET /a?b c=d\nA:  1   2 \na:3\nX-Amz-Security-Token:x\n\nbody")
    seed("credentials", '[[principal]]\naccess_key_id = "AKIDEXAMPLE"\nsecret_access_key = "canary"\n'
         'arn = "arn:aws:iam::000000000000:root"\n')
    for verb in (
        {"verb": "hello"}, {"verb": "status"}, {"verb": "file-status", "path": "dir/link"},
        {"verb": "rewrap"}, {"verb": "rewrap", "paths": ["long"], "dry_run": True, "rate_per_sec": 5.5,
                             "max_secs": 1, "touch": True, "key": "alias/aws/fs"},
        {"verb": "rewrap-status"}, {"verb": "usage", "key": None}, {"verb": "usage", "key": "2b"},
        {"verb": "policy-set", "path": "dir", "alias": "alias/aws/fs"},
        {"verb": "policy-show", "path": ""}, {"verb": "fsck", "depth": "quick", "paths": []},
        {"verb": "fsck", "depth": "full", "paths": ["dir", "../x"]}, {"verb": "shutdown", "lazy": True},
        {"verb": "kms", "operation": "ListKeys", "input": {}, "force_data_loss": None},
    ):
        seed("control_request", json.dumps({"v": 1, **verb}))
    arn = "arn:aws:kms:us-east-1:000000000000:key/01234567-89ab-4cde-8f01-23456789abcd"
    token = bincode(arn, "RSAES_OAEP_SHA_256", "RSA_2048", 1_900_000_000_000, [1, 2, 3])
    seed("import_token", struct.pack("<H", len(token)) + token + bytes(256))


def operations():
    """Operations on content, and changes of a lower tree."""
    op = lambda op, at, size: struct.pack("<BHH", op, at, size)
    seed("content_ops", op(0, 0, 5000) + op(11, 0, 5000) + op(5, 0, 0) + op(7, 0, 0) + op(11, 2000, 900))
    seed("content_ops", op(0, 2512, 1) + op(3, 30000, 1) + op(8, 0, 0) + op(4, 4000, 8000) + op(10, 0, 0)
         + op(0, 9000, 3) + op(6, 0, 0) + op(3, 0, 1) + op(0, 6560, 4048) + op(9, 0, 0))
    for op in range(8):
        for which in (0, 3, 5, 8):
            seed("lower_tree", struct.pack("<BHHHB", op, which, which + 1, 40, 4) + b"\x01\x80abc")


for make in (files, archives, bundles, names, rows, sessions, policies, requests, operations):
    make()
print(sum(1 for _ in CORPUS.glob("*/seed-*")), "seeds")
