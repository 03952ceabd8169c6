/** The S3 store against a real gateway: the contract, and what is its own. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import {
  DeleteObjectsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ArtifactError } from '../../schemas/problems.ts'
import { systemClock } from '../../server/clock.ts'
import { createPackIndex } from '../../server/records/packs.ts'
import { openS3Store, type S3Store } from '../../server/stores/s3.ts'
import { openS3Bucket } from '../../server/stores/s3-bucket.ts'
import { createS3Signer } from '../../server/stores/s3-signing.ts'
import { describeStoreContract } from '../contract/store.ts'
import {
  begin,
  makeBytes,
  makeSample,
  partOf,
  pieceOf,
  readAll,
  type Subject,
  sampleOf,
  send,
  sendParts,
  storeSample,
  TTL_SECONDS,
} from '../contract/subject.ts'
import { getTestS3 } from '../support/ceph.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { openS3Proxy } from '../support/s3-proxy.ts'
import { openS3Subject } from './s3-subject.ts'

describeStoreContract('S3', () => openS3Subject(getTestS3()))

const PREFIX = 'test/s3'
let client: S3Client
let database: TestDatabase
let subject: Subject

function open(changes: Partial<Parameters<typeof openS3Store>[0]> = {}): Promise<S3Store> {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = getTestS3()
  return openS3Store({
    endpoint,
    region,
    bucket,
    prefix: PREFIX,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    clock: systemClock,
    packs: createPackIndex(database.server, systemClock),
    ...changes,
  })
}

async function failureOf(action: Promise<AsyncDisposable>): Promise<ArtifactError> {
  return action.then(
    async (opened) => {
      await opened[Symbol.asyncDispose]()
      throw new Error('It did not fail')
    },
    (error: ArtifactError) => error,
  )
}

beforeAll(async () => {
  const { endpoint, region, accessKeyId, secretAccessKey } = getTestS3()
  client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  })
  database = await createTestDatabase()
  subject = await openS3Subject(getTestS3())
})

afterAll(async () => {
  await database?.[Symbol.asyncDispose]()
  await subject?.[Symbol.asyncDispose]()
  client?.destroy()
})

describe('openS3Store()', () => {
  it('finds out what the store refuses, and leaves nothing behind', async () => {
    const prefix = `${PREFIX}/probe-${Date.now()}`
    await using store = await open({ prefix })
    expect(store.capabilities).toMatchObject({
      refusesWrongBytes: true,
      refusesWrongSignature: true,
      conditionalPut: true,
    })
    const Bucket = getTestS3().bucket
    const objects = await client.send(new ListObjectsV2Command({ Bucket, Prefix: prefix }))
    expect(objects.Contents ?? []).toEqual([])
    const uploads = await client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: prefix }))
    expect(uploads.Uploads ?? []).toEqual([])
  })

  it('names a wrong secret, a missing bucket and a gateway that is not there', async () => {
    const { accessKeyId } = getTestS3()
    const forged = await failureOf(open({ credentials: { accessKeyId, secretAccessKey: 'wrong' } }))
    expect(forged).toMatchObject({
      code: 'configuration',
      found: '403 SignatureDoesNotMatch',
    })
    const nowhere = await failureOf(open({ bucket: 'no-such-bucket-here' }))
    expect(nowhere).toMatchObject({ code: 'configuration', found: '404 NoSuchBucket' })
    const silent = await failureOf(open({ endpoint: 'http://127.0.0.1:9' }))
    expect(silent.code).toBe('store_unavailable')
    expect(JSON.stringify([forged, nowhere, silent])).not.toContain(getTestS3().secretAccessKey)
  })

  it('names a clock that is wrong by more than S3 allows', async () => {
    const failure = await failureOf(open({ clock: () => new Date(Date.now() + 3_600_000) }))
    expect(failure).toMatchObject({ code: 'configuration', found: '403 RequestTimeTooSkewed' })
  })

  it('refuses a store that takes whatever it is sent', async () => {
    await using gullible = await openGullibleS3()
    const failure = await failureOf(open({ endpoint: gullible.endpoint }))
    expect(failure.code).toBe('store_unfit')
    expect(failure.message).toContain('an object whose bytes differ')
    expect(failure.message).toContain('a part whose bytes differ')
    expect(failure.message).toContain('a wrong signature')
  })
})

describe('grantPart()', () => {
  it('binds size and digest by signed headers and gives no presigned address', async () => {
    const sample = makeSample(subject, 80)
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    expect(grant.headers).toMatchObject({
      'content-length': String(subject.partSizeBytes),
      'x-amz-content-sha256': partOf(sample, 1).sha256,
    })
    const signed = /SignedHeaders=([^,]+)/.exec(grant.headers.authorization ?? '')?.[1]?.split(';')
    expect(signed).toEqual(expect.arrayContaining(['content-length', 'x-amz-content-sha256']))
    expect(grant.url).not.toContain('X-Amz-')
    expect(grant.headers).not.toHaveProperty('host')
  })

  it('never gives more than the quarter of an hour for which S3 takes a signed header', async () => {
    const sample = makeSample(subject, 81)
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), 86_400)
    expect(Date.parse(grant.expiresAt) - Date.now()).toBeLessThanOrEqual(900_000)
  })

  it('ends with the credentials that signed it, and sends their token', async () => {
    const { accessKeyId, secretAccessKey } = getTestS3()
    const expiration = new Date(Date.now() + 120_000)
    await using bucket = openS3Bucket({
      bucket: 'some-bucket',
      prefix: '',
      region: 'eu-west-1',
      forcePathStyle: false,
      credentials: { accessKeyId, secretAccessKey, sessionToken: 'of-the-session', expiration },
    })
    const signer = createS3Signer(bucket, () => new Date())
    const part = { number: 1, sizeBytes: 4, sha256: 'a'.repeat(64) }
    const grant = await signer.signPut('k', part, { ifAbsent: true, withChecksum: true }, 600)
    expect(Date.parse(grant.expiresAt)).toBe(expiration.getTime())
    expect(grant.headers).toMatchObject({
      'x-amz-security-token': 'of-the-session',
      'x-amz-checksum-sha256': Buffer.from('a'.repeat(64), 'hex').toString('base64'),
      'if-none-match': '*',
    })
    expect(grant.url).toBe('https://some-bucket.s3.eu-west-1.amazonaws.com/k')
  })

  it('puts a small object once: a second PUT, right or wrong, is refused', async () => {
    const sample = sampleOf([makeBytes(1234, 82)])
    const session = await begin(subject, sample)
    expect(session.session).toBe('single')
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    expect((await send(subject, grant, pieceOf(sample, 1))).status).toBe(200)
    expect((await send(subject, grant, pieceOf(sample, 1))).status).toBe(412)
  })

  it('lets one of sixteen racing PUTs win', async () => {
    const sample = sampleOf([makeBytes(1234, 83)])
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    const replies = await Promise.all(
      Array.from({ length: 16 }, () => send(subject, grant, pieceOf(sample, 1))),
    )
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(1)
  })
})

describe('an object replaced behind the record', () => {
  it('is not read by its old tag, neither by the server nor by a bound grant', async () => {
    const sample = sampleOf([makeBytes(1234, 84)])
    const store = await open()
    await using _ = store
    const own = { ...subject, store }
    const { session, blob } = await storeSample(own, sample)
    const grant = await store.grantRead(session.key, blob.tag, {
      fileName: 'x',
      contentType: 'text/plain',
      ttlSeconds: TTL_SECONDS,
      bound: true,
    })
    const Key = `${PREFIX}/${session.key}`
    const Bucket = getTestS3().bucket
    await client.send(new PutObjectCommand({ Bucket, Key, Body: makeBytes(1234, 85) }))
    expect((await send(own, grant)).status).toBe(412)
    await expect(readAll(store.read(session.key, blob.tag))).rejects.toMatchObject({
      code: 'precondition_failed',
    })
    const Delete = { Objects: [{ Key }] }
    await client.send(new DeleteObjectsCommand({ Bucket, Delete }))
    await expect(readAll(store.read(session.key, blob.tag))).rejects.toMatchObject({
      code: 'blob_missing',
    })
  })
})

describe('complete()', () => {
  it('finds the object when the reply to the first try was lost and the upload is gone', async () => {
    const sample = makeSample(subject, 86)
    const session = await begin(subject, sample)
    await sendParts(subject, session, sample)
    const blob = await subject.store.complete(session, sample.parts)
    // What S3 answers for an upload that it does not know any more.
    const unknown = { ...session, session: `${session.session.slice(0, -4)}0000` }
    expect(await subject.store.complete(unknown, sample.parts)).toEqual(blob)
  })
})

describe('a store that lets nobody list', () => {
  it('is used all the same, and a missing object is missing', async () => {
    // AWS answers 403 for what is not there, and for the bucket itself.
    await using proxy = await openS3Proxy(getTestS3().endpoint, {
      changeStatus: (method, path, status) =>
        method === 'HEAD' && (status === 404 || path.split('/').length === 2) ? 403 : status,
    })
    await using store = await open({ endpoint: proxy.endpoint })
    await expect(store.check()).resolves.toBeUndefined()
    const own = { ...subject, store }
    const sample = sampleOf([makeBytes(1234, 87)])
    const session = await begin(own, sample)
    expect(await store.stat(session.key)).toBeUndefined()
    await expect(store.complete(session, sample.parts)).rejects.toMatchObject({
      code: 'part_missing',
    })
    await sendParts(own, session, sample)
    expect((await store.complete(session, sample.parts)).sizeBytes).toBe(1234n)
  })
})

describe('a gateway that is overloaded', () => {
  it('is named, with its status and without a secret', async () => {
    let isDown = false
    await using proxy = await openS3Proxy(getTestS3().endpoint, {
      changeStatus: (_method, _path, status) => (isDown ? 503 : status),
    })
    await using store = await open({ endpoint: proxy.endpoint })
    isDown = true
    await expect(store.check()).rejects.toMatchObject({ code: 'store_unavailable', found: '503' })
    await expect(store.stat('blobs/aa/bb')).rejects.toMatchObject({ code: 'store_unavailable' })
  })
})

interface GullibleS3 extends AsyncDisposable {
  endpoint: string
}

/** Answers like an S3 gateway that checks nothing, as several emulators do. */
async function openGullibleS3(): Promise<GullibleS3> {
  const objects = new Map<string, Buffer>()
  const parts = new Map<string, Buffer>()
  const server: Server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://gullible')
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    const etag = (bytes: Buffer) => `"${createHash('md5').update(bytes).digest('hex')}"`
    const held = objects.get(pathname)
    if (request.method === 'HEAD') {
      if (held === undefined) response.writeHead(404).end()
      else response.writeHead(200, { etag: etag(held), 'content-length': held.length }).end()
    } else if (request.method === 'POST' && searchParams.has('uploads'))
      response.end(
        '<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>',
      )
    else if (request.method === 'PUT') {
      const kept = searchParams.has('partNumber') ? parts : objects
      kept.set(pathname, body)
      response.writeHead(200, { etag: etag(body) }).end()
    } else if (request.method === 'GET') {
      const part = parts.get(pathname) ?? Buffer.alloc(0)
      response.end(
        `<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber><Size>${part.length}</Size><ETag>${etag(part)}</ETag></Part></ListPartsResult>`,
      )
    } else response.writeHead(204).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot listen')
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}
