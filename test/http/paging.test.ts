/** Pages by key: each thing once, in order, whatever happens between two pages. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { prefixEnd } from '../../server/records/tasks.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openTestUpload } from '../support/upload.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server[Symbol.asyncDispose]())

const Page = z.object({ items: z.array(z.looseObject({})), next: z.string().nullable() })
type Page = z.infer<typeof Page>

/** All pages of a list. */
async function pagesOf(path: string, limit: number): Promise<Page[]> {
  const pages: Page[] = []
  let after = ''
  for (;;) {
    const join = path.includes('?') ? '&' : '?'
    const { body } = await server.request('GET', `${path}${join}limit=${limit}${after}`)
    const page = Page.parse(body)
    pages.push(page)
    if (page.next === null) return pages
    after = `&after=${encodeURIComponent(page.next)}`
  }
}

async function keysOf(path: string, key: string, limit: number): Promise<unknown[]> {
  const pages = await pagesOf(path, limit)
  for (const page of pages) expect(page.items.length).toBeLessThanOrEqual(limit)
  return pages.flatMap(({ items }) => items.map((item) => item[key]))
}

/** Records without bytes behind them, made in the database at once. */
async function recordArtifacts(task: string, run: number, names: string[]): Promise<void> {
  await server.sql`insert into artifact.task (task) values (${task}) on conflict do nothing`
  await server.sql`insert into artifact.run (task, run) values (${task}, ${run}) on conflict do nothing`
  await server.sql`
    insert into artifact.artifact (
      task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy, store,
      blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name
    )
    select ${task}, ${run}, name, sha256(''), 0, 1, '', 'text/plain', '{}', 'reread', 'filesystem',
      'blobs/00/' || gen_random_uuid(), '"x"', gen_random_uuid(), now(), ${randomUUID()}, 'test'
    from unnest(${names}::text[]) as name`
}

const byBytes = (one: string, other: string) => Buffer.compare(Buffer.from(one), Buffer.from(other))

describe('pages', () => {
  it.each([1, 3, 7, 100])('of %d show every task once, in order', async (limit) => {
    const names = Array.from({ length: 7 }, (_, index) => `page-${index}`)
    for (const task of names)
      await server.sql`insert into artifact.task (task) values (${task}) on conflict do nothing`
    expect(await keysOf('/v1/tasks?prefix=page-', 'task', limit)).toEqual(names)
  })

  it.each([1, 3, 5, 100])('of %d show every run once, the latest first', async (limit) => {
    await server.sql`insert into artifact.task (task) values ('runs') on conflict do nothing`
    for (const run of [0, 1, 2, 10, 2_147_483_647])
      await server.sql`
        insert into artifact.run (task, run) values ('runs', ${run}) on conflict do nothing`
    const runs = await keysOf('/v1/tasks/runs/runs', 'run', limit)
    expect(runs).toEqual([2_147_483_647, 10, 2, 1, 0])
  })

  it('show every artifact once, while others are sealed between two pages', async () => {
    const names = Array.from(
      { length: 20 },
      (_, index) => `f/${String(index * 2).padStart(3, '0')}`,
    )
    await recordArtifacts('between', 0, names)
    const first = Page.parse(
      (await server.request('GET', '/v1/tasks/between/runs/0/artifacts?limit=10')).body,
    )
    await recordArtifacts('between', 0, ['f/001', 'f/039'])
    const after = encodeURIComponent(first.next ?? '')
    const rest = Page.parse(
      (await server.request('GET', `/v1/tasks/between/runs/0/artifacts?after=${after}`)).body,
    )
    const seen = [...first.items, ...rest.items].map(({ name }) => name)
    expect(seen).toEqual([...names, 'f/039'])
  })

  it('show every upload once, the latest first, those opened in one moment too', async () => {
    const ids: string[] = []
    for (let index = 0; index < 9; index += 1)
      ids.push((await openTestUpload(server, { task: 'ups', run: 0, name: `${index}` })).id)
    await server.sql`
      update artifact.upload set opened_at = date_trunc('milliseconds', now()) where task = 'ups'`
    const seen = await keysOf('/v1/uploads?task=ups', 'id', 2)
    expect(seen).toHaveLength(9)
    expect(new Set(seen)).toEqual(new Set(ids))
  })

  it('show every token once', async () => {
    for (let index = 0; index < 5; index += 1) await server.createToken(['get:a/b'])
    const all = await keysOf('/v1/tokens', 'id', 100)
    expect(await keysOf('/v1/tokens', 'id', 2)).toEqual(all)
    expect(new Set(all).size).toBeGreaterThanOrEqual(6)
  })

  it('can be short where the scopes cover little, and still lead to the end', async () => {
    await recordArtifacts('sparse', 0, ['a', 'b', 'c', 'public/x', 'z'])
    const token = await server.createToken(['list:sparse/public/*'])
    const seen: unknown[] = []
    let path = '/v1/tasks/sparse/runs/0/artifacts?limit=2'
    for (let next: string | null = ''; next !== null; ) {
      const page = Page.parse((await server.request('GET', path, { token })).body)
      seen.push(...page.items.map(({ name }) => name))
      next = page.next
      path = `/v1/tasks/sparse/runs/0/artifacts?limit=2&after=${encodeURIComponent(next ?? '')}`
    }
    expect(seen).toEqual(['public/x'])
  })
})

