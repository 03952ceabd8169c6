/** Pages of what is sealed, as text: what they say, to whom, and what they make of hostile names. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Artifact } from '../../schemas/artifact.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { describeContent, makeContent, sealContent } from '../support/upload.ts'

// The slash of the end tag separates two segments of the name.
const HOSTILE = '<script>alert(1)</script>.txt'
const QUOTES = `"onmouseover="alert(1)' & <b>.bin`
const TURNED = 'invoice\u202Efdp.exe'
const LONGEST = `long/${'ä'.repeat(253)}`

let server: TestServer
let dump: Artifact
let plan: Artifact
const content = makeContent(200_000, 'pages')

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  for (let run = 0; run < 5; run += 1)
    await sealContent(
      server,
      { task: 'nightly', run, name: 'db.dump' },
      makeContent(run === 4 ? 40_000 : 100_000 + run, `run ${run}`),
    )
  dump = await sealContent(server, { task: 'nightly', run: 5, name: 'big.dump' }, content, {
    labels: { host: 'pg1' },
  })
  plan = await sealContent(server, { task: 'secret', run: 0, name: 'plan.txt' }, content)
  for (const [index, name] of [HOSTILE, QUOTES, TURNED, LONGEST].entries())
    await sealContent(server, { task: 'hostile', run: 0, name }, makeContent(10, `h${index}`))
})
afterAll(() => server[Symbol.asyncDispose]())

interface Shown {
  status: number
  text: string
  location: unknown
  headers: Record<string, unknown>
}

async function show(path: string, token?: string): Promise<Shown> {
  const reply = await server.request('GET', path, {
    headers: { accept: 'text/html', 'accept-encoding': 'identity' },
    ...(token === undefined ? {} : { token }),
  })
  return {
    status: reply.status,
    text: typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body),
    location: reply.headers.location,
    headers: reply.headers,
  }
}

/** The text as somebody reads it, without tags. */
const read = (html: string): string =>
  html
    .replace(/<[^>]*>/g, ' ')
    .replaceAll('&amp;', '&')
    .replace(/\s+/g, ' ')

describe('/tasks', () => {
  it('lists tasks by name with their latest run', async () => {
    const { status, text } = await show('/tasks')
    expect(status).toBe(200)
    expect(read(text)).toMatch(/hostile.*nightly 5.*secret/)
  })

  it('narrows the list to a beginning, and says when nothing has it', async () => {
    expect(read((await show('/tasks?prefix=nig')).text)).not.toContain('secret')
    const none = await show('/tasks?prefix=zzz')
    expect(none.status).toBe(200)
    expect(read(none.text)).toContain('No task that you may list starts with “zzz”.')
  })

  it('goes on where a page ended', async () => {
    await using pager = await startTestServer()
    await pager.sql`
        insert into artifact.task (task)
        select 'task-' || lpad(n::text, 3, '0') from generate_series(1, 120) as n`
    const seen: string[] = []
    for (let path: string | undefined = '/tasks?prefix=task-'; path !== undefined; ) {
      const reply = await pager.request('GET', path, { headers: { accept: 'text/html' } })
      const text = String(reply.body)
      seen.push(
        ...[...text.matchAll(/<a href="\/tasks\/(task-[0-9]+)">/g)].map(([, name = '']) => name),
      )
      path = text.match(/rel="next" href="([^"]+)"/)?.[1]?.replaceAll('&amp;', '&')
    }
    expect(seen).toEqual(
      Array.from({ length: 120 }, (_, index) => `task-${String(index + 1).padStart(3, '0')}`),
    )
  })
})

describe('/tasks/:task', () => {
  it('shows sizes and durations of the names of the latest run as a picture and as a table', async () => {
    await sealContent(server, { task: 'halved', run: 0, name: 'a' }, makeContent(1000, 'a0'))
    await sealContent(server, { task: 'halved', run: 1, name: 'a' }, makeContent(1010, 'a1'))
    await sealContent(server, { task: 'halved', run: 2, name: 'a' }, makeContent(1020, 'a2'))
    await sealContent(server, { task: 'halved', run: 3, name: 'a' }, makeContent(505, 'a3'))
    const { text } = await show('/tasks/halved')
    expect(read(text)).toContain('Run 3 is 50 % less than usual')
    expect(text).toContain('aria-label="Size over 4 runs, 1 unusual"')
    expect(text.match(/class="chart-bar chart-odd"/g)).toHaveLength(1)
    expect(text).not.toMatch(/\sstyle=/)
  })
})

describe('/tasks/:task/:run', () => {
  it('shows what is sealed in a run, and how to get it', async () => {
    const { text } = await show('/tasks/nightly/5')
    expect(read(text)).toContain('big.dump')
    expect(read(text)).toMatch(/host= ?pg1/)
    expect(read(text)).toContain('Sealed and re-read')
    expect(text).toContain('data-copy="artifact get --verify nightly/5/big.dump"')
    expect(text).toContain(`data-copy="${dump.sha256}"`)
  })

  it('takes latest for the highest run with anything sealed', async () => {
    expect(read((await show('/tasks/nightly/latest')).text)).toContain('nightly/5')
  })
})

