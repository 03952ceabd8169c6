/** One small file: one request up, one down, and what neither of them can get away with. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, type TransferProgress, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { CHECKS, LOG_CHECKS } from '../../client/verify/verifier.ts'
import { BATCH_CONTENT_BYTES_MAX, SealedBatch } from '../../schemas/batch.ts'
import { countRecords, makeSmall } from '../support/batch.ts'
import { makeBytes } from '../support/content.ts'
import { readDelivery } from '../support/delivery.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { sha256 } from '../support/upload.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let count = 0
let task: string

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  proxy = await startFaultProxy(server.url)
  const timing = { retryFirstMs: 1, retryMaxMs: 5 }
  connection = connect({ url: proxy.url, token: server.token, timing })
  // Whoever has met the server before asks nothing about its log.
  const own = await makeWorkFolder()
  await writeFile(own.at('met'), 'met')
  await upload(connection, { file: own.at('met') }, { task: 'met' })
  await own[Symbol.asyncDispose]()
})
afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  proxy.fault = () => undefined
  proxy.seen.length = 0
  task = `whole-${count++}`
  return () => work[Symbol.asyncDispose]()
})

const asked = () => proxy.seen.map(({ method, path }) => `${method} ${path.replace(/\?.*/, '')}`)
const isSeal = ({ path }: { path: string }) => path === '/v1/artifacts'
const journal = () => work.at('journal')
const send = () => upload(connection, { file: work.at('file') }, { task }, { journal: journal() })

describe('upload() of a small file', () => {
  it.each([0, 1, BATCH_CONTENT_BYTES_MAX])('asks once for %i bytes', async (sizeBytes) => {
    const bytes = makeBytes(sizeBytes, task)
    await writeFile(work.at('file'), bytes)
    const told: TransferProgress[] = []
    const options = { labels: { a: 'b' }, onProgress: (one: TransferProgress) => told.push(one) }
    const result = await upload(connection, { file: work.at('file') }, { task }, options)
    expect(asked()).toEqual(['POST /v1/artifacts'])
    expect(result).toMatchObject({
      outcome: 'sealed',
      resumed: false,
      sentBytes: BigInt(sizeBytes),
    })
    expect(result.artifact).toMatchObject({ task, run: 0, name: 'file', labels: { a: 'b' } })
    expect(result.artifact.sha256).toBe(sha256(bytes))
    expect(result.receipt).toContain('c2sp.org/tlog-proof@v1')
    expect(told.map(({ phase }) => phase)).toEqual(expect.arrayContaining(['sending', 'verifying']))
    expect(told.at(-1)).toMatchObject({ reference: `${task}/0/file`, bytes: BigInt(sizeBytes) })
    expect(await readdir(journal()).catch(() => [])).toEqual([])
  })

  it('goes step by step above that, and where a policy is asked for', async () => {
    await writeFile(work.at('file'), makeBytes(BATCH_CONTENT_BYTES_MAX + 1, task))
    const { artifact } = await send()
    await writeFile(work.at('file'), 'small')
    await upload(connection, { file: work.at('file') }, { task }, { policy: 'parts' })
    expect(artifact.reference).toBe(`${task}/0/file`)
    expect(asked()).not.toContainEqual(expect.stringMatching(/artifacts$|runs$/))
    const seal = expect.stringMatching(/^POST .*\/seal$/)
    expect(asked().slice(-3)).toEqual(['POST /v1/uploads', expect.stringMatching(/^PUT/), seal])
  })

  it('gets the same run and the same record when the answer is lost', async () => {
    await writeFile(work.at('file'), 'lost')
    let lost = 0
    proxy.fault = (one) => (isSeal(one) && lost++ === 0 ? { kind: 'lose-reply' } : undefined)
    const { artifact, outcome } = await send()
    expect(asked()).toEqual(['POST /v1/artifacts', 'POST /v1/artifacts'])
    expect([artifact.reference, outcome]).toEqual([`${task}/0/file`, 'sealed'])
    expect(await countRecords(server.sql, task)).toMatchObject({ artifacts: 1, uploads: 1 })
  })

  it('is the same upload when the same call comes again after a crash', async () => {
    await writeFile(work.at('file'), 'crash')
    // The server takes it, and this client never hears of it.
    proxy.fault = (one) => (isSeal(one) ? { kind: 'lose-reply' } : undefined)
    await expect(send()).rejects.toMatchObject({ code: 'unreachable' })
    expect(await readdir(journal())).toHaveLength(1)
    proxy.fault = () => undefined
    const { artifact, outcome } = await send()
    expect([artifact.reference, outcome]).toEqual([`${task}/0/file`, 'sealed'])
    expect(await countRecords(server.sql, task)).toMatchObject({ artifacts: 1, uploads: 1 })
    expect(await readdir(journal())).toEqual([])
    // From here on it is another upload, into the next run.
    expect((await send()).artifact.reference).toBe(`${task}/1/file`)
  })

  it('knows what is sealed already, and refuses other content under its name', async () => {
    await writeFile(work.at('file'), 'first')
    const target = { task, run: 7 }
    const first = await upload(connection, { file: work.at('file') }, target)
    const again = await upload(connection, { file: work.at('file') }, target)
    expect(again).toMatchObject({ outcome: 'already-sealed', sentBytes: 0n })
    expect(again.artifact).toEqual(first.artifact)
    await writeFile(work.at('file'), 'other')
    const other = upload(connection, { file: work.at('file') }, target, { journal: journal() })
    await expect(other).rejects.toMatchObject({
      code: 'already_sealed',
      expected: expect.stringContaining(sha256(Buffer.from('first'))),
      found: expect.stringContaining(sha256(Buffer.from('other'))),
    })
    expect(await readdir(journal())).toEqual([])
  })

  it('seals nothing that is not what was expected, and asks nothing', async () => {
    await writeFile(work.at('file'), 'unexpected')
    const options = { expectSha256: sha256(Buffer.from('expected')) }
    const sent = upload(connection, { file: work.at('file') }, { task }, options)
    await expect(sent).rejects.toMatchObject({ code: 'digest_mismatch' })
    expect(asked()).toEqual([])
  })

  it('believes no record of other content, and no receipt of another artifact', async () => {
    await writeFile(work.at('file'), 'true')
    const [other] = await sealOthers()
    if (other?.outcome !== 'sealed') throw new Error('it was not sealed')
    const lie = { outcomes: [other] }
    proxy.fault = (one) =>
      isSeal(one) ? { kind: 'answer', status: 200, body: JSON.stringify(lie) } : undefined
    await expect(send()).rejects.toMatchObject({ code: 'bad_reply' })
    proxy.fault = () => undefined
    const { artifact } = await upload(connection, { file: work.at('file') }, { task: `${task}-b` })
    const stolen = { outcomes: [{ outcome: 'sealed', artifact, receipt: other.receipt }] }
    proxy.fault = (one) =>
      isSeal(one) ? { kind: 'answer', status: 200, body: JSON.stringify(stolen) } : undefined
    const target = { task: `${task}-b`, run: artifact.run }
    const sent = upload(connection, { file: work.at('file') }, target)
    await expect(sent).rejects.toMatchObject({ code: 'log_record' })
  })

  it.each([true, false])('believes no record with other labels (receipt: %s)', async (receipt) => {
    await writeFile(work.at('file'), 'labelled')
    proxy.fault = (one) =>
      isSeal(one) ? { kind: 'replace-reply', text: '"a":"b"', by: '"a":"c"' } : undefined
    const options = { labels: { a: 'b' }, receipt }
    const sent = upload(connection, { file: work.at('file') }, { task }, options)
    await expect(sent).rejects.toMatchObject({ code: 'bad_reply' })
  })

  it('asks for the receipt when none came along', async () => {
    await writeFile(work.at('file'), 'pending')
    const target = { task, run: 0 }
    const { artifact } = await upload(connection, { file: work.at('file') }, target)
    const body = JSON.stringify({ outcomes: [{ outcome: 'sealed', artifact }] })
    proxy.fault = (one) => (isSeal(one) ? { kind: 'answer', status: 200, body } : undefined)
    proxy.seen.length = 0
    const { receipt } = await upload(connection, { file: work.at('file') }, target)
    expect(receipt).toContain('c2sp.org/tlog-proof@v1')
    expect(asked().at(-1)).toBe(`GET /v1/tasks/${task}/runs/0/artifacts/file/receipt`)
  })

  async function sealOthers() {
    const artifacts = [makeSmall({ task: `${task}-other` }, 'other')]
    const body = { artifacts, receipts: true }
    const reply = await server.request('POST', '/v1/artifacts', { body })
    return SealedBatch.parse(reply.body).outcomes
  }
})

describe('get() of a small artifact', () => {
  it.each([0, 1, BATCH_CONTENT_BYTES_MAX])('asks once for %i bytes', async (sizeBytes) => {
    const bytes = makeBytes(sizeBytes, task)
    await writeFile(work.at('file'), bytes)
    await send()
    proxy.seen.length = 0
    const target = { task, run: 'latest', name: 'file' } as const
    const got = await get(connection, target, { output: work.at('out'), verify: true })
    expect(asked()).toEqual([`GET /v1/tasks/${task}/runs/latest/delivery/file`])
    expect(got.checks).toEqual([...CHECKS, ...LOG_CHECKS])
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('fetches what is larger by the grant that came along', async () => {
    const bytes = makeBytes(3 * BATCH_CONTENT_BYTES_MAX, task)
    await writeFile(work.at('file'), bytes)
    await send()
    proxy.seen.length = 0
    await get(connection, { task, run: 0, name: 'file' }, { output: work.at('out') })
    expect(asked().filter((one) => !one.startsWith('GET /v1/blobs/'))).toEqual([
      `GET /v1/tasks/${task}/runs/0/delivery/file`,
    ])
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('asks apart for what did not come along', async () => {
    await writeFile(work.at('file'), 'apart')
    await send()
    const honest = await readDelivery(server, { task, run: 0, name: 'file' })
    const content = { outcome: 'content', content: '' }
    const body = JSON.stringify({ ...honest, receipt: null, content })
    proxy.fault = ({ path }) =>
      path.includes('/delivery/') ? { kind: 'answer', status: 200, body } : undefined
    const target = { task, run: 0, name: 'file' }
    const { checks } = await get(connection, target, { output: work.at('out'), verify: true })
    expect(checks).toEqual([...CHECKS, ...LOG_CHECKS])
    expect(asked().some((one) => one.endsWith('/receipt'))).toBe(true)
    expect(await readFile(work.at('out'), 'utf8')).toBe('apart')
  })

  it('says of what was revoked or removed what was said of it', async () => {
    await writeFile(work.at('file'), 'spoken of')
    await send()
    for (const [kind, code] of [
      ['revoke', 'artifact_revoked'],
      ['remove', 'artifact_removed'],
    ] as const) {
      const path = `/v1/tasks/${task}/runs/0/artifacts/file/statements`
      const said = await server.request('POST', path, { body: { kind, reason: 'wrong' } })
      expect(said.status).toBe(201)
      const got = get(connection, { task, run: 0, name: 'file' }, { output: work.at(kind) })
      await expect(got).rejects.toMatchObject({ code })
      expect(await readdir(work.path)).not.toContain(kind)
    }
  })
})
