/** Many small artifacts by one answer: what is asked, and what an answer cannot get away with. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, getRun, uploadAll } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { Contents } from '../../schemas/contents.ts'
import { makeSmall, sendBatch } from '../support/batch.ts'
import { makeBytes } from '../support/content.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const CONTENTS = /\/contents$/
const COUNT = 20

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  proxy = await startFaultProxy(server.url)
  const timing = { retryFirstMs: 1, retryMaxMs: 5 }
  connection = connect({ url: proxy.url, token: server.token, timing })
  const own = await makeWorkFolder()
  await mkdir(own.at('in'))
  const names = Array.from({ length: COUNT }, (_, index) => `f${index}`)
  for (const [index, name] of names.entries()) await writeFile(own.at('in', name), bytesOf(index))
  const files = names.map((name) => ({ file: own.at('in', name), name }))
  await uploadAll(connection, files, { task: 'small', run: 0 })
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
  return () => work[Symbol.asyncDispose]()
})

const bytesOf = (index: number) => makeBytes(index * 31, `small ${index}`)

async function askContents(names: readonly string[], token = server.token) {
  const path = '/v1/tasks/small/runs/0/contents'
  const { status, body } = await server.request('POST', path, { body: { names }, token })
  expect(status).toBe(200)
  return Contents.parse(body).items
}

async function expectAll(): Promise<void> {
  const got = await getRun(connection, 'small', 0, work.at('out'), { verify: true })
  expect(got.failed).toEqual([])
  expect(got.done.every(({ checks }) => checks.includes('history'))).toBe(true)
  for (let index = 0; index < COUNT; index++)
    expect(await readFile(work.at('out', `f${index}`))).toEqual(bytesOf(index))
  expect(await readdir(work.at('out'))).toHaveLength(COUNT)
}

/** Answers the question for contents with the true answer, changed. */
async function spoil(change: (item: Contents['items'][number], index: number) => unknown) {
  const names = Array.from({ length: COUNT }, (_, index) => `f${index}`).sort()
  const items = await askContents(names)
  const body = JSON.stringify({ items: items.map(change) })
  proxy.fault = ({ path }) =>
    CONTENTS.test(path) ? { kind: 'answer', status: 200, body } : undefined
}

const single = () => proxy.seen.filter(({ path }) => /\/(content|artifacts)\/f/.test(path))

describe('getRun() of small artifacts', () => {
  it('asks once for all of them', async () => {
    await expectAll()
    expect(proxy.seen.filter(({ path }) => CONTENTS.test(path))).toHaveLength(1)
    expect(single()).toEqual([])
  })

  it('takes no content that differs, and gets those by themselves', async () => {
    await spoil((item, index) =>
      item.outcome === 'content' && index % 5 === 1
        ? { ...item, content: Buffer.from('something else').toString('base64') }
        : item,
    )
    await expectAll()
    expect(single()).toHaveLength(2 * (COUNT / 5))
  })

  it('takes no receipt of another artifact', async () => {
    const [other] = await askContents(['f1'])
    await spoil((item) =>
      item.outcome === 'refused' || other?.outcome !== 'content'
        ? item
        : { ...item, receipt: other.receipt },
    )
    await expectAll()
    // All but the one whose receipt it is.
    expect(proxy.seen.filter(({ path }) => path.endsWith('/receipt'))).toHaveLength(COUNT - 1)
  })

  it('asks for the receipts that are missing', async () => {
    await spoil((item) => ({ ...item, receipt: null }))
    await expectAll()
    expect(proxy.seen.filter(({ path }) => path.endsWith('/receipt'))).toHaveLength(COUNT)
  })

  it('goes on by single artifacts where nobody knows the question', async () => {
    proxy.fault = ({ path }) =>
      CONTENTS.test(path) ? { kind: 'answer', status: 404, body: '' } : undefined
    await expectAll()
  })

  it('fetches by the grants of an answer without bytes', async () => {
    const grants = await Promise.all(
      Array.from({ length: COUNT }, async (_, index) => {
        const path = `/v1/tasks/small/runs/0/content/f${index}`
        const headers = { accept: 'application/json' }
        return (await server.request('GET', path, { headers })).body
      }),
    )
    const names = Array.from({ length: COUNT }, (_, index) => `f${index}`)
    const sorted = names.toSorted()
    await spoil((item, index) =>
      item.outcome === 'content'
        ? {
            outcome: 'granted',
            receipt: item.receipt,
            grant: grants[names.indexOf(sorted[index] ?? '')],
          }
        : item,
    )
    await expectAll()
    expect(single()).toEqual([])
  })

  it('leaves no file of what the store spoiled', async () => {
    const [item] = await sendBatch(server, [makeSmall({ task: 'spoiled', name: 'a' }, 'true')])
    await sendBatch(server, [makeSmall({ task: 'spoiled', name: 'b' }, 'also true')])
    if (item?.outcome !== 'sealed') throw new Error('it was not sealed')
    const id = item.artifact.uploadId
    const path = `${server.storeFolder}/blobs/${id.slice(-2)}/${id}`
    await rm(path)
    await writeFile(path, 'lies')
    const got = await getRun(connection, 'spoiled', 0, work.at('out'))
    expect(got.done.map(({ artifact }) => artifact.name)).toEqual(['b'])
    expect(got.failed).toMatchObject([{ name: 'a', error: { code: 'part_mismatch' } }])
    expect(await readdir(work.at('out'))).toEqual(['b'])
  })
})

describe('getContents', () => {
  it('refuses each name that is not there, not theirs, or revoked, and gives the others', async () => {
    const token = await server.createToken(['get:small/f1', 'get:small/f2', 'get:small/absent'])
    const body = { kind: 'revoke', reason: 'wrong' }
    const revoked = '/v1/tasks/small/runs/0/artifacts/f2/statements'
    const items = await askContents(['f0', 'f1', 'f2', 'absent', 'f1'], token)
    const words = (all: typeof items) =>
      all.map((item) => (item.outcome === 'refused' ? item.problem.code : item.outcome))
    expect(words(items)).toEqual(['not_found', 'content', 'content', 'not_found', 'content'])
    expect((await server.request('POST', revoked, { body })).status).toBe(201)
    expect(words(await askContents(['f2'], token))).toEqual(['artifact_revoked'])
    const got = await getRun(connection, 'small', 0, work.at('out'))
    expect(got.failed).toMatchObject([{ name: 'f2', error: { code: 'artifact_revoked' } }])
  })
})