describe('/artifacts/:task/:run/:name', () => {
  const page = () => show('/artifacts/nightly/5/big.dump')

  it('shows the record, the parts, the proof and who sealed it', async () => {
    const { text } = await page()
    const words = read(text)
    expect(words).toContain('195.3 KiB')
    expect(text).toContain('title="200,000 bytes"')
    expect(words).toContain('test admin')
    expect(words).toContain('4 parts of')
    for (const { sha256 } of content.parts) expect(text).toContain(sha256)
    expect(words).toMatch(/leaf \d+ of the log/)
    expect(words).toContain('The proof holds')
    expect(text).toContain('c2sp.org/tlog-proof@v1')
  })

  it('tells of every look at the stored bytes, and what does not agree', async () => {
    const flipped = Buffer.from(content.bytes)
    flipped[70_000] = (flipped[70_000] ?? 0) ^ 1
    const expected = content.parts[1]?.sha256 ?? ''
    const found = describeContent(flipped).parts[1]?.sha256 ?? ''
    await server.sql`
      insert into artifact.verification
        (task, run, name, at, outcome, code, expected, found, bytes, seconds, server)
      values ('nightly', 5, 'big.dump', now() - interval '1 hour', 'agreed', null, null, null,
        200000, 2, gen_random_uuid()),
      ('nightly', 5, 'big.dump', now(), 'mismatch', 'part_mismatch', ${expected}, ${found},
        131072, 1, gen_random_uuid())`
    const { text } = await page()
    const words = read(text)
    expect(words).toContain('What is stored is not what was sealed')
    expect(words).toContain('Part 2 is the one that did not agree.')
    expect(words).toContain('Altered in the store')
    expect(words).toMatch(/A part differs .* Agreed .* Sealed and re-read/)
    expect(text.replace(/<\/?span>/g, '')).toContain(found)
    const alarm = read((await show('/tasks')).text)
    expect(alarm).toContain('One artifact does not agree with the record any more')
    expect(alarm).toContain('nightly/5/big.dump')
  })

  it('keeps reason and record of what was revoked, and offers no download', async () => {
    const made = await sealContent(server, { task: 'gone', run: 0, name: 'a' }, makeContent(5, 'g'))
    await server.request('POST', `/v1/tasks/gone/runs/0/artifacts/${made.name}/statements`, {
      body: { kind: 'revoke', reason: 'built from a <wrong> branch' },
    })
    const { text } = await show('/artifacts/gone/0/a')
    expect(read(text)).toContain('It was revoked')
    expect(text).toContain('built from a &lt;wrong&gt; branch')
    expect(text).not.toContain('id="download"')
    expect(text).toContain(made.sha256)
  })
})

describe('access', () => {
  it('answers for what a token may not list as for what is not there', async () => {
    const token = await server.createToken(['list:nightly/**', 'get:**/**'])
    for (const [there, absent] of [
      ['/tasks/secret', '/tasks/absent'],
      ['/tasks/secret/0', '/tasks/absent/0'],
      ['/tasks/secret/latest', '/tasks/absent/latest'],
      ['/artifacts/secret/0/plan.txt', '/artifacts/absent/0/plan.txt'],
    ] as const) {
      const [one, other] = [await show(there, token), await show(absent, token)]
      const strip = ({ text }: Shown) =>
        text.replace(/<code>[0-9a-f-]{36}<\/code>/g, '').replaceAll('secret', 'absent')
      expect(one.status).toBe(404)
      expect(other.status).toBe(404)
      expect(strip(one)).toBe(strip(other))
    }
    expect((await show('/tasks', token)).text).not.toContain('secret')
    for (const query of [
      'secret',
      'secret/0',
      'secret/0/plan.txt',
      plan.sha256,
      plan.sha256.slice(0, 9),
    ])
      expect((await show(`/search?q=${query}`, token)).text).not.toContain('/secret')
  })

  it('shows a record without a download to a token that may list and not get', async () => {
    const token = await server.createToken(['list:nightly/**'])
    const { status, text } = await show('/artifacts/nightly/5/big.dump', token)
    expect(status).toBe(200)
    expect(text).not.toContain('id="download"')
    expect(text).not.toContain('/content/')
    expect(read(text)).toContain('Your token may list this artifact, and may not get it.')
  })

  it('does not say of faults what a token may not list', async () => {
    await server.sql`
      insert into artifact.verification (task, run, name, at, outcome, code, bytes, seconds, server)
      values ('secret', 0, 'plan.txt', now(), 'missing', 'blob_missing', 0, 0, gen_random_uuid())`
    const token = await server.createToken(['list:nightly/**'])
    expect((await show('/tasks', token)).text).not.toContain('plan.txt')
    expect((await show('/log', token)).text).not.toContain('plan.txt')
    expect((await show('/log')).text).toContain('plan.txt')
  })
})

