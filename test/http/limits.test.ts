/** Everything that a client can send has a limit, and what lies behind it gets an answer in the 400s. */
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { UploadWithParts } from '../../schemas/upload.ts'
import { ensuringRuns } from '../../server/records/tasks.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { addressOf, makeContent, openTestUpload, sha256, wordsFor } from '../support/upload.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer({ settings: { openUploadsMax: '40', sizeBytesMax: undefined } })
})
afterAll(() => server[Symbol.asyncDispose]())

let runs = 0
const fresh = () => ({ task: 'limit', run: runs++, name: 'a' })
const open = (body: unknown, headers: Record<string, string> = {}, token?: string) =>
  server.request('POST', '/v1/uploads', { body, headers, ...(token ? { token } : {}) })
const invalid = (field: string) => ({
  status: 400,
  body: {
    code: 'invalid_request',
    errors: expect.arrayContaining([expect.objectContaining({ field })]),
  },
})
const labels = (count: number, value = 'v') =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`key${index}`, value]))
/** Of keys that no label has. */
const wide = Object.fromEntries(Array.from({ length: 200_000 }, (_, index) => [`key ${index}`, 1]))

describe('a body', () => {
  it.each([
    ['an unknown field', { surplus: true }, 'surplus'],
    ['a name too long', { name: 'é'.repeat(257) }, 'name'],
    ['a name with NUL', { name: 'a\0b' }, 'name'],
    ['a name with a lone surrogate', { name: 'a\ud800' }, 'name'],
    ['a name that climbs', { name: '../etc/passwd' }, 'name'],
    ['a task with a slash', { task: 'a/b' }, 'task'],
    ['a task too long', { task: 'a'.repeat(129) }, 'task'],
    ['33 labels', { labels: labels(33) }, 'labels'],
    ['a label too long', { labels: labels(1, 'é'.repeat(513)) }, 'labels.key0'],
    ['a label with NUL', { labels: { key: 'a\0' } }, 'labels.key'],
    ['a label with a lone surrogate', { labels: { key: '\udfff' } }, 'labels.key'],
    ['a label key with a space', { labels: { 'a b': '' } }, 'labels.a b'],
    ['a content type with a line break', { contentType: 'text/plain\r\nx: y' }, 'contentType'],
    ['a negative run', { run: -1 }, 'run'],
    ['a run above the limit', { run: 2_147_483_648 }, 'run'],
    ['a run that is no whole number', { run: 1.5 }, 'run'],
    ['a run as text', { run: '1' }, 'run'],
    ['a size as a number', { sizeBytes: 9 }, 'sizeBytes'],
    ['a size of 2^63', { sizeBytes: '9223372036854775808' }, 'sizeBytes'],
    ['a negative size', { sizeBytes: '-1' }, 'sizeBytes'],
    ['a size with leading zeros', { sizeBytes: '007' }, 'sizeBytes'],
    ['a digest in upper case', { sha256: 'A'.repeat(64) }, 'sha256'],
    ['a digest too short', { sha256: 'a'.repeat(63) }, 'sha256'],
    ['a policy that there is not', { policy: 'trust' }, 'policy'],
    ['101 parts', { parts: Array(101).fill(makeContent(1).parts[0]) }, 'parts'],
    ['an id that is none', { id: 'upload-1' }, 'id'],
  ])('with %s is refused, naming the field', async (_, change, field) => {
    expect(await open(wordsFor(fresh(), change))).toMatchObject(invalid(field))
  })

  it.each([
    ['invalid JSON', '{"id": ', 'body'],
    ['nothing', '', 'body'],
    ['an array', '[]', 'body'],
    ['null', 'null', 'body'],
    ['a number beyond any', '1e999', 'body'],
    ['bytes that are not UTF-8', '\u{fffd}', 'body'],
  ])('of %s is refused', async (_, text, field) => {
    expect(await open(text)).toMatchObject(invalid(field))
  })

  it('does not fall for a prototype', async () => {
    const text = JSON.stringify(wordsFor(fresh())).replace('{', '{"__proto__": {"admin": true},')
    expect((await open(text)).status).toBe(400)
  })

  it.each([undefined, 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'])(
    'of content type %s is refused',
    async (type) => {
      const body = JSON.stringify(wordsFor(fresh()))
      const headers = { 'content-type': type ?? '' }
      expect(await open(body, headers)).toMatchObject(invalid('content-type'))
    },
  )

  it.each([
    ['nested without end', 'task', '['.repeat(500_000) + ']'.repeat(500_000)],
    ['with more faults than can be listed', 'artifacts', `[{"labels":${JSON.stringify(wide)}}]`],
    ['with a hundred thousand unknown fields', 'x', `1,${JSON.stringify(wide).slice(1, -1)}`],
  ])('%s is refused, in few words', async (_, field, value) => {
    const path = field === 'artifacts' ? '/v1/artifacts' : '/v1/uploads'
    const reply = await server.request('POST', path, { body: `{"${field}":${value}}` })
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect(JSON.stringify(reply.body).length).toBeLessThan(16_384)
  })

  it('above 4 MiB is refused, with and without a length', async () => {
    const big = JSON.stringify({ ...wordsFor(fresh()), labels: { big: 'x'.repeat(4 << 20) } })
    expect(await open(big)).toMatchObject({ status: 413, body: { code: 'body_too_large' } })
    const { statusCode, body } = await request(`${server.url}/v1/uploads`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${server.token}` },
      body: Readable.from([big]),
    })
    await body.dump()
    expect(statusCode).toBe(413)
  })

  it('at every limit is taken', async () => {
    const reply = await open(
      wordsFor(
        { task: 'a'.repeat(128), run: 2_147_483_647, name: 'é'.repeat(256) },
        { labels: labels(32, 'é'.repeat(512)), contentType: `a/${'b'.repeat(253)}` },
      ),
    )
    expect(reply.status).toBe(201)
  })
})

describe('parts', () => {
  const grant = async (parts: unknown[], more: object = {}) => {
    const { id } = await openTestUpload(server, fresh(), more)
    const reply = await server.request('POST', `/v1/uploads/${id}/grants`, { body: { parts } })
    await server.request('DELETE', `/v1/uploads/${id}`)
    return reply
  }
  const part = (number: number, sizeBytes = 1) => ({ number, sizeBytes, sha256: 'a'.repeat(64) })

  it('are granted a hundred at a time, and at least one', async () => {
    expect(await grant(Array.from(Array(100), (_, index) => part(index + 1)))).toMatchObject({
      status: 200,
    })
    expect(await grant(Array.from(Array(101), (_, index) => part(index + 1)))).toMatchObject(
      invalid('parts'),
    )
    expect(await grant([])).toMatchObject(invalid('parts'))
  })

  it.each([0, -1, 10_001, 1.5, 2 ** 53])('numbered %d are refused', async (number) => {
    expect(await grant([part(number)])).toMatchObject(invalid('parts.0.number'))
  })

  it.each([0, -1, 5 * 1024 ** 3 + 1, 0.5])('of %d bytes are refused', async (sizeBytes) => {
    expect(await grant([part(1, sizeBytes)])).toMatchObject(invalid('parts.0.sizeBytes'))
  })

  it('beyond the plan are refused', async () => {
    const declared = { sizeBytes: '150000' }
    expect(await grant([part(4)], declared)).toMatchObject({
      status: 422,
      body: { code: 'limit_exceeded', expected: '1 to 3', found: '4' },
    })
    expect(await grant([part(3, 65_536)], declared)).toMatchObject({
      status: 422,
      body: { code: 'size_mismatch', expected: '18928 bytes' },
    })
  })

  it('named twice in one request are refused', async () => {
    expect(await grant([part(1), part(1)])).toMatchObject({ status: 400 })
  })

  it('larger than the dictated size are refused where the whole is not known', async () => {
    expect(await grant([part(1, 8 * 65_536 + 1)])).toMatchObject({
      status: 422,
      body: { code: 'size_mismatch' },
    })
  })
})

describe('open uploads', () => {
  it('are limited per token, and room is made by ending one', async () => {
    const token = await server.createToken(['upload:crowd/**'])
    const ids: string[] = []
    for (let index = 0; index < 40; index += 1) {
      const body = wordsFor({ task: 'crowd', run: 0, name: `${index}` })
      expect((await open(body, {}, token)).status).toBe(201)
      ids.push(body.id)
    }
    const next = wordsFor({ task: 'crowd', run: 0, name: 'next' })
    const refused = await open(next, {}, token)
    expect(refused).toMatchObject({
      status: 429,
      body: { code: 'too_many_uploads', expected: 'at most 40', found: '40', retryable: true },
    })
    expect(refused.headers['retry-after']).toMatch(/^[0-9]+$/)
    await server.request('DELETE', `/v1/uploads/${ids[0]}`, { token })
    expect((await open(next, {}, token)).status).toBe(201)
  })

  it('are limited also when they come together', async () => {
    const token = await server.createToken(['upload:rush/**'])
    const replies = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        open(wordsFor({ task: 'rush', run: 0, name: `${index}` }), {}, token),
      ),
    )
    const statuses = replies.map(({ status }) => status)
    expect(statuses.filter((status) => status === 201)).toHaveLength(40)
    expect(statuses.filter((status) => status === 429)).toHaveLength(20)
  })

  it('larger than the disk get no grant', async () => {
    const { id } = await openTestUpload(server, fresh(), { sizeBytes: '40000000000000' })
    const { body } = await server.request('GET', `/v1/uploads/${id}`)
    const sizeBytes = UploadWithParts.parse(body).upload.partSizeBytes
    const reply = await server.request('POST', `/v1/uploads/${id}/grants`, {
      body: { parts: [{ number: 1, sizeBytes, sha256: 'a'.repeat(64) }] },
    })
    expect(reply).toMatchObject({ status: 507, body: { code: 'storage_full' } })
  })

  it('of a size that no plan can hold are refused', async () => {
    const reply = await open(wordsFor(fresh(), { sizeBytes: '9223372036854775807' }))
    expect(reply).toMatchObject({ status: 422, body: { code: 'limit_exceeded' } })
  })

  it('above the largest size that the operator allows are refused', async () => {
    await using strict = await startTestServer({ settings: { sizeBytesMax: '1000' } })
    const reply = await strict.request('POST', '/v1/uploads', {
      body: wordsFor(fresh(), { sizeBytes: '1001' }),
    })
    expect(reply).toMatchObject({
      status: 422,
      body: { code: 'limit_exceeded', expected: 'at most 1000 bytes', found: '1001 bytes' },
    })
  })
})

describe('a query', () => {
  it.each([
    ['a page of none', '/v1/tasks?limit=0', 'limit'],
    ['a page above 1000', '/v1/tasks?limit=1001', 'limit'],
    ['a page of text', '/v1/tasks?limit=ten', 'limit'],
    ['a parameter twice', '/v1/tasks?limit=1&limit=2', 'limit'],
    ['a parameter that there is not', '/v1/tasks?offset=10', 'offset'],
    ['a cursor that is none', '/v1/uploads?after=tomorrow', 'after'],
    ['a state that there is not', '/v1/uploads?state=lost', 'state'],
    ['an event id that is none', '/v1/events?after=-1', 'after'],
    ['a run that is none', '/v1/tasks/a/runs/first/artifacts', 'run'],
    ['a run beyond the limit', '/v1/tasks/a/runs/2147483648/artifacts', 'run'],
    ['a run in another notation', '/v1/tasks/a/runs/0x10/artifacts', 'run'],
    ['a prefix with NUL', '/v1/tasks?prefix=%00', 'prefix'],
    ['a cursor with NUL', '/v1/tasks/a/runs/0/artifacts?after=a%00', 'after'],
  ])('with %s is refused', async (_, path, field) => {
    expect(await server.request('GET', path)).toMatchObject(invalid(field))
  })
})

const Sized = z.object({ sizeBytes: z.string() })

describe('a size above 2^53', () => {
  // One more than the largest odd whole number that a JSON number keeps.
  const size = '9007199254740993'
  const sizeMax = '9223372036854775807'

  it('keeps its digits in the record and in the list', async () => {
    const target = fresh()
    await server.sql`
      with ${ensuringRuns(server.sql, server.sql`select ${target.task}::text as task, ${target.run}::int as run`)}
      select from new_run`
    await server.sql`
      insert into artifact.artifact (
        task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy, store,
        blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name
      ) values (
        ${target.task}, ${target.run}, ${target.name}, sha256('huge'), ${size}::bigint, 5368709120,
        decode(repeat('00', 32 * 1677722), 'hex'), 'application/octet-stream', '{}', 'reread',
        'filesystem', 'blobs/00/huge', '"huge"', ${randomUUID()}, now(), ${randomUUID()}, 'test'
      )`
    const record = await server.request('GET', addressOf(target))
    const list = await server.request('GET', `/v1/tasks/limit/runs/${target.run}/artifacts`)
    expect(Sized.parse(record.body).sizeBytes).toBe(size)
    expect(list.body).toMatchObject({ items: [{ sizeBytes: size, partCount: 1_677_722 }] })
    const sums = await server.request('GET', `/v1/tasks/limit/runs/${target.run}/SHA256SUMS`)
    expect(sums.body).toBe(`${sha256('huge')}  a\n`)
    const other = await open(wordsFor(target, { sizeBytes: '9007199254740992' }))
    expect(other).toMatchObject({
      status: 409,
      body: { code: 'already_sealed', expected: expect.stringContaining(`${size} bytes`) },
    })
  })

  it('is kept by progress reports', async () => {
    const { id } = await openTestUpload(server, fresh())
    const body = { bytes: size, totalBytes: sizeMax, attempt: 1 }
    const reply = await server.request('PUT', `/v1/uploads/${id}/progress`, { body })
    expect(reply).toMatchObject({ status: 200, body })
    const { body: shown } = await server.request('GET', `/v1/uploads/${id}`)
    expect(shown).toMatchObject({ upload: { progress: body } })
  })

  it('is kept by a claim', async () => {
    const { id } = await openTestUpload(server, fresh())
    const body = { sha256: sha256('huge'), sizeBytes: size, parts: [] }
    const reply = await server.request('POST', `/v1/uploads/${id}/seal`, { body })
    expect(reply).toMatchObject({ status: 422, body: { code: 'part_mismatch' } })
  })
})
