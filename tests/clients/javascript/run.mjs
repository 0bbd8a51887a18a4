// The Encryption SDK for JavaScript, unchanged, against the key service of AWS_ENDPOINT_URL_KMS.
//
//   node run.mjs encrypt KEY_ARN NAME=VALUE < plaintext > message
//   node run.mjs decrypt KEY_ARN NAME=VALUE < message > plaintext
//   node run.mjs decrypt-related REPLICA_ARN < message > plaintext
//   node run.mjs cache KEY_ARN        data key caching; prints the number of data keys made for 6 messages

import { buffer } from 'node:stream/consumers'
import {
  buildAwsKmsMrkAwareStrictMultiKeyringNode,
  buildClient,
  CommitmentPolicy,
  getClient,
  getLocalCryptographicMaterialsCache,
  KmsKeyringNode,
  NodeCachingMaterialsManager,
  KMS,
} from '@aws-crypto/client-node'

const [what, arn, pair = ''] = process.argv.slice(2)
const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const clientProvider = getClient(KMS, { endpoint: process.env.AWS_ENDPOINT_URL_KMS })
const keyring = new KmsKeyringNode({ clientProvider, generatorKeyId: arn, keyIds: [] })
const [name, value] = pair.split('=')

if (what === 'encrypt') {
  const { result } = await encrypt(keyring, await buffer(process.stdin), { encryptionContext: { [name]: value } })
  process.stdout.write(result)
} else if (what === 'decrypt') {
  const { plaintext, messageHeader } = await decrypt(keyring, await buffer(process.stdin))
  if (messageHeader.encryptionContext[name] !== value) throw new Error(JSON.stringify(messageHeader.encryptionContext))
  process.stdout.write(plaintext)
} else if (what === 'decrypt-related') {
  const related = buildAwsKmsMrkAwareStrictMultiKeyringNode({ generatorKeyId: arn, clientProvider })
  const { plaintext } = await decrypt(related, await buffer(process.stdin))
  process.stdout.write(plaintext)
} else if (what === 'cache') {
  const manager = new NodeCachingMaterialsManager({
    backingMaterials: keyring,
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 60_000,
    maxMessagesEncrypted: 3,
  })
  const keys = new Set()
  for (let no = 0; no < 6; no++) {
    const { result, messageHeader } = await encrypt(manager, Buffer.from('small'), { plaintextLength: 5 })
    keys.add(Buffer.from(messageHeader.encryptedDataKeys[0].encryptedDataKey).toString('hex'))
    const { plaintext } = await decrypt(keyring, result)
    if (plaintext.toString() !== 'small') throw new Error('another plaintext')
  }
  process.stdout.write(`${keys.size}\n`)
} else {
  throw new Error(`unknown: ${what}`)
}
