/** Where a page may fetch the bytes of an artifact from: its own origin, and that of a bucket. */
import { describe, expect, it } from 'vitest'
import { findStoreOrigin } from '../../server/inspector/download.ts'
import { pageHeaders } from '../../server/inspector/page.ts'
import { findArtifact } from '../../server/records/artifacts.ts'
import { openS3Bucket } from '../../server/stores/s3-bucket.ts'
import { createS3Signer } from '../../server/stores/s3-signing.ts'
import { openStage, type Stage } from '../support/stage.ts'
import { makeContent } from '../support/upload.ts'

async function sealOne() {
  const stage = await openStage()
  const content = makeContent(10, 'origin')
  const upload = await stage.openAndSend({ task: 'a', run: 0, name: 'b' }, content)
  await stage.seal(upload.id, content)
  return stage
}

async function findStored({ intake }: Stage) {
  const stored = await findArtifact(intake.sql, 'a', 0, 'b')
  if (stored === undefined) throw new Error('It was sealed')
  return stored
}

describe('findStoreOrigin()', () => {
  it('is the origin of the bucket, without asking it', async () => {
    await using stage = await sealOne()
    // Nothing listens there.
    await using bucket = openS3Bucket({
      ...{ bucket: 'bucket', prefix: 'prefix', region: 'us-east-1', forcePathStyle: true },
      endpoint: 'https://s3.example.com:8443',
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
    })
    const signer = createS3Signer(bucket, stage.intake.clock)
    const stored = await findStored(stage)
    const origin = await findStoreOrigin({ grantRead: signer.signGet }, stored)
    expect(origin).toBe('https://s3.example.com:8443')
    const policy = pageHeaders({ worker: true, connect: [origin ?? ''] })['content-security-policy']
    expect(policy).toContain("connect-src 'self' https://s3.example.com:8443;")
  })

  it('is none beside the own one with a folder', async () => {
    await using stage = await sealOne()
    const stored = await findStored(stage)
    expect(await findStoreOrigin(stage.store, stored)).toBeUndefined()
  })
})
