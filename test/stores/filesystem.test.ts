/** The filesystem store: the contract, and what is its own. */
import { randomBytes } from 'node:crypto'
import { appendFile, chmod, mkdir, readFile, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openFilesystemStore } from '../../server/stores/filesystem.ts'
import { describeStoreContract } from '../contract/store.ts'
import {
  begin,
  flipBit,
  makeBytes,
  makeSample,
  partOf,
  pieceOf,
  readAll,
  sampleOf,
  send,
  sendParts,
  storeSample,
  TTL_SECONDS,
} from '../contract/subject.ts'
import {
  type FilesystemSubject,
  incomingOf,
  openFilesystemSubject,
  SECRET,
} from './filesystem-subject.ts'

describeStoreContract('filesystem', openFilesystemSubject)

let subject: FilesystemSubject
beforeAll(async () => {
  subject = await openFilesystemSubject()
})
afterAll(async () => {
  await subject?.[Symbol.asyncDispose]()
})

describe('openFilesystemStore()', () => {
  it('refuses a folder that another server has', async () => {
    await expect(openFilesystemSubject(subject.folder)).rejects.toMatchObject({ code: 'locked' })
  })

  it('refuses a short secret', async () => {
    const options = {
      folder: subject.folder,
      grantSecret: randomBytes(31),
      clock: () => new Date(),
    }
    await expect(openFilesystemStore(options)).rejects.toMatchObject({ code: 'configuration' })
  })

  it('names a folder that cannot be made', async () => {
    const folder = join(subject.folder, 'lock', 'below a file')
    const options = { folder, grantSecret: SECRET, clock: () => new Date() }
    await expect(openFilesystemStore(options)).rejects.toMatchObject({ code: 'store_unavailable' })
  })
})

describe('receivePart()', () => {
  it('refuses a second sender of a part while the first one sends', async () => {
    const sample = makeSample(subject, 110)
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    const url = new URL(grant.url, subject.origin)
    const gate = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    async function* slowly() {
      yield pieceOf(sample, 1).subarray(0, 10)
      started.resolve()
      await gate.promise
      yield pieceOf(sample, 1).subarray(10)
    }
    const address = { path: url.pathname, query: url.searchParams }
    const first = subject.store.receivePart({ ...address, sizeBytes: 100_000, body: slowly() })
    await started.promise
    const second = await send(subject, grant, pieceOf(sample, 1))
    expect(JSON.parse(second.body.toString())).toMatchObject({ code: 'part_busy', status: 409 })
    expect(await subject.store.listParts(session)).toEqual([])
    gate.resolve()
    await first
    expect(await subject.store.listParts(session)).toEqual([{ number: 1, sizeBytes: 100_000 }])
  })

  it('says what it expected and what it found', async () => {
    const sample = makeSample(subject, 111)
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    const other = sampleOf([flipBit(pieceOf(sample, 1))])
    const differing = await send(subject, grant, pieceOf(other, 1))
    expect(JSON.parse(differing.body.toString())).toMatchObject({
      code: 'part_mismatch',
      status: 422,
      expected: `sha256 ${partOf(sample, 1).sha256}`,
      found: `sha256 ${partOf(other, 1).sha256}`,
    })
    const short = await send(subject, grant, Buffer.alloc(5), { 'content-length': '5' })
    expect(JSON.parse(short.body.toString())).toMatchObject({
      code: 'size_mismatch',
      expected: '100000 bytes',
      found: '5 bytes',
    })
  })

  it('refuses more and fewer bytes when the request does not tell its length', async () => {
    const sample = makeSample(subject, 112)
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    const url = new URL(grant.url, subject.origin)
    const receive = (body: AsyncIterable<Uint8Array>) =>
      subject.store.receivePart({
        path: url.pathname,
        query: url.searchParams,
        sizeBytes: undefined,
        body,
      })
    async function* cut(sizeBytes: number) {
      const bytes = Buffer.concat([pieceOf(sample, 1), pieceOf(sample, 2)])
      for (let at = 0; at < sizeBytes; at += 7777)
        yield bytes.subarray(at, Math.min(at + 7777, sizeBytes))
    }
    await expect(receive(cut(99_999))).rejects.toMatchObject({ code: 'size_mismatch' })
    await expect(receive(cut(100_001))).rejects.toMatchObject({ code: 'size_mismatch' })
    await expect(receive(cut(100_000))).resolves.toBeUndefined()
  })

  it('never writes past the end of a part', async () => {
    const sample = makeSample(subject, 113)
    const session = await begin(subject, sample)
    await sendParts(subject, session, sample, [2])
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    const url = new URL(grant.url, subject.origin)
    async function* tooMuch() {
      yield Buffer.concat([pieceOf(sample, 1), Buffer.alloc(50_000, 0xff)])
    }
    const address = { path: url.pathname, query: url.searchParams }
    const action = subject.store.receivePart({ ...address, sizeBytes: undefined, body: tooMuch() })
    await expect(action).rejects.toMatchObject({ code: 'size_mismatch' })
    const kept = await readFile(incomingOf(subject, session.key))
    expect(kept.subarray(100_000, 200_000).equals(pieceOf(sample, 2))).toBe(true)
  })

  it('refuses another digest for a part that is held', async () => {
    const sample = makeSample(subject, 114)
    const session = await begin(subject, sample)
    await sendParts(subject, session, sample, [1])
    const other = makeBytes(100_000, 115)
    const [part] = sampleOf([other]).parts
    if (part === undefined) throw new Error('too few')
    const grant = await subject.store.grantPart(session, part, TTL_SECONDS)
    const reply = await send(subject, grant, other)
    expect(JSON.parse(reply.body.toString())).toMatchObject({ code: 'part_conflict' })
  })

  it('lets a sender in the middle of a part no longer write once completing began', async () => {
    const sample = makeSample(subject, 116)
    const session = await begin(subject, sample, true)
    const grant = await subject.store.grantPart(session, partOf(sample, 3), TTL_SECONDS)
    await sendParts(subject, session, sample, [1, 2])
    const url = new URL(grant.url, subject.origin)
    const gate = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    async function* slowly() {
      yield pieceOf(sample, 3).subarray(0, 500)
      started.resolve()
      await gate.promise
      yield pieceOf(sample, 3).subarray(500)
    }
    const address = { path: url.pathname, query: url.searchParams }
    const sending = subject.store.receivePart({ ...address, sizeBytes: 1000, body: slowly() })
    await started.promise
    const blob = await subject.store.complete(session, sample.parts.slice(0, 2))
    gate.resolve()
    await expect(sending).rejects.toMatchObject({ code: 'part_busy' })
    expect(await subject.store.stat(session.key)).toEqual(blob)
    expect(blob.sizeBytes).toBe(200_000n)
  })

  it('names a request that breaks off', async () => {
    const sample = makeSample(subject, 117)
    const session = await begin(subject, sample)
    const grant = await subject.store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
    const url = new URL(grant.url, subject.origin)
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(10)
      throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
    }
    const address = { path: url.pathname, query: url.searchParams }
    const action = subject.store.receivePart({ ...address, sizeBytes: 100_000, body: broken() })
    await expect(action).rejects.toMatchObject({ code: 'invalid_request' })
  })
})

