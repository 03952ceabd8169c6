/**
 * The bucket policy of the README: the service works under it. Its condition is one of AWS; Ceph 16
 * takes the policy and does not know the condition, as the README says.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../server/clock.ts'
import { openS3Bucket } from '../../server/stores/s3-bucket.ts'
import { createS3Signer } from '../../server/stores/s3-signing.ts'
import { getTestS3 } from '../support/ceph.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { openS3Site, type S3Site } from '../support/s3-site.ts'

let stack: AsyncDisposableStack
let s3: S3Site
let cli: Cli

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const parts = { ...stack.use(await createRealDatabase()), s3: getTestS3() }
  s3 = stack.use(await openS3Site(parts, { 'part-size-bytes': String(5 * MIB) }))
  cli = stack.use(await openCli({ url: s3.site.url, token: s3.site.token }))
})
afterAll(async () => {
  await s3?.bucket.setPolicy(undefined)
  await stack.disposeAsync()
})

/** What the README tells to apply, with the names of this bucket. */
async function readPolicy(): Promise<string> {
  const readme = await readFile(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8')
  const [policy] = [...readme.matchAll(/^```json\n(.*?)^```$/gms)]
    .map(([, text = '']) => text)
    .filter((text) => text.includes('"Statement"'))
  if (policy === undefined) throw new Error('The README has no bucket policy')
  return policy.replaceAll('BUCKET', getTestS3().bucket).replaceAll('PREFIX', s3.prefix)
}

/** Puts an object whose bytes the signature does not bind; answers the status. */
async function putUnsigned(name: string): Promise<number> {
  const { accessKeyId, secretAccessKey, ...place } = getTestS3()
  const credentials = { accessKeyId, secretAccessKey }
  await using bucket = openS3Bucket({
    ...place,
    prefix: s3.prefix,
    forcePathStyle: true,
    credentials,
  })
  const part = { number: 1, sizeBytes: 5, sha256: 'UNSIGNED-PAYLOAD' }
  const options = { ifAbsent: false, withChecksum: false }
  const grant = await createS3Signer(bucket, systemClock).signPut(
    `blobs/${name}`,
    part,
    options,
    60,
  )
  const { url, method, headers } = grant
  const reply = await request(url, { method, headers, body: 'bytes' })
  await reply.body.dump()
  return reply.statusCode
}

describe('bucket policy', () => {
  it('denies a payload that is not signed, where the store knows the condition', async () => {
    expect(await putUnsigned('before')).toBe(200)
    await s3.bucket.setPolicy(await readPolicy())
    const isAws = new URL(getTestS3().endpoint).hostname.endsWith('.amazonaws.com')
    expect(await putUnsigned('after')).toBe(isAws ? 403 : 200)
  })

  it('leaves the service all that it needs', async () => {
    await s3.bucket.setPolicy(await readPolicy())
    await using server = await s3.site.serve()
    for (const [name, sizeBytes] of Object.entries({ empty: 0, small: 100, big: 16 * MIB })) {
      const bytes = await writeBytes(join(cli.folder, name), sizeBytes, name)
      expect(await cli.run(['upload', name, `under-policy/0/${name}`])).toMatchObject({ exit: 0 })
      const got = await cli.run(['get', `under-policy/0/${name}`, '-o', `${name}.copy`, '--verify'])
      expect(got).toMatchObject({ exit: 0 })
      expect((await readFile(join(cli.folder, `${name}.copy`))).equals(bytes)).toBe(true)
    }
    expect(await server.kill('SIGTERM')).toBe(0)
  })
})
