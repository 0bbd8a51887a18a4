"""Seals and opens a file with the AWS Encryption SDK, against `kmsfs serve`; the environment as for
keys_with_boto3.py. One data key serves up to 100 messages, so that the key service is asked seldom.
"""

import pathlib
import tempfile

import aws_encryption_sdk
import boto3

arn = boto3.client("kms").create_key(Description="an example")["KeyMetadata"]["Arn"]
sdk = aws_encryption_sdk.EncryptionSDKClient()
provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn])
materials = aws_encryption_sdk.CachingCryptoMaterialsManager(
    master_key_provider=provider,
    cache=aws_encryption_sdk.LocalCryptoMaterialsCache(capacity=10),
    max_age=300.0,
    max_messages_encrypted=100,
)

with tempfile.TemporaryDirectory() as place:
    plain, sealed = pathlib.Path(place, "plain"), pathlib.Path(place, "sealed")
    plain.write_bytes(b"content " * 100_000)
    with plain.open("rb") as source, sealed.open("wb") as sink:
        context = {"file": plain.name}
        with sdk.stream(mode="e", source=source, materials_manager=materials, encryption_context=context) as stream:
            for chunk in stream:
                sink.write(chunk)
    with sealed.open("rb") as source, sdk.stream(mode="d", source=source, key_provider=provider) as stream:
        assert stream.header.encryption_context["file"] == plain.name
        assert b"".join(stream) == plain.read_bytes()
    print(f"{plain.stat().st_size} bytes sealed in {sealed.stat().st_size}, and opened")