describe('begin()', () => {
  it('refuses what does not fit on the disk', async () => {
    const plan = {
      key: 'blobs/00/huge',
      sizeBytes: 2n ** 62n,
      partSizeBytes: 1024,
      contentType: 'text/plain',
    }
    await expect(subject.store.begin(plan)).rejects.toMatchObject({ code: 'storage_full' })
  })

  it.each([
    'blobs/../../etc/passwd',
    'blobs/ab/..',
    'other/ab/cd',
    'blobs',
    'blobs/a b',
    'blobs/ab/c.parts',
  ])('refuses the key %s', async (key) => {
    const plan = { key, sizeBytes: 1n, partSizeBytes: 1024, contentType: 'text/plain' }
    await expect(subject.store.begin(plan)).rejects.toMatchObject({ code: 'internal' })
  })

  it('keeps what is held when it is repeated', async () => {
    const sample = makeSample(subject, 120)
    const session = await begin(subject, sample)
    await sendParts(subject, session, sample, [1])
    expect(await subject.store.begin(session)).toBe(session.session)
    await sendParts(subject, session, sample, [2, 3])
    await subject.store.complete(session, sample.parts)
  })
})

describe('discard()', () => {
  it('leaves no journal that would speak for a blob begun later under the key', async () => {
    const sample = makeSample(subject, 121)
    const session = await begin(subject, sample)
    await sendParts(subject, session, sample, [1])
    // The file cannot be removed, as if the process ended in the middle.
    const path = incomingOf(subject, session.key)
    await rm(path)
    await mkdir(join(path, 'kept'), { recursive: true })
    await expect(subject.store.discard(session)).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    await expect(stat(`${path}.parts`)).rejects.toThrow('ENOENT')
    await rm(path, { recursive: true })
    await subject.store.begin(session)
    expect(await subject.store.listParts(session)).toEqual([])
  })
})

