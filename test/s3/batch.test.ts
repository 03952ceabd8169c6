/** Batches over a real S3 gateway: the server puts the bytes there itself. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SmallArtifact } from '../../schemas/batch.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../../server/access/scopes.ts'
import { findArtifact } from '../../server/records/artifacts.ts'
import { sealBatch } from '../../server/seal/batch.ts'
import type { Sealer } from '../../server/seal/seal.ts'
import type { Store } from '../../server/stores/store.ts'
import { flipBit } from '../contract/subject.ts'
import { openS3Subject, type S3Subject } from '../stores/s3-subject.ts'
import { codesOf, makeSmall } from '../support/batch.ts'
import { type Bucket, openBucket } from '../support/bucket.ts'
import { getTestS3 } from '../support/ceph.ts'
import { openStage, type Stage } from '../support/stage.ts'

const principal: Principal = {
  token: { id: '5a3f6c1e-7a55-4ad2-9c3d-0123456789ab', name: 'stage' },
  scopes: ['admin'],
}
let stack: AsyncDisposableStack
let stage: Stage
let s3: S3Subject
let bucket: Bucket
beforeAll(async () => {
  stack = new AsyncDisposableStack()
  stage = stack.use(await openStage())
  s3 = stack.use(await openS3Subject(getTestS3()))
  bucket = stack.use(openBucket(getTestS3(), s3.prefix))
})
afterAll(() => stack.disposeAsync())

const seal = async (sealer: Sealer, batch: SmallArtifact[]) =>
  codesOf((await sealBatch(stage.intake, sealer, principal, { artifacts: batch })).outcomes)

async function readSealed(task: string, name: string): Promise<string> {
  const found = await findArtifact(stage.intake.sql, task, 0, name)
  if (found === undefined) throw new Error(`${name} is not sealed`)
  const chunks: Uint8Array[] = []
  for await (const chunk of s3.store.read(found.blobKey, found.blobTag))
    chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString()
}

/** Changes the object that has these bytes, wherever in it they are. */
async function spoil(content: string): Promise<void> {
  for (const key of await bucket.listKeys()) {
    const bytes = Buffer.from(await bucket.read(key))
    if (bytes.includes(content)) await bucket.write(key, flipBit(bytes, bytes.indexOf(content)))
  }
}

describe('sealBatch() over S3', () => {
  it('stores, reads again and seals every artifact, an empty one too', async () => {
    const names = ['', ...Array.from({ length: 20 }, (_, index) => `content ${index}`)]
    const batch = names.map((content, index) =>
      makeSmall({ task: 'bucket', name: String(index) }, content),
    )
    await using sealer = stage.openSealer({ store: s3.store })
    expect(await seal(sealer, batch)).toEqual(batch.map(() => 'sealed'))
    expect(await seal(sealer, batch)).toEqual(batch.map(() => 'sealed'))
    expect(await readSealed('bucket', '0')).toBe('')
    expect(await readSealed('bucket', '20')).toBe('content 19')
  })

  it('looks at what it does not read again, and only at that', async () => {
    const store: Store = {
      ...s3.store,
      stat: async (key) => ({ sizeBytes: 1n, tag: (await s3.store.stat(key))?.tag ?? '' }),
    }
    await using sealer = stage.openSealer({ store })
    const { intake } = stage
    for (const [policy, code] of [
      ['reread', 'sealed'],
      ['parts', 'size_mismatch'],
    ] as const) {
      const trusting = { ...intake, settings: { ...intake.settings, policy } }
      const batch = [makeSmall({ task: 'look', name: policy }, 'longer than it looks')]
      const { outcomes } = await sealBatch(trusting, sealer, principal, { artifacts: batch })
      expect(codesOf(outcomes)).toEqual([code])
    }
  })

  it('refuses the one whose bytes changed in the object that all share, and no other', async () => {
    const batch = ['a', 'b', 'c', 'd', 'e'].map((name) =>
      makeSmall({ task: 'spoiled', name }, `content of ${name}`),
    )
    const store: Store = {
      ...s3.store,
      async put(plan, bytes) {
        const blob = await s3.store.put(plan, bytes)
        await spoil('content of c')
        return blob
      },
    }
    await using sealer = stage.openSealer({ store })
    const outcomes = ['sealed', 'sealed', 'digest_mismatch', 'sealed', 'sealed']
    expect(await seal(sealer, batch)).toEqual(outcomes)
    expect(await readSealed('spoiled', 'e')).toBe('content of e')
  })

  it('is sealed by the sweep when its server dies between the bytes and the seal', async () => {
    const batch = ['a', 'b', 'c', 'd', 'e'].map((name) => makeSmall({ task: 'died', name }, name))
    const reached = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    let missing = batch.length
    const store: Store = {
      ...s3.store,
      async put(plan, bytes) {
        const blob = await s3.store.put(plan, bytes)
        if (--missing === 0) reached.resolve()
        await gate.promise
        return blob
      },
    }
    await using dying = stage.openSealer({ store })
    const lost = seal(dying, batch)
    await reached.promise
    stage.wait(31)
    await using sealer = stage.openSealer({ store: s3.store })
    await stage.sweep(sealer)
    expect(await readSealed('died', 'c')).toBe('c')
    gate.resolve()
    expect(await lost).toEqual(batch.map(() => 'overloaded'))
  })

  it('goes on when the answer of the store was lost, by repetition or by the sweep', async () => {
    let isLost = true
    const store: Store = {
      ...s3.store,
      async put(plan, bytes) {
        const blob = await s3.store.put(plan, bytes)
        if (isLost) throw new ArtifactError('store_unavailable', 'Cannot use store: it is away')
        return blob
      },
    }
    const [repeated, swept] = ['repeated', 'swept'].map((name) =>
      makeSmall({ task: 'lost', name }, name),
    )
    if (repeated === undefined || swept === undefined) throw new Error('The batch is empty')
    await using sealer = stage.openSealer({ store })
    expect(await seal(sealer, [repeated, swept])).toEqual(Array(2).fill('store_unavailable'))
    isLost = false
    expect(await seal(sealer, [repeated])).toEqual(['sealed'])
    await stage.sweep(sealer)
    expect((await stage.find(swept.id)).state).toBe('sealed')
    expect(await readSealed('lost', 'swept')).toBe('swept')
  })
})