describe('a prefix', () => {
  const edge = '\u{10ffff}'
  const names = [
    'a',
    'a/b',
    'a/c',
    'ab',
    'b',
    '\u007e',
    'é',
    'éa',
    '\ud7ff',
    '\ud7ffx',
    '\ue000',
    '\uffff',
    '\u{10000}',
    edge,
    `${edge}${edge}`,
    `a${edge}`,
    `a${edge}b`,
  ].toSorted(byBytes)

  it.each([
    '',
    'a',
    'a/',
    'ab',
    'é',
    '\ud7ff',
    '\ue000',
    '\uffff',
    '\u{10000}',
    edge,
    `a${edge}`,
    `${edge}${edge}`,
    'none',
    '%',
    '_',
  ])('of %j finds what starts with it, and nothing else', async (prefix) => {
    await recordArtifacts('prefix', 0, names).catch(() => undefined)
    const path = `/v1/tasks/prefix/runs/0/artifacts?prefix=${encodeURIComponent(prefix)}`
    const found = await keysOf(path, 'name', 3)
    expect(found).toEqual(names.filter((name) => name.startsWith(prefix)))
  })

  it('has an end in byte order, where there is one', () => {
    expect(prefixEnd('')).toBeNull()
    expect(prefixEnd('a')).toBe('b')
    expect(prefixEnd('\ud7ff')).toBe('\ue000')
    expect(prefixEnd('\uffff')).toBe('\u{10000}')
    expect(prefixEnd(`a${edge}`)).toBe('b')
    expect(prefixEnd(`${edge}${edge}`)).toBeNull()
  })
})

const Scan = z.object({
  'Node Type': z.string(),
  'Index Name': z.string(),
  'Actual Rows': z.number(),
  'Rows Removed by Filter': z.number().default(0),
})
const Plan = z.object({ 'Node Type': z.literal('Limit'), Plans: z.tuple([Scan]) })
const Explained = z.tuple([z.object({ Plan })])

describe('a task with very many artifacts', () => {
  it('lists a page by the primary key, however deep, and reads no more than it shows', async () => {
    await server.sql`insert into artifact.task (task) values ('many')`
    await server.sql`
      insert into artifact.run (task, run) select 'many', run from generate_series(0, 19) as run`
    await server.sql`
      insert into artifact.artifact (
        task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy, store,
        blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name
      )
      select 'many', run, 'f/' || lpad(n::text, 4, '0'), sha256(''), 0, 1, '', 'text/plain', '{}',
        'reread', 'filesystem', 'blobs/00/' || gen_random_uuid(), '"x"', gen_random_uuid(), now(),
        gen_random_uuid(), 'test'
      from generate_series(0, 19) as run, generate_series(1, 1000) as n`
    await server.admin`analyze artifact.artifact`
    for (const [prefix, after] of [
      ['', ''],
      ['f/01', ''],
      ['f/', 'f/0890'],
    ] as const) {
      const scan = await explainPage(prefix, after)
      expect(scan).toEqual({
        'Node Type': 'Index Scan',
        'Index Name': 'artifact_pkey',
        'Actual Rows': 100,
        'Rows Removed by Filter': 0,
      })
    }
  })

  /** How Postgres finds the page that `listArtifacts()` asks for. */
  async function explainPage(prefix: string, after: string) {
    const { admin } = server
    const end = prefixEnd(prefix)
    const [row] = await admin<[{ 'QUERY PLAN': unknown }]>`
      explain (analyze, format json)
      select task, run, name, sha256, size, labels from artifact.artifact
      where task = 'many' and run = 7 and name > ${after} and name >= ${prefix}
        ${end === null ? admin`` : admin`and name < ${end}`}
      order by name limit 100`
    return Explained.parse(row['QUERY PLAN'])[0].Plan.Plans[0]
  }
})
