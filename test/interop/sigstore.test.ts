/** Inclusion proofs and checkpoints as the client of Sigstore sees them. */
import { createPublicKey } from 'node:crypto'
import { verifyCheckpoint } from '@sigstore/verify/dist/tlog/checkpoint.js'
import { verifyMerkleInclusion } from '@sigstore/verify/dist/tlog/merkle.js'
import { describe, expect, it } from 'vitest'
import { proveInclusion } from '../../client/verify/merkle.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { LOG_SIGNER } from '../support/log-keys.ts'
import { buildStaticLog, serveTiles } from '../support/static-log.ts'

const entriesOf = (size: number) =>
  Array.from({ length: size }, (_, index) => Buffer.from(`leaf ${index}`))

/** What Sigstore calls a log: the first bytes of its id are the key id of the note. */
const sigstoreLog = {
  logID: Buffer.from(LOG_SIGNER.key.id.padEnd(64, '0'), 'hex'),
  publicKey: createPublicKey({
    key: {
      kty: 'OKP',
      crv: 'Ed25519',
      x: Buffer.from(LOG_SIGNER.key.publicKey).toString('base64url'),
    },
    format: 'jwk',
  }),
  validFor: { start: new Date(0), end: new Date('9999-01-01') },
  baseURL: `https://${LOG_SIGNER.key.name}`,
}

async function entryOf(size: number, index: number) {
  const entries = entriesOf(size)
  const log = buildStaticLog(entries, LOG_SIGNER)
  const hashes = await proveInclusion(
    index,
    size,
    createTileReader(log.head, serveTiles(log.files)),
  )
  return {
    logIndex: String(index),
    logId: { keyId: sigstoreLog.logID },
    kindVersion: { kind: 'artifact', version: '1' },
    integratedTime: '0',
    inclusionPromise: undefined,
    inclusionProof: {
      logIndex: String(index),
      treeSize: String(size),
      rootHash: Buffer.from(log.head.root),
      hashes: hashes.map((hash) => Buffer.from(hash)),
      checkpoint: { envelope: Buffer.from(log.files.get('checkpoint') ?? []).toString() },
    },
    canonicalizedBody: Buffer.from(`leaf ${index}`),
  }
}

describe('the log in Sigstore', () => {
  it.each([
    [1, 0],
    [2, 1],
    [7, 6],
    [256, 100],
    [1000, 999],
  ])('is signed and includes what it says, at %i leaves', async (size, index) => {
    const entry = await entryOf(size, index)
    const checkpoint = verifyCheckpoint(entry, [sigstoreLog])
    expect([checkpoint.origin, checkpoint.logSize]).toEqual([LOG_SIGNER.key.name, BigInt(size)])
    verifyMerkleInclusion(entry, checkpoint)
  })

  it('does not include another leaf, and is not signed by another key', async () => {
    const entry = await entryOf(1000, 500)
    const checkpoint = verifyCheckpoint(entry, [sigstoreLog])
    const other = { ...entry, canonicalizedBody: Buffer.from('leaf 501') }
    expect(() => verifyMerkleInclusion(other, checkpoint)).toThrow()
    const { envelope } = entry.inclusionProof.checkpoint
    const moved = envelope.replace('\n1000\n', '\n1001\n')
    const forged = {
      ...entry,
      inclusionProof: { ...entry.inclusionProof, checkpoint: { envelope: moved } },
    }
    expect(() => verifyCheckpoint(forged, [sigstoreLog])).toThrow()
  })
})
