/** How the bytes of an artifact come out, and how they do not. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Artifact } from '../../schemas/artifact.ts'
import { Grant } from '../../schemas/upload.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  addressOf,
  claimOf,
  grantParts,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  sealContent,
  sliceOf,
  type TestTarget,
  useGrant,
} from '../support/upload.ts'

const GRANT_SECONDS = 600
let now = Date.parse('2026-11-21T20:00:00Z')
let server: TestServer
const content = makeContent(200_000, 'delivered')
const target = { task: 'deliver', run: 0, name: 'logs/build.txt' }
beforeAll(async () => {
  server = await startTestServer({ clock: () => new Date(now) })
  await sealContent(server, target, content, { contentType: 'text/html' })
})
afterAll(() => server[Symbol.asyncDispose]())

/** The address that a plain download is sent to. */
async function redirectOf(of: TestTarget): Promise<Grant> {
  const reply = await server.request('GET', addressOf(of, 'content'))
  expect(reply.status).toBe(303)
  return { method: 'GET', url: String(reply.headers.location), headers: {}, expiresAt: '' }
}

async function boundGrantOf(of: TestTarget): Promise<Grant> {
  const headers = { accept: 'application/json' }
  return Grant.parse((await server.request('GET', addressOf(of, 'content'), { headers })).body)
}

describe('getContent', () => {
  it('redirects to the bytes, and tells their digest', async () => {
    const reply = await server.request('GET', addressOf(target, 'content'))
    const digest = Buffer.from(content.sha256, 'hex').toString('base64')
    expect(reply.headers).toMatchObject({
      'repr-digest': `sha-256=:${digest}:`,
      'cache-control': 'no-store',
    })
    const got = await useGrant(server, await redirectOf(target))
    expect(got.status).toBe(200)
    expect(got.bytes.equals(content.bytes)).toBe(true)
  })

  it('takes the slashes of a name as they are, or encoded', async () => {
    const raw = await server.request('GET', '/v1/tasks/deliver/runs/0/content/logs/build.txt')
    expect(raw.status).toBe(303)
  })

  it('sends what was uploaded so that no browser runs it', async () => {
    const { headers } = await useGrant(server, await redirectOf(target))
    expect(headers).toMatchObject({
      'content-type': 'text/html',
      'content-disposition': expect.stringMatching(/^attachment; filename="?build\.txt/),
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringContaining('sandbox'),
    })
  })

  it('answers a grant as JSON that is bound to this very object', async () => {
    const grant = await boundGrantOf(target)
    expect(grant.headers).toHaveProperty('if-match')
    expect((await useGrant(server, grant)).bytes.equals(content.bytes)).toBe(true)
    const unbound = await useGrant(server, { ...grant, headers: {} })
    expect(unbound).toMatchObject({ status: 403, body: { code: 'grant_invalid' } })
    const other = await useGrant(server, { ...grant, headers: { 'if-match': '"other"' } })
    expect(other).toMatchObject({ status: 412, body: { code: 'precondition_failed' } })
  })

  it('says that the bytes are gone when they are', async () => {
    const lost = { ...target, name: 'lost' }
    const { uploadId } = await sealContent(server, lost, content)
    const grant = await boundGrantOf(lost)
    await rm(join(server.storeFolder, 'blobs', uploadId.slice(-2), uploadId), { force: true })
    expect(await useGrant(server, grant)).toMatchObject({
      status: 502,
      body: { code: 'blob_missing' },
    })
  })
})

describe('a range', () => {
  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=65536-131071', 65_536, 131_072],
    ['bytes=199999-', 199_999, 200_000],
    ['bytes=-10', 199_990, 200_000],
    ['bytes=0-999999', 0, 200_000],
  ])('%s gives these bytes', async (range, start, end) => {
    const got = await useGrant(server, await redirectOf(target), undefined, { range })
    expect(got.status).toBe(206)
    expect(got.headers['content-range']).toBe(`bytes ${start}-${end - 1}/200000`)
    expect(got.bytes.equals(content.bytes.subarray(start, end))).toBe(true)
  })

  it('outside the artifact is refused, and an odd one is left unheard', async () => {
    const grant = await redirectOf(target)
    const outside = await useGrant(server, grant, undefined, { range: 'bytes=200000-' })
    expect(outside.status).toBe(416)
    expect(outside.headers['content-range']).toBe('bytes */200000')
    const odd = await useGrant(server, grant, undefined, { range: 'lines=1-2' })
    expect(odd.status).toBe(200)
  })
})

