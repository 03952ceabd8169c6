/** The first page as the server writes it: every state in words, only what may be listed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  claimOf,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  sealContent,
} from '../support/upload.ts'
import { signIn, visit } from '../support/visitor.ts'

let now = Date.parse('2026-11-21T20:00:00Z')
let server: TestServer
let cookie: string
beforeAll(async () => {
  server = await startTestServer({ clock: () => new Date(now) })
  cookie = await signIn(server, server.token)
})
afterAll(() => server[Symbol.asyncDispose]())

const content = makeContent(200_000)
const report = (id: string, bytes: number, totalBytes: number | null, attempt = 1) =>
  server.request('PUT', `/v1/uploads/${id}/progress`, {
    body: {
      bytes: String(bytes),
      totalBytes: totalBytes === null ? null : String(totalBytes),
      attempt,
    },
  })

/** The row of an upload as text, one line. */
async function readRow(id: string, as = cookie): Promise<string | undefined> {
  const { text } = await visit(server, '/', { cookie: as })
  const row = new RegExp(`<li class="upload"[^>]*data-id="${id}".*?</li>`, 's').exec(text)?.[0]
  return row
    ?.replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim()
}

describe('a row', () => {
  it('says how far, how fast, how long still, by whom, and when it moved', async () => {
    const { id } = await openTestUpload(server, { task: 'show', run: 0, name: 'a' })
    now += 10_000
    await report(id, 40 * 1024 ** 2, 120 * 1024 ** 2)
    expect(await readRow(id)).toMatch(
      /^Sending show\/0\/a 33 % 40\.0 of 120\.0 MiB 4\.0 MiB\/s 20 s left by test admin moving now/,
    )
  })

  it('says that a size is not known', async () => {
    const { id } = await openTestUpload(server, { task: 'show', run: 0, name: 'stream' })
    await report(id, 5_000, null)
    const row = await readRow(id)
    expect(row).toMatch(/^Sending show\/0\/stream 4\.9 KiB, size not known yet/)
    expect(row).not.toMatch(/%|left/)
  })

  it('says when an attempt began that is not the first', async () => {
    const { id } = await openTestUpload(server, { task: 'show', run: 0, name: 'again' })
    await report(id, 5, 100)
    now = Date.parse('2026-11-21T21:02:00Z')
    await report(id, 6, 100, 2)
    now += 60_000
    await report(id, 7, 100, 2)
    expect(await readRow(id)).toContain('2nd attempt, restarted at 21:02 UTC')
  })

  it('says that an upload has stalled when nothing moved for thirty seconds', async () => {
    const { id } = await openTestUpload(server, { task: 'show', run: 0, name: 'slow' })
    now += 29_999
    expect(await readRow(id)).toMatch(/^Sending .* moved 29 s ago/)
    now += 1
    expect(await readRow(id)).toMatch(/^Stalled .* no movement for 30 s/)
  })

  it('shows a failed seal with what was expected and what was found', async () => {
    const upload = await openAndSend(server, { task: 'show', run: 0, name: 'bad' }, content)
    await seal(server, upload.id, { ...claimOf(content), sha256: 'ab'.repeat(32) })
    const row = await readRow(upload.id)
    const grouped = (digest: string) => digest.match(/.{8}/g)?.join(' ')
    expect(row).toMatch(/^Failed show\/0\/bad/)
    expect(row).toContain('The SHA-256 differs (digest_mismatch)')
    expect(row).toContain(`expected ${grouped('ab'.repeat(32))}`)
    expect(row).toContain(`found ${grouped(content.sha256)}`)
  })

  it('shows what was sealed with its digest, and leads to it', async () => {
    const artifact = await sealContent(server, { task: 'show', run: 7, name: 'x/ü ?.txt' }, content)
    const { text } = await visit(server, '/', { cookie })
    expect(text).toContain('href="/artifacts/show/7/x/%C3%BC%20%3F.txt"')
    expect(await readRow(artifact.uploadId)).toMatch(/^Sealed show\/7\/x\/ü \?\.txt 195\.3 KiB/)
  })

  it('shows what was aborted', async () => {
    const { id } = await openTestUpload(server, { task: 'show', run: 0, name: 'gone' })
    await server.request('DELETE', `/v1/uploads/${id}`)
    expect(await readRow(id)).toMatch(/^Aborted show\/0\/gone/)
  })

  it('cannot be broken by a name, and shows what is invisible in it', async () => {
    const name = `"><script>alert(1)</script>'&amp;\u202egnp.exe`
    const { id } = await openTestUpload(server, { task: 'show', run: 0, name })
    const { text } = await visit(server, '/', { cookie })
    expect(text).not.toContain('<script>alert')
    expect(text.replaceAll(/data-facts="[^"]*"/g, '')).not.toContain('\u202e')
    expect(await readRow(id)).toContain(
      'show/0/&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;amp;\\u{202e}gnp.exe',
    )
  })
})

describe('the page', () => {
  it('holds only what the token may list', async () => {
    const narrow = await signIn(server, await server.createToken(['list:show/public/**']))
    const target = { task: 'show', run: 0 }
    const open = await openTestUpload(server, { ...target, name: 'public/a' })
    const hidden = await openTestUpload(server, { ...target, name: 'secret-name' })
    expect(await readRow(open.id, narrow)).toBeDefined()
    expect(await readRow(hidden.id, narrow)).toBeUndefined()
    const { text } = await visit(server, '/', { cookie: narrow })
    expect(text).not.toContain('secret-name')
    expect(text).not.toContain('show/0/gone')
    expect(text).toContain('1 upload is running')
  })

  it('says what to do when there is nothing', async () => {
    await using fresh = await startTestServer()
    const { text } = await visit(fresh, '/', { cookie: await signIn(fresh, fresh.token) })
    expect(text).toContain('No upload is running')
    expect(text).toContain('artifact upload backup.dump turtle-db')
    expect(text).toContain('Nothing has ended yet')
  })

  it('says without JavaScript that it is a picture, and of when', async () => {
    const { text } = await visit(server, '/', { cookie })
    expect(text).toMatch(/<noscript>.*picture of one moment/s)
    expect(text).toContain(`A picture of <time datetime="${new Date(now).toISOString()}"`)
  })

  it('keeps the twenty that ended last, the latest first', async () => {
    const ids: string[] = []
    for (let index = 0; index < 22; index++) {
      now += 1000
      const { id } = await openTestUpload(server, { task: 'ended', run: 0, name: `f${index}` })
      await server.request('DELETE', `/v1/uploads/${id}`)
      ids.unshift(id)
    }
    const { text } = await visit(server, '/', { cookie })
    const shown = [...text.matchAll(/data-state="aborted" data-id="([^"]+)"/g)].map(([, id]) => id)
    expect(shown).toEqual(ids.slice(0, 20))
  })
})
