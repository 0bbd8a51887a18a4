"""The other side of the asymmetric operations, by the Python package `cryptography`.

Reads a JSON list of tasks from stdin and writes the list of answers. All bytes are base64. A task that
fails ends the program with an error.
"""

import base64
import hashlib
import json
import os
import sys

from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, utils

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512, "1": hashes.SHA1}
CURVES = {"P256": "secp256r1", "P384": "secp384r1", "P521": "secp521r1", "P256K1": "secp256k1"}

ML_DSA = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)
ML_KEM = (mlkem.MLKEM768PrivateKey, mlkem.MLKEM1024PrivateKey)
SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


def unpack(text):
    return base64.b64decode(text, validate=True)


def pack(data):
    return base64.b64encode(data).decode()


def verify(task):
    """Checks a signature over `message`, which is a digest if `digest` is set."""
    key = serialization.load_der_public_key(unpack(task["public"]))
    message, signature, how = unpack(task["message"]), unpack(task["signature"]), task["algorithm"]
    if isinstance(key, (ed25519.Ed25519PublicKey, *ML_DSA)):
        key.verify(signature, message)
        return {}
    digest = HASHES[how.rsplit("_", 1)[1]]()
    over = utils.Prehashed(digest) if task["digest"] else digest
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert key.curve.name == CURVES[task["spec"].rsplit("_", 1)[1]], key.curve.name
        key.verify(signature, message, ec.ECDSA(over))
        return {}
    assert key.key_size == int(task["spec"].rsplit("_", 1)[1])
    if "PSS" in how:
        pad = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    else:
        pad = padding.PKCS1v15()
    key.verify(signature, message, pad, over)
    return {}


def mu(task):
    """What ML-DSA signs of `message` under an empty context (FIPS 204, algorithms 2 and 7)."""
    key = serialization.load_der_public_key(unpack(task["public"]))
    tr = hashlib.shake_256(key.public_bytes_raw()).digest(64)
    return {"mu": pack(hashlib.shake_256(tr + bytes([0, 0]) + unpack(task["message"])).digest(64))}


def encapsulate(task):
    """A fresh secret for the owner of an ML-KEM key."""
    secret, sealed = serialization.load_der_public_key(unpack(task["public"])).encapsulate()
    return {"secret": pack(secret), "sealed": pack(sealed)}


def encrypt(task):
    """Encrypts `plaintext` to an RSA key."""
    key = serialization.load_der_public_key(unpack(task["public"]))
    digest = HASHES[task["algorithm"].rsplit("_", 1)[1]]
    pad = padding.OAEP(mgf=padding.MGF1(digest()), algorithm=digest(), label=None)
    return {"ciphertext": pack(key.encrypt(unpack(task["plaintext"]), pad))}


def agree(task):
    """A fresh key on the curve of `public`, and the secret that both have in common."""
    theirs = serialization.load_der_public_key(unpack(task["public"]))
    ours = ec.generate_private_key(theirs.curve)
    spki = ours.public_key().public_bytes(*SPKI)
    return {"public": pack(spki), "secret": pack(ours.exchange(ec.ECDH(), theirs))}


def pair(task):
    """Loads both halves of a data key pair and checks that they belong together."""
    private = serialization.load_der_private_key(unpack(task["private"]), None)
    spki = private.public_key().public_bytes(*SPKI)
    assert spki == unpack(task["public"]), task["spec"]
    if isinstance(private, rsa.RSAPrivateKey):
        assert private.key_size == int(task["spec"].rsplit("_", 1)[1])
        assert private.private_numbers().public_numbers.e == 65537
    if isinstance(private, ML_KEM):
        secret, sealed = serialization.load_der_public_key(spki).encapsulate()
        assert private.decapsulate(sealed) == secret
        rfc9935 = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        assert private.private_bytes(*rfc9935) == unpack(task["private"]), task["spec"]
    return {}


def wrap(task):
    """Wraps `material` under an RSA key, as who imports it into the KMS does."""
    key = serialization.load_der_public_key(unpack(task["public"]))
    digest = HASHES[task["algorithm"].rsplit("_", 1)[1]]
    pad = padding.OAEP(mgf=padding.MGF1(digest()), algorithm=digest(), label=None)
    material = unpack(task["material"])
    if task["algorithm"].startswith("RSAES_OAEP"):
        return {"wrapped": pack(key.encrypt(material, pad))}
    aes = os.urandom(32)
    return {"wrapped": pack(key.encrypt(aes, pad) + keywrap.aes_key_wrap_with_padding(aes, material))}


def private_key(task):
    """A fresh private key as PKCS#8, and a signature by it of `message`."""
    message = unpack(task["message"])
    if task["spec"] == "RSA_2048":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"private": pack(pkcs8), "signature": pack(signature)}


def digest(task):
    """The digest of `message` that an algorithm signs."""
    return {"digest": pack(hashlib.new("sha" + task["bits"], unpack(task["message"])).digest())}


def key_database(task):
    """What a key database holds of known volumes and revoked materials, opened by the words of a recovery kit."""
    import keydb  # docs/KMS.md

    found = keydb.KeyDatabase(task["dir"], None, None, kit_entropy(task["words"], task["dictionary"]))
    volumes = {
        name: {"path": path, "files": sum(use[2] for use in uses), "growing": any(use[5] for use in uses)}
        for name, (path, _, uses) in found.volumes.items()
    }
    revoked = [material.hex() for (_, material), since in found.revoked.items() if since is not None]
    return {"volumes": volumes, "revoked": revoked}


def replica_bundle(task):
    """What a bundle carries, opened with the key database that asked for it."""
    import bundle  # docs/KMS.md
    import keydb

    database = keydb.KeyDatabase(task["dir"], task["passphrase"].encode(), None)
    found = bundle.open_bundle(database.row_key, unpack(task["request"]), unpack(task["bundle"]))
    materials = [{**m, "id": m["id"].hex(), "sealed": None} for m in found["materials"]]
    return {**found, "materials": materials, "keys": sorted(database.keys)}


def kit_entropy(words, dictionary):
    """BIP 39 by its text: 11 bits a word, the last 8 of 264 being the first of SHA-256 over the rest."""
    number = 0
    for word in words:
        number = number << 11 | dictionary.index(word)
    entropy, checksum = (number >> 8).to_bytes(32, "big"), number & 0xFF
    assert hashlib.sha256(entropy).digest()[0] == checksum, "checksum of the words"
    return entropy


TASKS = {
    f.__name__: f
    for f in (verify, mu, encapsulate, encrypt, agree, pair, wrap, private_key, digest, key_database, replica_bundle)
}

if __name__ == "__main__":
    json.dump([TASKS[task["do"]](task) for task in json.load(sys.stdin)], sys.stdout)