describe('a name', () => {
  const names = [
    'with space.txt',
    'ünï/çödé-\u{1f600}.txt',
    '100%.txt',
    '100%25.txt',
    '%2F',
    'a?b#c&d=e+f.txt',
    'quote"\'.txt',
    'parts',
    'deep/parts',
    'SHA256SUMS',
    '…/…',
    'latest',
    '-rf',
    'e\u0301.txt',
    '\u00e9.txt',
  ]

  it('comes back as it was given, whatever is in it', async () => {
    for (const [index, name] of names.entries()) {
      const own = makeContent(100 + index, name)
      const at = { task: 'names', run: 0, name }
      const artifact = await sealContent(server, at, own)
      expect(artifact.reference).toBe(`names/0/${name}`)
      const record = await server.request('GET', addressOf(at))
      expect(record.body).toEqual(artifact)
      const parts = await server.request('GET', `${addressOf(at)}/parts`)
      expect(parts.body).toMatchObject({ parts: own.parts })
      const got = await useGrant(server, await redirectOf(at))
      expect(got.bytes.equals(own.bytes)).toBe(true)
      expect(got.headers['content-disposition']).toMatch(/^attachment; filename[\x20-\x7e]*$/)
    }
    const list = await server.request('GET', '/v1/tasks/names/runs/0/artifacts')
    const listed = Artifact.pick({ name: true }).array()
    const { items } = Object(list.body)
    const byBytes = names.toSorted((one, other) =>
      Buffer.compare(Buffer.from(one), Buffer.from(other)),
    )
    expect(listed.parse(items).map(({ name }) => name)).toEqual(byBytes)
  })

  it('may be told in any way that an address allows, with one meaning', async () => {
    const at = '/v1/tasks/names/runs/0'
    const same = await Promise.all(
      ['with%20space.txt', 'with space.txt'.replace(' ', '%20'), '%77ith%20space.txt'].map((name) =>
        server.request('GET', `${at}/artifacts/${name}`),
      ),
    )
    expect(new Set(same.map(({ body }) => JSON.stringify(body))).size).toBe(1)
    const once = await server.request('GET', `${at}/artifacts/100%2525.txt`)
    expect(once.body).toMatchObject({ name: '100%25.txt' })
    const climbing = await server.request('GET', `${at}/artifacts/..%2F..%2Fruns`)
    expect(climbing.status).toBe(400)
  })
})

describe('latest', () => {
  it('is the highest run in which that name is sealed', async () => {
    const at = (run: number, name: string) => ({ task: 'latest', run, name })
    await sealContent(server, at(1, 'db.dump'), makeContent(1))
    await sealContent(server, at(9, 'db.dump'), makeContent(9))
    await sealContent(server, at(10, 'log'), makeContent(10))
    await openTestUpload(server, at(11, 'db.dump'))
    const dump = await server.request('GET', '/v1/tasks/latest/runs/latest/artifacts/db.dump')
    expect(dump.body).toMatchObject({ run: 9, sizeBytes: '9' })
    const list = await server.request('GET', '/v1/tasks/latest/runs/latest/artifacts')
    expect(list.body).toMatchObject({ items: [{ run: 10, name: 'log' }] })
    const none = await server.request('GET', '/v1/tasks/latest/runs/latest/artifacts/none')
    expect(none.status).toBe(404)
  })
})

describe('a run', () => {
  it('that is not on record is not found, one without artifacts is empty', async () => {
    await openTestUpload(server, { task: 'empty', run: 3, name: 'a' })
    for (const below of ['artifacts', 'SHA256SUMS']) {
      const empty = await server.request('GET', `/v1/tasks/empty/runs/3/${below}`)
      expect(empty.status).toBe(200)
      for (const run of ['4', 'latest']) {
        const absent = await server.request('GET', `/v1/tasks/empty/runs/${run}/${below}`)
        expect(absent).toMatchObject({ status: 404, body: { code: 'not_found' } })
      }
    }
  })
})

