"""The cryptography of kmsfs for the second implementation, written from docs/FORMAT.md, section 10.

Only primitives and derivations live here; layouts are in decode.py. Needs Python 3.11 and `cryptography`.
"""

import hashlib
import hmac as _hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE_KEYS = {"content": 32, "header": 32, "xattrs": 32}
VOLUME_KEYS = {
    "names": 64,
    "config": 32,
    "markers": 32,
    "symlinks": 32,
    "xattr names": 64,
    "xattrs": 32,
    "checkpoint": 32,
    "archive": 32,
    "homes": 32,
}


def sha256(data):
    return hashlib.sha256(data).digest()


def hmac(key, data):
    return _hmac.new(key, data, hashlib.sha256).digest()


def same(a, b):
    return _hmac.compare_digest(a, b)


def hkdf(ikm, salt, info, length):
    """RFC 5869 with SHA-256, extract and expand."""
    return HKDF(hashes.SHA256(), length, salt, info).derive(ikm)


def file_keys(data_key, file_id):
    """Section 10.2: the three keys of a file."""
    return {k: hkdf(data_key, file_id, b"kmsfs v1 file " + k.encode(), n) for k, n in FILE_KEYS.items()}


def volume_keys(volume_key, volume_id):
    """Section 10.2: the seven keys of a volume."""
    return {k: hkdf(volume_key, volume_id, b"kmsfs v1 volume " + k.encode(), n) for k, n in VOLUME_KEYS.items()}


def xaes_key(key, nonce):
    """Section 10: the AES-256-GCM key of XAES-256-GCM for the first 12 bytes of a nonce."""

    def aes(block):
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

    low = int.from_bytes(aes(bytes(16)), "big") << 1
    k1 = ((low & (2**128 - 1)) ^ (0x87 if low >> 128 else 0)).to_bytes(16, "big")

    def half(counter):
        block = bytes([0, counter, 0x58, 0]) + nonce[:12]
        return aes(bytes(a ^ b for a, b in zip(block, k1, strict=True)))

    return half(1) + half(2)


def xaes_seal(key, nonce, aad, plain):
    """XAES-256-GCM; gives (tag, ciphertext) in the order in which kmsfs stores them."""
    out = AESGCM(xaes_key(key, nonce)).encrypt(nonce[12:24], plain, aad)
    return out[-16:], out[:-16]


def xaes_open(key, nonce, aad, tag, ciphertext):
    """The plaintext; None if the tag does not verify."""
    try:
        return AESGCM(xaes_key(key, nonce)).decrypt(nonce[12:24], ciphertext + tag, aad)
    except InvalidTag:
        return None


def short_seal(key, aad, plain, nonce):
    """Section 10.3."""
    tag, ciphertext = xaes_seal(key, nonce, aad, plain)
    return nonce + tag + ciphertext


def short_open(key, aad, sealed):
    if len(sealed) < 40:
        return None
    return xaes_open(key, sealed[:24], aad, sealed[24:40], sealed[40:])


def siv_seal(key, aad, plain):
    """AES-256-SIV, RFC 5297, one component of associated data."""
    return AESSIV(key).encrypt(plain, [aad])


def siv_open(key, aad, sealed):
    if len(sealed) < 17:
        return None
    try:
        return AESSIV(key).decrypt(sealed, [aad])
    except InvalidTag:
        return None


def canonical(context):
    """Section 10.4: canonical bytes of an encryption context (a dict of text)."""
    pairs = sorted((k.encode(), v.encode()) for k, v in context.items())
    return b"".join(len(x).to_bytes(4, "little") + x for pair in pairs for x in pair)


def volume_context(volume_id):
    return {"kmsfs:suite": "XAES-256-GCM", "kmsfs:volume": volume_id.hex()}


def file_context(volume_id, file_id):
    return {"kmsfs:file": file_id.hex()} | volume_context(volume_id)
