/** Whatever a client sends, it is never the server that failed. */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endpoints } from '../../schemas/api.ts'
import type { Endpoint } from '../../schemas/endpoint.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeContent, openTestUpload, sealContent } from '../support/upload.ts'

let server: TestServer
let uploadId = ''
beforeAll(async () => {
  server = await startTestServer({ settings: { logLevel: 'error', openUploadsMax: '1000000' } })
  await sealContent(server, { task: 'fuzz', run: 0, name: 'logs/a.txt' }, makeContent(200))
  uploadId = (await openTestUpload(server, { task: 'fuzz', run: 0, name: 'open' })).id
})
afterAll(() => server[Symbol.asyncDispose]())

const RUNS = 250

/** Texts that parsers, databases and file systems are known to stumble over. */
const nasty = fc.constantFrom(
  '',
  '\0',
  'a\0b',
  '\ud800',
  '\udfff\ud800',
  '\u{10ffff}',
  '\ufeff',
  '\u202e',
  '..',
  '../../etc/passwd',
  'a//b',
  "'; drop table artifact.artifact; --",
  '%00',
  '%2e%2e%2f',
  '%',
  '%zz',
  '%ff',
  '{}',
  '__proto__',
  'constructor',
  'latest',
  '-1',
  '0x10',
  '1e999',
  'NaN',
  '9223372036854775808',
  '99999999999999999999',
  'a'.repeat(600),
  'é'.repeat(300),
)
const text = fc.oneof(
  nasty,
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ maxLength: 40 }),
)
const number = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, 1, 2 ** 31, 2 ** 53, 1e308),
)
const json = fc.oneof(fc.jsonValue({ maxDepth: 3 }), text, number)

const known: Record<string, fc.Arbitrary<unknown>> = {
  id: fc.oneof(
    fc.uuid(),
    fc.constant(() => uploadId),
  ),
  task: fc.constant('fuzz'),
  run: fc.integer({ min: 0, max: 3 }),
  name: fc.constantFrom('logs/a.txt', 'open', 'parts', 'a b'),
  sha256: fc.constantFrom('a'.repeat(64), makeContent(200).sha256),
  sizeBytes: fc.constantFrom('0', '200', '9223372036854775807'),
  parts: fc.constantFrom([], makeContent(200).parts, makeContent(150_000).parts),
  requestId: fc.uuid(),
  bytes: fc.constantFrom('0', '9223372036854775807'),
  totalBytes: fc.constant(null),
  attempt: fc.constant(1),
  scopes: fc.constantFrom(['get:a/**'], ['admin']),
  ttlSeconds: fc.constantFrom(null, 1, 315_360_000),
  limit: fc.constantFrom(1, 1000),
  state: fc.constantFrom('active', 'sealed', 'failed'),
}

/** For each field of a schema mostly what fits, now and then anything, now and then nothing. */
function fieldsOf(schema: Endpoint['body'], odd: fc.Arbitrary<unknown>) {
  const names = Object.keys(schema?.shape ?? {})
  const fields = names.map((name) => [
    name,
    fc.oneof(
      { weight: 6, arbitrary: known[name] ?? odd },
      { weight: 2, arbitrary: odd },
      { weight: 1, arbitrary: fc.constant(undefined) },
    ),
  ])
  return fc.record<Record<string, unknown>>(Object.fromEntries(fields))
}

const settle = (value: unknown): unknown => (typeof value === 'function' ? value() : value)
const settleAll = (values: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, settle(value)]))

function encode(value: unknown): string {
  return encodeURIComponent(String(value).toWellFormed())
}

describe.each(Object.entries<Endpoint>(endpoints))('%s', (operation, endpoint) => {
  const isStream = operation === 'watchEvents'
  const query = fieldsOf(endpoint.query, text)
  const request = fc.record({
    params: fieldsOf(endpoint.params, text),
    query: isStream ? query.map((each) => ({ ...each, after: 'never' })) : query,
    body: fc.oneof(
      { weight: 5, arbitrary: fieldsOf(endpoint.body, json) },
      { weight: 1, arbitrary: json },
    ),
  })

  it('answers anything with what its description knows, and never with a failure', async () => {
    await fc.assert(
      fc.asyncProperty(request, async ({ params, query: asked, body }) => {
        const values = settleAll(params)
        const path = endpoint.path.replace(/:([a-z]+)/g, (_, name: string) => encode(values[name]))
        const search = Object.entries(settleAll(asked))
          .filter(([, value]) => value !== undefined)
          .map(([name, value]) => `${name}=${encode(value)}`)
          .join('&')
        const reply = await server.request(
          endpoint.method,
          `${path}${search === '' ? '' : `?${search}`}`,
          endpoint.body === undefined ? {} : { body: settle(body) },
        )
        expect(reply.status).toBeLessThan(500)
      }),
      { numRuns: RUNS / 5 },
    )
  })
})

describe('any address', () => {
  const segment = fc.oneof(
    fc.constantFrom('v1', 'uploads', 'tasks', 'runs', 'artifacts', 'content', 'blobs', 'fuzz', '0'),
    fc.constantFrom('latest', 'logs%2Fa.txt', 'logs', 'parts', 'SHA256SUMS', 'seal', 'grants'),
    text.map(encode),
    fc.constantFrom('%', '%zz', '%ff', '%c0%af', '%00', '..', '.', '%2e%2e', '%252f', ';', '@'),
  )
  const address = fc.array(segment, { maxLength: 8 }).map((parts) => `/${parts.join('/')}`)
  const method = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS')

  it('is answered, and never with a failure', async () => {
    await fc.assert(
      fc.asyncProperty(method, address, fc.option(json), async (verb, path, body) => {
        const hasBody = body !== null && ['POST', 'PUT', 'PATCH'].includes(verb)
        const reply = await server.request(verb, path, hasBody ? { body } : {})
        expect(reply.status).toBeLessThan(500)
      }),
      { numRuns: RUNS },
    )
  })

  it('of a blob without a grant is refused', async () => {
    const query = fc.array(
      fc.tuple(fc.constantFrom('part', 'size', 'sha256', 'expires', 'signature', 'tag'), text),
    )
    await fc.assert(
      fc.asyncProperty(query, fc.constantFrom('GET', 'PUT'), async (pairs, verb) => {
        const search = pairs.map(([name, value]) => `${name}=${encode(value)}`).join('&')
        const path = `/v1/blobs/${uploadId.slice(-2)}/${uploadId}?${search}`
        const reply = await server.request(verb, path, verb === 'PUT' ? { body: 'x' } : {})
        expect(reply).toMatchObject({ status: 403, body: { code: 'grant_invalid' } })
      }),
      { numRuns: RUNS / 5 },
    )
  })
})

describe('the headers', () => {
  const headerText = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.constantFrom(
      'Bearer',
      'Bearer ',
      `Bearer ${'a'.repeat(4000)}`,
      'Basic YTpi',
      'Bearer artifact_',
    ),
  )

  it('may say anything', async () => {
    const names = fc.constantFrom(
      'authorization',
      'content-type',
      'accept',
      'range',
      'if-match',
      'last-event-id',
      'x-request-id',
    )
    const headers = fc.dictionary(names, headerText)
    await fc.assert(
      fc.asyncProperty(headers, async (given) => {
        const reply = await server.request('GET', '/v1/tasks/fuzz/runs/0/content/logs%2Fa.txt', {
          headers: given,
        })
        expect(reply.status).toBeLessThan(500)
      }),
      { numRuns: RUNS / 2 },
    )
  })
})