describe('complete()', () => {
  it('completes 1,005 parts', async () => {
    const pieces = Array.from({ length: 1005 }, (_, index) => makeBytes(64, index))
    const sample = sampleOf(pieces)
    const small = { ...subject, partSizeBytes: 64 }
    const session = await begin(small, sample)
    await sendParts(small, session, sample)
    expect(await subject.store.listParts(session)).toHaveLength(1005)
    const blob = await subject.store.complete(session, sample.parts)
    const found = await readAll(subject.store.read(session.key, blob.tag))
    expect(found.equals(sample.bytes)).toBe(true)
  })

  it('leaves a read-only file and nothing among the unfinished', async () => {
    const { session } = await storeSample(subject, makeSample(subject, 130))
    expect((await stat(join(subject.folder, session.key))).mode & 0o777).toBe(0o444)
    await expect(stat(incomingOf(subject, session.key))).rejects.toThrow('ENOENT')
    await expect(stat(`${incomingOf(subject, session.key)}.parts`)).rejects.toThrow('ENOENT')
  })

  it('places parts beyond 4 GiB', async () => {
    const far = { ...subject, partSizeBytes: 3 * 1024 ** 3 }
    const last = makeBytes(1000, 131)
    const key = 'blobs/ff/far'
    const sizeBytes = BigInt(far.partSizeBytes) * 2n + 1000n
    const plan = { key, sizeBytes, partSizeBytes: far.partSizeBytes, contentType: 'text/plain' }
    const session = { ...plan, session: await far.store.begin(plan) }
    const [part] = sampleOf([last]).parts
    if (part === undefined) throw new Error('too few')
    const grant = await far.store.grantPart(session, { ...part, number: 3 }, TTL_SECONDS)
    expect((await send(far, grant, last)).status).toBe(200)
    // The file has holes where nothing was sent, so it costs nothing.
    const { size } = await stat(incomingOf(far, key))
    expect(BigInt(size)).toBe(sizeBytes)
    await far.store.discard(session)
  })
})

describe('read()', () => {
  it('refuses a blob that was cut or padded behind the record', async () => {
    const { session, blob } = await storeSample(subject, makeSample(subject, 140))
    const path = join(subject.folder, session.key)
    await chmod(path, 0o600)
    await appendFile(path, 'x')
    const padded = readAll(subject.store.read(session.key, blob.tag))
    await expect(padded).rejects.toMatchObject({ code: 'precondition_failed' })
    await truncate(path, 10)
    const cut = readAll(subject.store.read(session.key, blob.tag))
    await expect(cut).rejects.toMatchObject({ code: 'precondition_failed' })
  })
})

describe('openContent()', () => {
  it('lets nothing of a blob run in a browser', async () => {
    const { session, blob } = await storeSample(subject, makeSample(subject, 150))
    const grant = await subject.store.grantRead(session.key, blob.tag, {
      fileName: 'page.html',
      contentType: 'text/html',
      ttlSeconds: TTL_SECONDS,
      bound: false,
    })
    const { headers } = await send(subject, grant)
    expect(headers).toMatchObject({
      'content-disposition': expect.stringMatching(/^attachment;/),
      'x-content-type-options': 'nosniff',
      'content-security-policy': "sandbox; default-src 'none'",
    })
  })

  it('names a blob that is gone', async () => {
    const { session, blob } = await storeSample(subject, makeSample(subject, 151))
    const grant = await subject.store.grantRead(session.key, blob.tag, {
      fileName: 'x',
      contentType: 'text/plain',
      ttlSeconds: TTL_SECONDS,
      bound: true,
    })
    await rm(join(subject.folder, session.key))
    const reply = await send(subject, grant)
    expect(JSON.parse(reply.body.toString())).toMatchObject({ code: 'blob_missing' })
  })

  it('answers If-Range with the whole when the tag is another one', async () => {
    const { session, blob } = await storeSample(subject, makeSample(subject, 152))
    const grant = await subject.store.grantRead(session.key, blob.tag, {
      fileName: 'x',
      contentType: 'text/plain',
      ttlSeconds: TTL_SECONDS,
      bound: false,
    })
    const url = new URL(grant.url, subject.origin)
    const address = { path: url.pathname, query: url.searchParams, range: 'bytes=0-1' }
    expect((await subject.store.openContent({ ...address, ifRange: blob.tag })).status).toBe(206)
    expect((await subject.store.openContent({ ...address, ifRange: '"old"' })).status).toBe(200)
  })
})
