"""Opens the request and the bundle of a replica without kmsfs: written from docs/KMS.md alone.

Everything that is read is verified; what the receiver's key database knows comes from keydb.py.
"""

import struct

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

import primitives as p
from decode import need
from keydb import Bincode, key_id_bytes, material_id, read_import


class Parts:
    """Reads texts behind a length of 1 byte, and bytes behind one of 2."""

    def __init__(self, data, magic):
        need(data[:8] == magic, "BadMagic")
        need(data[8:10] == b"\1\0", "UnknownVersion")
        self.data, self.at = data, 10

    def take(self, n):
        out = self.data[self.at : self.at + n]
        need(len(out) == n, "Truncated")
        self.at += n
        return out

    def text(self):
        return self.take(self.take(1)[0]).decode()

    def long(self):
        return self.take(struct.unpack("<H", self.take(2))[0])


def read_request(data):
    parts = Parts(data, b"KMSFSREQ")
    valid_to = struct.unpack("<Q", parts.take(8))[0]
    request = {"valid_to": valid_to, "account": parts.text(), "region": parts.text(), "public": parts.long(), "token": parts.long()}
    need(parts.at == len(data), "TooLong")
    return request


def read_token(row_key, token):
    plain = p.short_open(row_key, b"kmsfs v1 kms replica token", token)
    need(plain is not None, "BadTag", "token")
    r = Bincode(plain)
    out = {"account": r.text(), "region": r.text(), "valid_to": r.number(), "private": r.bytes(r.number())}
    r.end()
    return out


def read_material(r):
    out = {"id": r.bytes(32), "since": r.number(), "rotation": r.option(r.text), "revoked": r.option(r.number)}
    return out | {"sealed": r.bytes(r.number())}


def open_bundle(row_key, request, data):
    """What a bundle says of its key, and the key's materials."""
    parts = Parts(data, b"KMSFSKEY")
    need(parts.take(32) == p.sha256(request), "BadTag", "request")
    asked = read_request(request)
    need([parts.text(), parts.text()] == [asked["account"], asked["region"]], "BadTag", "account and Region")
    need(parts.long() == asked["token"], "BadTag", "token")
    token = read_token(row_key, asked["token"])
    need(all(token[name] == asked[name] for name in ("account", "region", "valid_to")), "BadTag", "token")
    private = serialization.load_der_private_key(token["private"], None)
    spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    need(private.public_key().public_bytes(*spki) == asked["public"], "BadTag", "public key")
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    key = private.decrypt(parts.long(), oaep)
    content = p.short_open(key, data[: parts.at], data[parts.at :])
    need(content is not None, "BadTag", "content")
    r = Bincode(content)
    out = {"primary": r.text(), "term": r.number(), "made": r.number()}
    out |= {"spec": r.text(), "usage": r.text(), "origin": r.text()}
    out["materials"] = r.list(lambda: read_material(r))
    imports = r.list(lambda: read_import(r))
    r.end()
    key_id = out["primary"].rsplit("/", 1)[-1]
    for material in out["materials"]:
        label = b"kmsfs v1 kms replica material" + key_id_bytes(key_id) + material["id"]
        plain = p.short_open(key, label, material["sealed"])
        need(plain is not None, "BadTag", "material")
        short = plain if len(plain) == 32 else p.sha256(plain)
        need(material_id(short, key_id) == material["id"], "BadRow", "material has another id")
    return out | {"imports": len(imports)}
