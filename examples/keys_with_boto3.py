"""A key, an alias, a data key and a rotation with boto3, against `kmsfs serve`.

    kmsfs serve --kms ~/keys --create &
    export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:8733 AWS_DEFAULT_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...       # from ~/keys/credentials.toml
    python3 examples/keys_with_boto3.py
"""

import boto3

kms = boto3.client("kms")

key = kms.create_key(Description="an example")["KeyMetadata"]
alias = f"alias/example-{key['KeyId'][:8]}"
kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)

# A data key of one's own: the plain half encrypts, the wrapped half is kept beside the data.
context = {"purpose": "example"}
data_key = kms.generate_data_key(KeyId=alias, KeySpec="AES_256", EncryptionContext=context)
wrapped = data_key["CiphertextBlob"]

# After a rotation what was wrapped before still opens; ReEncrypt moves it to the new material.
kms.rotate_key_on_demand(KeyId=key["KeyId"])
moved = kms.re_encrypt(
    CiphertextBlob=wrapped,
    SourceEncryptionContext=context,
    DestinationKeyId=alias,
    DestinationEncryptionContext=context,
)
for blob in (wrapped, moved["CiphertextBlob"]):
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert opened["Plaintext"] == data_key["Plaintext"]

rotations = kms.list_key_rotations(KeyId=key["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
print(f"{alias}: {len(rotations)} materials, the data key opens under each")

kms.delete_alias(AliasName=alias)
deletion = kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
print(f"{key['KeyId']}: {deletion['KeyState']}")
