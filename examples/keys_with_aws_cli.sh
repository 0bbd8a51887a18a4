#!/bin/sh
# Signs a file, and seals and opens one, with the AWS CLI against `kmsfs serve`; the environment as for
# keys_with_boto3.py. `kmsfs kms` in the place of `aws kms` does the same, but for --query.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

key=$(aws kms create-key --query KeyMetadata.KeyId --output text)
echo 'a letter' >letter
aws kms encrypt --key-id "$key" --plaintext fileb://letter --encryption-context purpose=example \
    --query CiphertextBlob --output text | base64 -d >sealed
aws kms decrypt --ciphertext-blob fileb://sealed --encryption-context purpose=example \
    --query Plaintext --output text | base64 -d >opened
cmp letter opened
echo "sealed and opened under $key"

signer=$(aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY --query KeyMetadata.KeyId --output text)
aws kms sign --key-id "$signer" --message fileb://letter --signing-algorithm ECDSA_SHA_256 \
    --query Signature --output text | base64 -d >signature
aws kms verify --key-id "$signer" --message fileb://letter --signing-algorithm ECDSA_SHA_256 \
    --signature fileb://signature --query SignatureValid --output text
