"""Clients of AWS KMS, unchanged, against `kmsfs serve`.

The endpoint, the access key and the Region come from the environment, as the clients take them. Each
function is a test; one that fails ends the program with an error.
"""

import base64
import contextlib
import datetime
import filecmp
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import aws_encryption_sdk
import boto3
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers import kms as sdk_kms
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

BIN = pathlib.Path(sys.executable).parent
ROOT = pathlib.Path(__file__).parents[2]
KMSFS = os.environ["KMSFS"]
ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]


def client(**settings):
    # Without retries an answer of 500 is seen as one.
    return boto3.client("kms", config=Config(retries={"max_attempts": 0}), **settings)


def refused(exception, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == exception, found
        assert error.response["ResponseMetadata"]["RequestId"]
        return found["Message"]
    raise AssertionError(f"{exception} expected")


def boto3_uses_symmetric_keys():
    kms = client()
    key = kms.create_key(Description="symmetric", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
    kms.create_alias(AliasName="alias/boto3", TargetKeyId=key["KeyId"])
    context = {"purpose": "test", "ümlaut": "ö"}
    sealed = kms.encrypt(KeyId="alias/boto3", Plaintext=b"hello", EncryptionContext=context)
    blob = sealed["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"hello"
    assert refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob) == ""
    data_key = kms.generate_data_key(KeyId=key["Arn"], KeySpec="AES_256")
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    opened = kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])
    assert opened["Plaintext"] == data_key["Plaintext"] and opened["KeyId"] == key["Arn"]
    again = kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=key["Arn"])
    assert kms.decrypt(CiphertextBlob=again["CiphertextBlob"])["Plaintext"] == b"hello"
    assert len(kms.generate_random(NumberOfBytes=33)["Plaintext"]) == 33
    kms.disable_key(KeyId=key["KeyId"])
    message = refused("DisabledException", kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    assert message == f"{key['Arn']} is disabled."
    kms.enable_key(KeyId=key["KeyId"])
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    message = refused("KMSInvalidStateException", kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    assert message == f"{key['Arn']} is pending deletion."
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Disabled"
    refused("DryRunOperationException", kms.generate_mac, DryRun=True, Message=b"x", MacAlgorithm="HMAC_SHA_256",
            KeyId=kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"])
    listed = [k["KeyId"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1})
              for k in page["Keys"]]
    assert key["KeyId"] in listed and len(listed) == len(set(listed))


def boto3_uses_asymmetric_keys():
    kms = client()
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    signature = kms.sign(KeyId=key, Message=b"text", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    public.verify(signature, b"text", ec.ECDSA(hashes.SHA256()))
    refused("KMSInvalidSignatureException", kms.verify, KeyId=key, Message=b"other", Signature=signature,
            SigningAlgorithm="ECDSA_SHA_256")
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    digest = hashes.SHA256()
    sealed = public.encrypt(b"secret", padding.OAEP(padding.MGF1(digest), digest, None))
    opened = kms.decrypt(KeyId=key, CiphertextBlob=sealed, EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    assert opened["Plaintext"] == b"secret"


def regions_are_apart():
    here, there = client(), client(region_name="eu-central-1")
    key = there.create_key()["KeyMetadata"]
    assert ":eu-central-1:" in key["Arn"]
    refused("NotFoundException", here.describe_key, KeyId=key["KeyId"])
    blob = there.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    refused("InvalidCiphertextException", here.decrypt, CiphertextBlob=blob)


def keys_serve_another_region():
    here, there = client(), client(region_name="eu-central-1")
    key = here.create_key(MultiRegion=True)["KeyMetadata"]
    answer = here.replicate_key(KeyId=key["KeyId"], ReplicaRegion="eu-central-1")
    assert answer["ReplicaKeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"] == "REPLICA"
    blob = here.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    here.rotate_key_on_demand(KeyId=key["KeyId"])
    assert there.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    # The Encryption SDK seals in one Region and opens in the other, which it discovers.
    sdk = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    sealed, _ = sdk.encrypt(source=b"far", key_provider=sdk_kms.MRKAwareStrictAwsKmsMasterKeyProvider(
        key_ids=[key["Arn"]]))
    replica = key["Arn"].replace("us-east-1", "eu-central-1")
    for elsewhere in (sdk_kms.MRKAwareDiscoveryAwsKmsMasterKeyProvider(discovery_region="eu-central-1"),
                      sdk_kms.MRKAwareStrictAwsKmsMasterKeyProvider(key_ids=[replica])):
        assert sdk.decrypt(source=sealed, key_provider=elsewhere)[0] == b"far"
    script = ["node", ROOT / "target/clients/javascript/run.mjs", "decrypt-related", replica]
    opened = subprocess.run([str(word) for word in script], input=sealed, capture_output=True, check=True).stdout
    assert opened == b"far"
    here.update_primary_region(KeyId=key["KeyId"], PrimaryRegion="eu-central-1")
    there.rotate_key_on_demand(KeyId=key["KeyId"])


def post(headers, body=b"{}", path="/"):
    request = urllib.request.Request(ENDPOINT + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def sign(body=b"{}", service="kms", secret=None, at=None):
    found = boto3.Session().get_credentials()
    credentials = Credentials(found.access_key, secret or found.secret_key)
    request = AWSRequest("POST", ENDPOINT + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.ListKeys"})
    signer = SigV4Auth(credentials, service, "us-east-1")
    if at:
        import botocore.auth
        kept = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda *_, **__: at
        signer.add_auth(request)
        botocore.auth.get_current_datetime = kept
    else:
        signer.add_auth(request)
    return dict(request.headers)


def only_signed_requests_are_let_in():
    assert post(sign())[0] == 200

    def name(headers, **more):
        status, answer = post(headers, **more)
        assert status == 400, (status, answer)
        return answer["__type"]

    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert name({"X-Amz-Target": "TrentService.ListKeys"}) == "MissingAuthenticationTokenException"
    assert name(sign(secret="wrong")) == "InvalidSignatureException"
    assert name(sign(service="s3")) == "InvalidSignatureException"
    assert name(sign(), body=b'{"Limit":1}') == "InvalidSignatureException"
    assert name(sign() | {"X-Amz-Target": "TrentService.CreateKey"}) == "InvalidSignatureException"
    for minutes in (-16, 16):
        late = sign(at=now + datetime.timedelta(minutes=minutes))
        assert name(late) == "InvalidSignatureException"
    assert post(sign(at=now - datetime.timedelta(minutes=14)))[0] == 200
    forged = sign()
    forged["Authorization"] = forged["Authorization"].replace("Credential=", "Credential=X")
    assert name(forged) == "UnrecognizedClientException"
    for nonsense in ("", "Bearer x", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=a/b, Signature=, SignedHeaders="):
        assert name(sign() | {"Authorization": nonsense}).endswith("Exception")
    assert name(sign(body=b"[1"), body=b"[1") == "SerializationException"
    assert name(sign(body=b"[1]"), body=b"[1]") == "SerializationException"
    assert post(sign(), path="/other")[0] == 404
    assert post(sign(), body=b" " * (2 << 20))[0] == 413
    refused("UnknownOperationException", lambda: raise_unknown())


def raise_unknown():
    headers = sign()
    request = AWSRequest("POST", ENDPOINT + "/", data=b"{}", headers={"X-Amz-Target": "TrentService.Nonsense"})
    found = boto3.Session().get_credentials()
    SigV4Auth(Credentials(found.access_key, found.secret_key), "kms", "us-east-1").add_auth(request)
    status, answer = post(dict(request.headers))
    assert status == 400 and headers
    raise ClientError({"Error": {"Code": answer["__type"], "Message": answer["message"]},
                       "ResponseMetadata": {"RequestId": "-"}}, "Nonsense")


def cloudtrail_tells_what_was_done():
    kms, trail = client(), boto3.client("cloudtrail", endpoint_url=ENDPOINT, config=Config(retries={"max_attempts": 0}))
    key = kms.create_key(Description="audited")["KeyMetadata"]
    for _ in range(3):
        kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256", EncryptionContext={"purpose": "audit"})
    disabled = kms.disable_key(KeyId=key["KeyId"])["ResponseMetadata"]["RequestId"]
    refused("DisabledException", kms.encrypt, KeyId=key["KeyId"], Plaintext=b"not in the log")

    def find(name, value, **more):
        attribute = {"AttributeKey": name, "AttributeValue": value}
        pages = trail.get_paginator("lookup_events").paginate(LookupAttributes=[attribute], **more)
        return [event for page in pages for event in page["Events"]]

    found = find("ResourceName", key["Arn"], PaginationConfig={"PageSize": 2})
    names = [event["EventName"] for event in found]
    assert names == ["Encrypt", "DisableKey"] + ["GenerateDataKey"] * 3 + ["CreateKey"], names
    record = json.loads(found[0]["CloudTrailEvent"])
    assert record["errorCode"] == "DisabledException" and "sourceIPAddress" in record, record
    access_key = boto3.Session().get_credentials().access_key
    assert record["userIdentity"]["accessKeyId"] == access_key == found[0]["AccessKeyId"]
    assert "Boto3" in record["userAgent"] and record["sourceIPAddress"] == "127.0.0.1"
    assert found[0]["Resources"] == [{"ResourceType": "AWS::KMS::Key", "ResourceName": key["Arn"]}]
    assert found[1]["ReadOnly"] == "false" and found[1]["Username"] == "root"
    assert json.loads(found[1]["CloudTrailEvent"])["requestID"] == disabled
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs((found[0]["EventTime"] - now).total_seconds()) < 60
    assert find("EventId", found[2]["EventId"]) == [found[2]]
    assert {event["EventName"] for event in find("ReadOnly", "false")} >= {"CreateKey", "DisableKey"}
    assert all(event["AccessKeyId"] == access_key for event in find("AccessKeyId", access_key))
    assert find("Username", "nobody") == [] == find("EventName", "Encrypt", EndTime=now - datetime.timedelta(hours=1))
    hour = datetime.timedelta(hours=1)
    assert len(find("ResourceName", key["Arn"], StartTime=now - hour, EndTime=now + hour)) == len(names)
    assert len(trail.lookup_events(MaxResults=1)["Events"]) == 1
    refused("InvalidMaxResultsException", trail.lookup_events, MaxResults=50 + 1)
    refused("InvalidNextTokenException", trail.lookup_events, NextToken="x")
    refused("InvalidTimeRangeException", trail.lookup_events, StartTime=now, EndTime=now - hour)
    looks = find("EventName", "LookupEvents")
    assert {look["EventSource"] for look in looks} == {"cloudtrail.amazonaws.com"}, looks
    errors = [json.loads(look["CloudTrailEvent"]).get("errorCode") for look in looks]
    assert errors[0] == "InvalidTimeRangeException" and None in errors, errors
    here = boto3.client("cloudtrail", endpoint_url=ENDPOINT, region_name="eu-north-1")
    assert here.lookup_events()["Events"] == []


def run(*words, **more):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, **more).stdout


def aws_cli_manages_keys():
    aws = BIN / "aws"
    key = run(aws, "kms", "create-key", "--query", "KeyMetadata.KeyId", "--output", "text").strip()
    run(aws, "kms", "create-alias", "--alias-name", "alias/cli", "--target-key-id", key)
    run(aws, "kms", "enable-key-rotation", "--key-id", key, "--rotation-period-in-days", "90")
    status = json.loads(run(aws, "kms", "get-key-rotation-status", "--key-id", key))
    assert status["KeyRotationEnabled"] and status["RotationPeriodInDays"] == 90
    with tempfile.TemporaryDirectory() as place:
        plain = pathlib.Path(place, "plain")
        plain.write_bytes(b"bytes \x00\xff")
        sealed = run(aws, "kms", "encrypt", "--key-id", "alias/cli", "--plaintext", f"fileb://{plain}",
                     "--query", "CiphertextBlob", "--output", "text").strip()
        blob = pathlib.Path(place, "blob")
        blob.write_bytes(base64.b64decode(sealed))
        opened = run(aws, "kms", "decrypt", "--ciphertext-blob", f"fileb://{blob}",
                     "--query", "Plaintext", "--output", "text")
        assert base64.b64decode(opened) == b"bytes \x00\xff"


def encryption_sdk_seals_and_opens():
    kms = client()
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    sdk = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn])
    data = hashlib.sha512(b"seed").digest() * 5000
    sealed, _ = sdk.encrypt(source=data, key_provider=provider, encryption_context={"a": "b"})
    opened, header = sdk.decrypt(source=sealed, key_provider=provider)
    assert opened == data and header.encryption_context["a"] == "b"
    cache = aws_encryption_sdk.LocalCryptoMaterialsCache(capacity=10)
    manager = aws_encryption_sdk.CachingCryptoMaterialsManager(
        master_key_provider=provider, cache=cache, max_age=60.0, max_messages_encrypted=3)
    keys = set()
    for _ in range(6):
        sealed, header = sdk.encrypt(source=b"small", materials_manager=manager)
        keys.add(next(iter(header.encrypted_data_keys)).encrypted_data_key)
        assert sdk.decrypt(source=sealed, key_provider=provider)[0] == b"small"
    assert len(keys) == 2, "a data key serves three messages"


def encryption_cli_seals_a_tree():
    arn = client().create_key()["KeyMetadata"]["Arn"]
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        plain, sealed, opened = place / "plain", place / "sealed", place / "opened"
        for no in range(3):
            (plain / str(no)).mkdir(parents=True)
            (plain / str(no) / "file").write_bytes(os.urandom(1000 * no))
        sealed.mkdir()
        opened.mkdir()
        tool = [BIN / "aws-encryption-cli", "--recursive", "--wrapping-keys", f"key={arn}", "--suppress-metadata",
                "--commitment-policy", "require-encrypt-require-decrypt"]
        run(*tool, "--encrypt", "--input", plain, "--output", sealed, "--caching", "capacity=5", "max_age=60")
        run(*tool, "--decrypt", "--input", sealed, "--output", opened)
        for no in range(3):
            (found,) = (opened / str(no)).iterdir()
            assert filecmp.cmp(found, plain / str(no) / "file", shallow=False)


def encryption_cli_caches_data_keys():
    """A data key serves as many seconds, bytes and messages as it may, and not one more."""
    arn = client().create_key()["KeyMetadata"]["Arn"]
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "plain").mkdir()
        for no in range(6):
            (place / "plain" / str(no)).write_bytes(os.urandom(1000))

        def data_keys(*limits):
            sealed, told = place / "-".join(limits), place / "told"
            sealed.mkdir()
            run(BIN / "aws-encryption-cli", "--encrypt", "--recursive", "--wrapping-keys", f"key={arn}",
                "--commitment-policy", "require-encrypt-require-decrypt", "--input", place / "plain",
                "--output", sealed, "--caching", "capacity=5", *limits, "--metadata-output", told,
                "--overwrite-metadata")
            headers = [json.loads(line)["header"] for line in told.read_text().splitlines()]
            assert len(headers) == 6
            return len({header["encrypted_data_keys"][0]["encrypted_data_key"] for header in headers})

        assert data_keys("max_age=600") == 1
        assert data_keys("max_age=0.0001") == 6
        assert data_keys("max_age=600", "max_messages_encrypted=2") == 3
        assert data_keys("max_age=600", "max_bytes_encrypted=2500") == 3


def javascript_and_python_read_each_other():
    arn = client().create_key()["KeyMetadata"]["Arn"]
    data = os.urandom(100_000)
    script = ["node", ROOT / "target/clients/javascript/run.mjs"]

    def javascript(what, source):
        words = [str(word) for word in (*script, what, arn, "from=python")]
        return subprocess.run(words, input=source, capture_output=True, check=True).stdout

    sdk = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn])
    sealed = javascript("encrypt", data)
    assert data not in sealed and javascript("decrypt", sealed) == data
    opened, header = sdk.decrypt(source=sealed, key_provider=provider)
    assert opened == data and header.encryption_context["from"] == "python"
    sealed, _ = sdk.encrypt(source=data, key_provider=provider, encryption_context={"from": "python"})
    assert javascript("decrypt", sealed) == data
    assert run(*script, "cache", arn) == "2\n", "a data key serves three messages"


@contextlib.contextmanager
def moto():
    """A server of moto on a free port; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen([BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=said, stderr=said)
        try:
            for _ in range(600):
                assert server.poll() is None, "moto has ended"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def dynamodb_client_encrypts_items():
    from dynamodb_encryption_sdk.encrypted.table import EncryptedTable
    from dynamodb_encryption_sdk.identifiers import CryptoAction
    from dynamodb_encryption_sdk.material_providers.aws_kms import AwsKmsCryptographicMaterialsProvider
    from dynamodb_encryption_sdk.structures import AttributeActions

    arn = client().create_key()["KeyMetadata"]["Arn"]
    with moto() as url:
        table = boto3.resource("dynamodb", endpoint_url=url).create_table(
            TableName="people", BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
        actions = AttributeActions(CryptoAction.ENCRYPT_AND_SIGN, {"city": CryptoAction.DO_NOTHING})
        sealed = EncryptedTable(
            table=table, materials_provider=AwsKmsCryptographicMaterialsProvider(key_id=arn),
            attribute_actions=actions)
        item = {"id": "1", "name": "Ann", "numbers": {1, 2}, "city": "Bonn"}
        sealed.put_item(Item=item)
        kept = table.get_item(Key={"id": "1"})["Item"]
        assert kept["city"] == "Bonn" and kept["name"] != "Ann" and "*amzn-ddb-map-desc*" in kept, kept
        assert sealed.get_item(Key={"id": "1"})["Item"] == item
        # Signed by the same data key: a changed attribute is found.
        table.update_item(Key={"id": "1"}, UpdateExpression="SET numbers = :n",
                          ExpressionAttributeValues={":n": kept["name"]})
        try:
            sealed.get_item(Key={"id": "1"})
        except Exception as error:
            assert "ignature" in type(error).__name__ + str(error), error
        else:
            raise AssertionError("a changed item was opened")


def kmsfs(*words, url=None):
    url = ("--endpoint-url", url) if url else ()
    return json.loads(run(KMSFS, "kms", *words, *url) or "{}")


def kmsfs_kms_answers_as_aws_kms():
    # Version 1 of the AWS CLI prints times as numbers unless it is told not to.
    config = pathlib.Path(os.environ["HOME"], ".aws/config")
    config.parent.mkdir(exist_ok=True)
    config.write_text("[default]\ncli_timestamp_format = iso8601\n")
    aws = BIN / "aws"
    key = kmsfs("create-key", "--description", "of both", "--tags", "TagKey=a,TagValue=b")["KeyMetadata"]["KeyId"]
    kmsfs("create-alias", "--alias-name", "alias/both", "--target-key-id", key)
    kmsfs("create-grant", "--key-id", key, "--grantee-principal", "arn:aws:iam::000000000000:user/ann",
          "--operations", "Decrypt", "Encrypt", "--constraints", "EncryptionContextSubset={a=1,b=2}")
    for words in (("describe-key", "--key-id", "alias/both"), ("list-keys",), ("list-aliases",),
                  ("list-grants", "--key-id", key), ("list-resource-tags", "--key-id", key),
                  ("get-key-policy", "--key-id", key, "--policy-name", "default"),
                  ("get-key-rotation-status", "--key-id", key), ("list-key-policies", "--key-id", key)):
        # `aws` asks for page after page by itself, and leaves out what tells of pages.
        words = (*words, "--no-paginate")
        assert kmsfs(*words) == json.loads(run(aws, "kms", *words)), words
    refusal = subprocess.run([KMSFS, "kms", "describe-key", "--key-id", "alias/none"], capture_output=True, text=True)
    assert refusal.returncode == 43 and "NotFoundException: Alias" in refusal.stderr, refusal


def kmsfs_kms_asks_moto():
    with moto() as url:
        key = kmsfs("create-key", url=url)["KeyMetadata"]["KeyId"]
        kmsfs("create-alias", "--alias-name", "alias/there", "--target-key-id", key, url=url)
        plain = base64.b64encode(b"hello").decode()
        blob = kmsfs("encrypt", "--key-id", "alias/there", "--plaintext", plain, url=url)["CiphertextBlob"]
        assert kmsfs("decrypt", "--ciphertext-blob", blob, url=url)["Plaintext"] == plain
        assert [k["KeyId"] for k in kmsfs("list-keys", url=url)["Keys"]] == [key]
        words = [KMSFS, "kms", "describe-key", "--key-id", "alias/none", "--endpoint-url", url]
        refusal = subprocess.run(words, capture_output=True, text=True)
        assert refusal.returncode == 43 and "NotFoundException" in refusal.stderr, refusal


def examples_run():
    path = f"{BIN}:{os.environ['PATH']}"
    for words in ((sys.executable, ROOT / "examples/keys_with_boto3.py"), (ROOT / "examples/keys_with_aws_cli.sh",),
                  (sys.executable, ROOT / "examples/files_with_encryption_sdk.py")):
        assert run(*words, env=os.environ | {"PATH": path}).strip()


if __name__ == "__main__":
    for test in (boto3_uses_symmetric_keys, boto3_uses_asymmetric_keys, regions_are_apart, keys_serve_another_region,
                 only_signed_requests_are_let_in, cloudtrail_tells_what_was_done, aws_cli_manages_keys,
                 encryption_sdk_seals_and_opens, encryption_cli_seals_a_tree, encryption_cli_caches_data_keys,
                 javascript_and_python_read_each_other, dynamodb_client_encrypts_items, kmsfs_kms_answers_as_aws_kms,
                 kmsfs_kms_asks_moto, examples_run):
        if os.environ.get("ONLY", "") not in test.__name__:
            continue
        print(test.__name__, flush=True)
        test()
