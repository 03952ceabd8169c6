import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { endpoints } from '../../schemas/api.ts'
import type { Endpoint } from '../../schemas/endpoint.ts'
import { PAGE_DEFAULT, PAGE_MAX } from '../../schemas/pages.ts'
import { PROBLEMS } from '../../schemas/problems.ts'
import { OpenUpload, RequestGrants, SealUpload } from '../../schemas/upload.ts'

const table: [string, Endpoint][] = Object.entries(endpoints)
const named = (isFaulty: (endpoint: Endpoint) => boolean) =>
  table.filter(([, endpoint]) => isFaulty(endpoint)).map(([name]) => name)
const paramsOf = (path: string) => [...path.matchAll(/:([a-z]+)/g)].map(([, name]) => name)
const isStrict = (schema: z.ZodObject | undefined) =>
  schema === undefined || schema.def.catchall instanceof z.ZodNever

describe('endpoints', () => {
  it('have each method and address once, whatever the parameters are called', () => {
    const addresses = table.map(
      ([, { method, path }]) => `${method} ${path.replaceAll(/:[a-z]+/g, ':')}`,
    )
    expect(new Set(addresses).size).toBe(addresses.length)
  })

  it('describe exactly the parameters of their path', () => {
    expect(
      named(
        ({ path, params }) => paramsOf(path).join() !== Object.keys(params?.shape ?? {}).join(),
      ),
    ).toEqual([])
  })

  it('lie under one version', () => {
    expect(named(({ path }) => !/^\/v1(\/(:[a-z]+|[a-z0-9-]+|SHA256SUMS))+$/.test(path))).toEqual(
      [],
    )
  })

  it('refuse fields they do not know', () => {
    expect(named(({ body, query }) => !isStrict(body) || !isStrict(query))).toEqual([])
  })

  it('send a body only where the method has one', () => {
    expect(
      named(({ method, body }) => body !== undefined && !['POST', 'PUT'].includes(method)),
    ).toEqual([])
  })

  it('answer success by some status, each once', () => {
    const successes = ({ replies, otherReplies = {} }: Endpoint) => [
      ...Object.keys(replies),
      ...Object.keys(otherReplies),
    ]
    expect(named((endpoint) => successes(endpoint).length === 0)).toEqual([])
    expect(
      named((endpoint) => new Set(successes(endpoint)).size !== successes(endpoint).length),
    ).toEqual([])
    expect(
      named((endpoint) => successes(endpoint).some((status) => !/^[23]\d\d$/.test(status))),
    ).toEqual([])
  })

  it('name only problems that cross the wire, each once', () => {
    expect(named(({ errors }) => new Set(errors).size !== errors.length)).toEqual([])
    expect(named(({ errors }) => errors.some((code) => PROBLEMS[code].status === null))).toEqual([])
  })

  it('answer 404 for one thing that the caller may not see', () => {
    expect(
      named(
        ({ path, access, errors }) =>
          /:id|:name/.test(path) && access !== 'anyone' && !errors.includes('not_found'),
      ),
    ).toEqual([])
  })

  it('page every list with a limit', () => {
    const lists = table.filter(([name]) => name.startsWith('list'))
    expect(lists.length).toBeGreaterThan(0)
    for (const [, { query }] of lists) {
      expect(query?.safeParse({}).data).toMatchObject({ limit: PAGE_DEFAULT })
      expect(query?.safeParse({ limit: String(PAGE_MAX) }).success).toBe(true)
      for (const limit of ['0', '-1', '1.5', String(PAGE_MAX + 1), 'all', ''])
        expect(query?.safeParse({ limit }).success).toBe(false)
    }
  })

  it('read a run from a path as a number or the latest', () => {
    const { params } = endpoints.listArtifacts
    expect(params.parse({ task: 'a', run: '7' })).toEqual({ task: 'a', run: 7 })
    expect(params.parse({ task: 'a', run: 'latest' })).toEqual({ task: 'a', run: 'latest' })
    for (const run of ['', ' ', '-1', '+1', '01', '1.5', '0x10', '1e3', 'x', '2147483648', '1e99'])
      expect(params.safeParse({ task: 'a', run }).success).toBe(false)
  })

  it('turn into JSON Schema, both ways', () => {
    for (const [, { body, replies }] of table)
      for (const schema of [...(body === undefined ? [] : [body]), ...Object.values(replies)])
        for (const io of ['input', 'output'] as const)
          expect(() => z.toJSONSchema(schema, { io })).not.toThrow()
  })
})

describe('requests', () => {
  const part = { number: 1, sizeBytes: 5, sha256: 'ab'.repeat(32) }
  const open = { id: '7b0c1f0e-3f0b-4c39-9a53-0d6f3b1d1f11', task: 'a', run: 0, name: 'b' }

  it('fill in what an opening leaves out', () => {
    expect(OpenUpload.parse(open)).toEqual({
      ...open,
      sizeBytes: null,
      sha256: null,
      contentType: 'application/octet-stream',
      labels: {},
      parts: [],
    })
  })

  it('open an upload into a run, or one that is allotted, not both', () => {
    const { run, ...unplaced } = open
    const requestId = '0d6f3b1d-1f11-4c39-9a53-7b0c1f0e3f0b'
    expect(OpenUpload.safeParse({ ...unplaced, requestId }).success).toBe(true)
    expect(OpenUpload.safeParse(unplaced).success).toBe(false)
    expect(OpenUpload.safeParse({ ...unplaced, requestId, run }).success).toBe(false)
  })

  it('bound what one request can ask for', () => {
    expect(RequestGrants.safeParse({ parts: [] }).success).toBe(false)
    expect(RequestGrants.safeParse({ parts: Array(100).fill(part) }).success).toBe(true)
    expect(RequestGrants.safeParse({ parts: Array(101).fill(part) }).success).toBe(false)
    const seal = { sha256: part.sha256, sizeBytes: '5' }
    expect(SealUpload.safeParse({ ...seal, parts: Array(10_000).fill(part) }).success).toBe(true)
    expect(SealUpload.safeParse({ ...seal, parts: Array(10_001).fill(part) }).success).toBe(false)
  })

  it('refuse sizes and parts that are none', () => {
    const faulty = [
      { ...part, number: 0 },
      { ...part, number: 10_001 },
      { ...part, sizeBytes: 0 },
      { ...part, sizeBytes: 5 * 1024 ** 3 + 1 },
      { ...part, sizeBytes: '5' },
      { ...part, sha256: '' },
    ]
    for (const one of faulty) expect(RequestGrants.safeParse({ parts: [one] }).success).toBe(false)
  })
})
