"""Writes the structures of docs/FORMAT.md, for the vectors only. The reading side is decode.py."""

import struct

import primitives as p
from decode import FIRST_PAYLOAD, HEADER, PAGE, PAYLOAD, b64url

# Inputs of the worked example, docs/FORMAT.md, section 13.
VOLUME_KEY, DATA_KEY = bytes(range(0x00, 0x20)), bytes(range(0x20, 0x40))
VOLUME_ID, FILE_ID, DIR_ID = (bytes(range(x, x + 16)) for x in (0xA0, 0xB0, 0xC0))
MATERIAL, WRAPPED = bytes(range(0x40, 0x60)), bytes(range(0x60, 0xC0))
N1, N2A, N2B = (bytes(range(x, x + 12)) for x in (0xD0, 0xE0, 0xF0))
SHORT_NONCE, LINK_ID = bytes(range(0x70, 0x88)), bytes(range(0x90, 0xA0))
ARN = "arn:aws:kms:local:000000000000:key/01234567-89ab-4cde-8f01-23456789abcd"

FILE = p.file_keys(DATA_KEY, FILE_ID)
VOLUME = p.volume_keys(VOLUME_KEY, VOLUME_ID)


def record(block, plain, final, n1=N1, n2=N2A, key=FILE["content"]):
    """Section 3: a whole record, padding included."""
    head = struct.pack("<HHI", len(plain), 1 if final else 0, 0)
    tag, ciphertext = p.xaes_seal(key, n1 + n2, block.to_bytes(8, "little") + head, plain)
    return (n1 + n2 + tag + head + ciphertext).ljust(PAGE if block else PAGE - HEADER, b"\0")


def prelude(volume_id=VOLUME_ID, file_id=FILE_ID, generation=0):
    head = struct.pack("<8sHHIII16s16s", b"\x89KMSFS\r\n", 1, 1, PAGE, HEADER, generation, volume_id, file_id)
    return head.ljust(512, b"\0")


def fields(sequence=1, flags=0, policy=0, material=MATERIAL, arn=ARN, wrapped=WRAPPED):
    """The first 472 bytes of a slot."""
    text = arn.encode()
    head = struct.pack("<QII32sHHI", sequence, flags, policy, material, len(text), len(wrapped), 0)
    return head + text.ljust(152, b"\0") + wrapped.ljust(256, b"\0") + bytes(8)


def finish(fields472, head=None, key=FILE["header"]):
    """A slot: fields, checksum, tag."""
    tag = p.hmac(key, (head or prelude()) + fields472)
    return fields472 + p.sha256(fields472 + tag)[:8] + tag


def slot(**changes):
    return finish(fields(**changes))


def header(a=None, b=None):
    return prelude() + (a or slot()) + (b or bytes(512))


def file_bytes(plain, n2s):
    """A whole lower file with the header of the worked example."""
    first, rest = plain[:FIRST_PAYLOAD], plain[FIRST_PAYLOAD:]
    blocks = [first] + [rest[i : i + PAYLOAD] for i in range(0, len(rest), PAYLOAD)]
    records = [record(i, x, i == len(blocks) - 1, n2=n2s[i]) for i, x in enumerate(blocks)]
    return header() + b"".join(records) + bytes(len(blocks[-1]))


def name(plain, directory=DIR_ID):
    """(lower name, sealed)."""
    sealed = p.siv_seal(VOLUME["names"], directory, plain)
    text = b64url(sealed)
    return (text if len(text) <= 255 else b"L." + b64url(p.sha256(sealed))), sealed


def marker(policy=0, volume_id=VOLUME_ID, directory=DIR_ID, home=bytes(16)):
    head = struct.pack("<8sHHI16s16s16s", b"KMSFSDIR", 1, 0, policy, volume_id, directory, home)
    return head + p.hmac(VOLUME["markers"], head)


def home(kind, sealed=b"", directory=bytes(16), lower=b"", file_id=FILE_ID):
    """Section 4.3: bytes 64..392 of a file."""
    head = struct.pack("<HHI16s", kind, len(sealed), 0, directory)
    tag = p.hmac(VOLUME["homes"], b"file    " + file_id + head + lower)
    return head + sealed.ljust(272, b"\0") + tag


def named_home(plain, directory=DIR_ID, file_id=FILE_ID):
    lower, sealed = name(plain, directory)
    return home(1, sealed, directory, lower, file_id)


def directory_home(lower, own=DIR_ID, parent=FILE_ID):
    """Section 6.3: bytes 48..64 of a marker."""
    return p.hmac(VOLUME["homes"], b"dir     " + own + parent + lower)[:16]


def symlink_inline(target):
    return b64url(p.short_seal(VOLUME["symlinks"], b"kmsfs v1 symlink inline", target, SHORT_NONCE))


def symlink_external(target, link=LINK_ID):
    """(text, content of the file)."""
    aad = b"kmsfs v1 symlink external" + link
    sealed = p.short_seal(VOLUME["symlinks"], aad, target, SHORT_NONCE)
    return b"@%s.%d" % (link.hex().encode(), len(target)), sealed


def xattr(plain_name, value, owner, key):
    """(lower name, lower value); the name with its `user.`."""
    sealed = p.siv_seal(VOLUME["xattr names"], b"kmsfs v1 xattr name", plain_name.removeprefix(b"user."))
    short = p.short_seal(key, owner + sealed, value, SHORT_NONCE)
    lower = b"user.kmsfs." + b64url(sealed)
    if len(lower) <= 255:
        return lower, bytes(2) + short
    return b"user.kmsfs.L." + b64url(p.sha256(sealed)), len(sealed).to_bytes(2, "little") + sealed + short


def state(clean, seconds, nanos, old_moves=0):
    head = struct.pack("<8sHBB4sqII", b"KMSFSTAT", 1, clean, old_moves, bytes(4), seconds, nanos, 0)
    return head + p.hmac(VOLUME["checkpoint"], head)


def config(text):
    """volume.toml from everything before the `m` of `mac`."""
    covered = text.encode()
    return covered + f'mac = "{p.hmac(VOLUME["config"], covered).hex()}"\n'.encode()