describe('SHA256SUMS', () => {
  it('is accepted by sha256sum -c beside the files', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'artifact-sums-'))
    try {
      const list = await server.request('GET', '/v1/tasks/names/runs/0/artifacts?limit=1000')
      const { items } = Object(list.body)
      for (const artifact of Artifact.array().parse(items)) {
        const path = join(folder, artifact.name)
        await mkdir(dirname(path), { recursive: true })
        await writeFile(path, (await useGrant(server, await redirectOf(artifact))).bytes)
      }
      const sums = await server.request('GET', '/v1/tasks/names/runs/0/SHA256SUMS')
      expect(sums.headers['content-type']).toBe('text/plain; charset=utf-8')
      await writeFile(join(folder, '.sums'), String(sums.body))
      const run = promisify(execFile)
      const { stdout } = await run('sha256sum', ['-c', '--strict', '.sums'], { cwd: folder })
      expect(stdout.match(/: OK$/gm)).toHaveLength(items.length)
      await writeFile(join(folder, 'parts'), 'tampered')
      const check = run('sha256sum', ['-c', '--strict', '--quiet', '.sums'], { cwd: folder })
      await expect(check).rejects.toMatchObject({ stdout: 'parts: FAILED\n' })
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

describe('a grant', () => {
  it('ends with its time', async () => {
    const read = await redirectOf(target)
    const { id } = await openTestUpload(server, { ...target, name: 'timed' })
    const [write] = await grantParts(server, id, content.parts.slice(0, 1))
    const [part] = content.parts
    if (write === undefined || part === undefined) throw new Error('one grant was asked for')
    now += GRANT_SECONDS * 1000
    expect(await useGrant(server, read)).toMatchObject({
      status: 403,
      body: { code: 'grant_expired', retryable: true },
    })
    expect(await useGrant(server, write, sliceOf(content, part))).toMatchObject({
      status: 403,
      body: { code: 'grant_expired', retryable: true },
    })
  })

  it('is void with any change of its address', async () => {
    const { id } = await openTestUpload(server, { ...target, name: 'changed' })
    const [grant] = await grantParts(server, id, content.parts.slice(0, 1))
    const read = await boundGrantOf(target)
    if (grant === undefined) throw new Error('one grant was asked for')
    const other = await openTestUpload(server, { ...target, name: 'other' })
    const changes = [
      grant.url.replaceAll(id, other.id).replace(`/${id.slice(-2)}/`, `/${other.id.slice(-2)}/`),
      grant.url.replace('part=1', 'part=2'),
      grant.url.replace('offset=0', 'offset=65536'),
      grant.url.replace('size=65536', 'size=65535'),
      grant.url.replace(/sha256=../, 'sha256=00'),
      grant.url.replace(/expires=1/, 'expires=2'),
      grant.url.replace(/signature=./, 'signature=_'),
      grant.url.replace(/&signature=.*/, ''),
      `${grant.url}&part=1`,
      `${grant.url}&more=1`,
    ]
    for (const url of changes) {
      const reply = await useGrant(server, { ...grant, url }, content.bytes.subarray(0, 65_536))
      expect({ url, status: reply.status }).toEqual({ url, status: 403 })
    }
    for (const url of [
      read.url.replace('bound=1', 'bound=0'),
      read.url.replace(/type=[^&]*/, 'type=text%2Fplain'),
      read.url.replace(/tag=[^&]*/, 'tag=%22x%22'),
    ])
      expect((await useGrant(server, { ...read, url })).status).toBe(403)
    const asRead = await useGrant(server, { ...grant, method: 'GET' })
    expect(asRead.status).toBe(403)
  })

  it('for one part takes no other part, and writes nothing', async () => {
    const { id } = await openTestUpload(server, { ...target, name: 'crossed' })
    const [grant] = await grantParts(server, id, content.parts)
    const [, second] = content.parts
    if (grant === undefined || second === undefined) throw new Error('three grants were asked for')
    expect(await useGrant(server, grant, sliceOf(content, second))).toMatchObject({
      status: 422,
      body: { code: 'part_mismatch' },
    })
    const { body } = await server.request('GET', `/v1/uploads/${id}`)
    expect(body).toMatchObject({ parts: [] })
  })

  it('replayed after the seal changes nothing, with the same bytes or with others', async () => {
    const at = { ...target, name: 'replayed' }
    const upload = await openAndSend(server, at, content)
    const grants = await grantParts(server, upload.id, content.parts)
    await seal(server, upload.id, claimOf(content))
    for (const [index, part] of content.parts.entries()) {
      const grant = grants[index]
      if (grant === undefined) throw new Error('a grant for every part')
      for (const bytes of [sliceOf(content, part), Buffer.alloc(part.sizeBytes)]) {
        const reply = await useGrant(server, grant, bytes)
        expect(reply.status).toBeGreaterThanOrEqual(400)
        expect(reply.status).toBeLessThan(500)
      }
    }
    const got = await useGrant(server, await redirectOf(at))
    expect(got.bytes.equals(content.bytes)).toBe(true)
  })

  it('after an abort brings nothing back', async () => {
    const at = { ...target, name: 'aborted' }
    const { id } = await openTestUpload(server, at)
    const [grant] = await grantParts(server, id, content.parts)
    const [part] = content.parts
    if (grant === undefined || part === undefined) throw new Error('three grants were asked for')
    await server.request('DELETE', `/v1/uploads/${id}`)
    expect(await useGrant(server, grant, sliceOf(content, part))).toMatchObject({
      status: 409,
      body: { code: 'upload_ended' },
    })
  })
})