describe('hostile names', () => {
  it('neither inject nor break a page', async () => {
    for (const name of [HOSTILE, QUOTES, TURNED, LONGEST]) {
      const path = `/artifacts/hostile/0/${name.split('/').map(encodeURIComponent).join('/')}`
      const { status, text } = await show(path)
      expect({ name, status }).toEqual({ name, status: 200 })
      expect(text).not.toMatch(/<script>alert|<b>\.bin|"onmouseover/)
    }
    const { text } = await show('/tasks/hostile/0')
    expect(text).not.toMatch(/<script>alert|<b>\.bin|"onmouseover/)
    for (const [, href = ''] of text.matchAll(/href="(\/artifacts\/[^"]+)"/g))
      expect((await show(href.replaceAll('&#39;', "'"))).status).toBe(200)
  })

  it('show what cannot be seen', async () => {
    expect(read((await show('/tasks/hostile/0')).text)).toContain('invoice\\u{202e}fdp.exe')
  })

  it('are no reason to fail when they are none', async () => {
    for (const path of [
      '/tasks/%00',
      '/tasks/nightly/-1',
      '/tasks/nightly/99999999999',
      '/tasks/nightly/5?after=%00',
      '/artifacts/nightly/5/%00',
      '/artifacts/nightly/5/..%2f..',
      '/artifacts/nightly/5/%ff',
      '/tasks?prefix=%00&after=%ff',
      '/search?q=%00',
      '/search?q=%ff%2f0',
      `/search?q=${'a'.repeat(3000)}`,
    ])
      expect({ path, ok: [200, 404].includes((await show(path)).status) }).toEqual({
        path,
        ok: true,
      })
  })
})

describe('/search', () => {
  const find = (query: string) => show(`/search?q=${encodeURIComponent(query)}`)

  it('lists all that have a digest', async () => {
    const { status, text } = await find(plan.sha256)
    expect(status).toBe(200)
    expect(text).toContain('/artifacts/secret/0/plan.txt')
    expect(text).toContain('/artifacts/nightly/5/big.dump')
  })

  it('goes straight to the only thing that is found', async () => {
    const [{ sha256 }] = await server.sql<[{ sha256: string }]>`
      select encode(sha256, 'hex') as sha256 from artifact.artifact
      where task = 'nightly' and run = 2`
    const target = '/artifacts/nightly/2/db.dump'
    for (const query of [
      sha256,
      sha256.toUpperCase(),
      `sha256:${sha256}`,
      `SHA-256=${sha256}`,
      sha256.slice(0, 11),
      sha256.match(/.{8}/g)?.join(' ') ?? '',
      ` nightly/2/db.dump `,
      'nightly/2/db.d',
    ])
      expect(await find(query)).toMatchObject({ status: 303, location: target })
    expect((await find('nightly/latest/db.dump')).location).toBe('/artifacts/nightly/4/db.dump')
    expect((await find('nightly/2')).location).toBe('/tasks/nightly/2')
    expect((await find('nightl')).location).toBe('/tasks/nightly')
  })

  it('says what to try when nothing is found', async () => {
    const { status, text } = await find('nothing-of-the-kind')
    expect(status).toBe(200)
    expect(read(text)).toContain('What can be found')
    expect(read((await find('abc1')).text)).toContain('at least its first 8 digits')
    expect(read((await find('0'.repeat(64))).text)).toContain(
      'nothing that your token may list vouches for it',
    )
  })
})

describe('/log', () => {
  it('shows the newest checkpoint, the signer and what was looked through', async () => {
    const { text } = await show('/log')
    const words = read(text)
    expect(words).toMatch(/\d+ leaves are signed for/)
    expect(words).toContain('Fingerprint SHA256:')
    expect(words).toContain('No witness cosigned it')
    expect(words).toMatch(/Last looked through/)
  })

  it('says that there is none', async () => {
    await using bare = await startTestServer()
    const reply = await bare.request('GET', '/log', { headers: { accept: 'text/html' } })
    expect(reply.status).toBe(200)
    expect(read(String(reply.body))).toContain('There is no log')
  })
})

describe('every page', () => {
  it('brings the strict policy, and allows no more than a worker where one is needed', async () => {
    for (const path of ['/tasks', '/tasks/nightly', '/tasks/nightly/5', '/search?q=x', '/log']) {
      const { headers, text } = await show(path)
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self'; /)
      expect(text).not.toMatch(/<script>|<style|\sstyle=|\son[a-z]+=/)
    }
    const policy = String(
      (await show('/artifacts/nightly/5/big.dump')).headers['content-security-policy'],
    )
    expect(policy).toContain("worker-src 'self'")
    expect(policy).toContain("connect-src 'self';")
    expect(policy).not.toContain('wasm')
  })
})
