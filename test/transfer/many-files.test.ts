import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, getRun, type TransferProgress, uploadAll } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { makeBytes } from '../support/content.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const COUNT = 60
/** More than goes in a batch. */
const LARGE_BYTES = 65_537

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder

beforeAll(async () => {
  server = await startTestServer()
  proxy = await startFaultProxy(server.url)
  connection = connect({
    url: proxy.url,
    token: server.token,
    timing: { retryFirstMs: 1, retryMaxMs: 5 },
  })
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

const bytesOf = (index: number) => makeBytes(index * 97, `file ${index}`)

async function makeFiles(count = COUNT) {
  await mkdir(work.at('in', 'deep', 'er'), { recursive: true })
  const names = Array.from(
    { length: count },
    (_, index) => `deep/${index % 2 ? 'er/' : ''}f${index}`,
  )
  for (const [index, name] of names.entries()) await writeFile(work.at('in', name), bytesOf(index))
  return names.map((name) => ({ file: work.at('in', name), name }))
}

async function makeLargeFiles(count: number) {
  await mkdir(work.at('in'), { recursive: true })
  const names = Array.from({ length: count }, (_, index) => `large${index}`)
  for (const name of names) await writeFile(work.at('in', name), makeBytes(LARGE_BYTES, name))
  return names.map((name) => ({ file: work.at('in', name), name }))
}

const asked = () => proxy.seen.map(({ method, path }) => `${method} ${path}`)
const count = (pattern: RegExp) => asked().filter((line) => pattern.test(line)).length

describe('uploadAll() and getRun()', () => {
  it('bring a folder of small files there in one request, and back', async () => {
    const entries = await makeFiles()
    const told: TransferProgress[] = []
    const sent = await uploadAll(
      connection,
      entries,
      { task: 'folder' },
      { labels: { host: 'a' }, onProgress: (progress) => void told.push(progress) },
    )
    expect(sent.failed).toEqual([])
    expect(sent.done).toHaveLength(COUNT)
    expect(sent.done.every(({ artifact }) => artifact.labels.host === 'a')).toBe(true)
    expect(sent.done.reduce((sum, { sentBytes }) => sum + sentBytes, 0n)).toBe(
      told.at(-1)?.totalBytes,
    )
    expect(asked()).toEqual(['POST /v1/tasks/folder/runs', 'POST /v1/artifacts'])
    expect(told.at(-1)).toMatchObject({
      reference: 'folder/0',
      files: { done: COUNT, failed: 0, total: COUNT },
    })
    expect(told.at(-1)?.settledBytes).toBe(told.at(-1)?.totalBytes)

    const got = await getRun(connection, 'folder', 'latest', work.at('out'))
    expect(got).toMatchObject({ run: 0, failed: [] })
    for (const [index, { name }] of entries.entries())
      expect(await readFile(work.at('out', name))).toEqual(bytesOf(index))
    expect(await readdir(work.at('out', 'deep', 'er'))).toHaveLength(COUNT / 2)
  })

  it('find everything done when they are called again', async () => {
    const entries = await makeFiles(6)
    await uploadAll(connection, entries, { task: 'twice', run: 0 })
    const again = await uploadAll(connection, entries, { task: 'twice', run: 0 })
    expect(again.done.map((one) => one.outcome)).toEqual(Array(6).fill('already-sealed'))
    await getRun(connection, 'twice', 0, work.at('out'))
    const { done, failed } = await getRun(connection, 'twice', 0, work.at('out'))
    expect(failed).toEqual([])
    expect(done.every((one) => one.receivedBytes === 0n)).toBe(true)
    const [changed] = await readdir(work.at('out', 'deep', 'er'))
    await writeFile(work.at('out', 'deep', 'er', changed ?? ''), 'mine')
    const third = await getRun(connection, 'twice', 0, work.at('out'))
    expect(third.failed).toMatchObject([
      { name: `deep/er/${changed}`, error: { code: 'target_exists' } },
    ])
  })

  it('name every failure and do the others', async () => {
    const entries = await makeFiles(6)
    await symlink(work.at('in', 'deep', 'f0'), work.at('in', 'link'))
    const { done, failed } = await uploadAll(
      connection,
      [
        ...entries,
        { file: work.at('in', 'link'), name: 'link' },
        { file: work.at('in', 'absent'), name: 'absent' },
      ],
      { task: 'partly' },
    )
    expect(done).toHaveLength(6)
    expect(failed).toMatchObject([
      { name: 'link', error: { code: 'unsafe_path' } },
      { name: 'absent', error: { code: 'local_io' } },
    ])
  })

  it('tell of every file that is sealed, and then keep none of them', async () => {
    const entries = [...(await makeFiles(3)), ...(await makeLargeFiles(1))]
    const told: string[] = []
    const { done, failed } = await uploadAll(
      connection,
      entries,
      { task: 'told' },
      { onSealed: ({ artifact }) => void told.push(artifact.name) },
    )
    expect({ done, failed }).toEqual({ done: [], failed: [] })
    expect(told.sort()).toEqual(entries.map(({ name }) => name).sort())
  })

  it('send what is larger by itself, and all of it in one run', async () => {
    const small = await makeFiles(3)
    const large = await makeLargeFiles(2)
    const told: TransferProgress[] = []
    const sent = await uploadAll(
      connection,
      [...small, ...large],
      { task: 'mixed' },
      { onProgress: (progress) => void told.push(progress) },
    )
    expect(sent.failed).toEqual([])
    expect(sent.done.map(({ artifact }) => artifact.run)).toEqual(Array(5).fill(0))
    expect(told.at(-1)?.settledBytes).toBe(BigInt(97 + 194 + 2 * LARGE_BYTES))
    expect(count(/^POST \/v1\/artifacts$/)).toBe(1)
    expect(count(/\/seal$/)).toBeGreaterThanOrEqual(2)
  })

  it('cut a folder into batches that the server takes', async () => {
    const entries = await makeFiles(260)
    const sent = await uploadAll(connection, entries, { task: 'batches' })
    expect(sent.failed).toEqual([])
    expect(new Set(sent.done.map(({ artifact }) => artifact.name)).size).toBe(260)
    expect(count(/^POST \/v1\/artifacts$/)).toBe(3)
    const labels = Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`label${index}`, '"'.repeat(1000)]),
    )
    // A body has room for fewer than 50 of these.
    const some = entries.slice(0, 90)
    const labelled = await uploadAll(connection, some, { task: 'labelled' }, { labels })
    expect(labelled.failed).toEqual([])
    expect(count(/^POST \/v1\/artifacts$/)).toBe(6)
  })

  it('seal each file once, though the answer to a batch is lost', async () => {
    const entries = await makeFiles(10)
    proxy.fault = ({ path, count }) =>
      path === '/v1/artifacts' && count === 1 ? { kind: 'lose-reply' } : undefined
    const sent = await uploadAll(connection, entries, { task: 'lost' })
    expect(sent.failed).toEqual([])
    expect(new Set(sent.done.map(({ outcome }) => outcome))).toEqual(new Set(['sealed']))
    const [row] = await server.sql`select count(*)::int from artifact.upload where task = 'lost'`
    expect(row).toEqual({ count: 10 })
  })

  it('refuse a record that is not of what was sent', async () => {
    const entries = await makeFiles(2)
    const artifact = (await uploadAll(connection, entries, { task: 'other' })).done[0]?.artifact
    const body = JSON.stringify({
      outcomes: entries.map(() => ({ outcome: 'sealed', artifact })),
    })
    const headers = { 'content-type': 'application/json' }
    proxy.fault = ({ path }) =>
      path === '/v1/artifacts' ? { kind: 'answer', status: 200, body, headers } : undefined
    const lied = await uploadAll(connection, entries, { task: 'lied' })
    expect(lied.done).toEqual([])
    expect(lied.failed.map(({ error }) => error.code)).toEqual(['bad_reply', 'bad_reply'])
    proxy.fault = ({ path }) =>
      path === '/v1/artifacts'
        ? { kind: 'answer', status: 200, body: '{"outcomes":[]}', headers }
        : undefined
    const silent = await uploadAll(connection, entries, { task: 'silent' })
    expect(silent.failed.map(({ error }) => error.code)).toEqual(['bad_reply', 'bad_reply'])
  })

  it('name the file whose name holds other content, and seal the others', async () => {
    const entries = await makeFiles(3)
    const [, one] = entries
    if (one === undefined) throw new Error('no file')
    await uploadAll(connection, entries, { task: 'changed', run: 0 })
    await writeFile(one.file, 'other')
    await writeFile(work.at('in', 'new'), 'new')
    const { done, failed } = await uploadAll(
      connection,
      [...entries, { file: work.at('in', 'new'), name: 'new' }],
      { task: 'changed', run: 0 },
    )
    expect(failed).toMatchObject([{ name: one.name, error: { code: 'already_sealed' } }])
    expect(done.map(({ outcome }) => outcome).sort()).toEqual([
      'already-sealed',
      'already-sealed',
      'sealed',
    ])
  })

  it('send a file that a link makes look small by itself', async () => {
    const [large] = await makeLargeFiles(1)
    await symlink(large?.file ?? '', work.at('in', 'link'))
    const { done, failed } = await uploadAll(
      connection,
      [{ file: work.at('in', 'link'), name: 'link' }],
      { task: 'linked' },
      { followLinks: true },
    )
    expect(failed).toEqual([])
    expect(done[0]?.artifact.sizeBytes).toBe(String(LARGE_BYTES))
  })

  it('go on with the same run while the files are the same', async () => {
    const entries = await makeLargeFiles(12)
    const options = { journal: work.at('journal'), concurrency: 1 }
    let puts = 0
    const controller = new AbortController()
    proxy.fault = ({ method, path }) => {
      if (method === 'PUT' && path.includes('/blobs/') && ++puts > 4) controller.abort()
      return undefined
    }
    const first = await uploadAll(
      connection,
      entries,
      { task: 'resumed' },
      { ...options, signal: controller.signal },
    )
    expect(first.failed.length).toBeGreaterThan(0)
    expect(new Set(first.failed.map(({ error }) => error.code))).toEqual(new Set(['interrupted']))
    proxy.fault = () => undefined
    const second = await uploadAll(connection, entries, { task: 'resumed' }, options)
    expect(second).toMatchObject({ run: 0, failed: [] })
    expect(second.done).toHaveLength(12)
    expect(await readdir(work.at('journal'))).toEqual([])
    const third = await uploadAll(connection, entries, { task: 'resumed' }, options)
    expect(third.run).toBe(1)
  })

  it('go on with the same run of small files after an interruption', async () => {
    const entries = await makeFiles(5)
    const options = { journal: work.at('journal') }
    const controller = new AbortController()
    proxy.fault = ({ path }) => {
      if (path !== '/v1/artifacts') return undefined
      controller.abort()
      return { kind: 'stall-request' }
    }
    const signal = controller.signal
    const first = await uploadAll(connection, entries, { task: 'small' }, { ...options, signal })
    expect(first.failed.map(({ error }) => error.code)).toEqual(Array(5).fill('interrupted'))
    proxy.fault = () => undefined
    const second = await uploadAll(connection, entries, { task: 'small' }, options)
    expect(second).toMatchObject({ run: 0, failed: [] })
    expect(second.done).toHaveLength(5)
  })

  it('begin no further file when the server is gone', async () => {
    const entries = [...(await makeFiles(30)), ...(await makeLargeFiles(8))]
    proxy.fault = ({ path }) => (path.endsWith('/runs') ? undefined : { kind: 'lose-reply' })
    const { failed, done } = await uploadAll(
      connection,
      entries,
      { task: 'gone' },
      { concurrency: 1 },
    )
    expect(done).toEqual([])
    expect(failed).toHaveLength(38)
    expect(new Set(failed.map(({ error }) => error.code))).toEqual(new Set(['unreachable']))
    // Six files at once, each asked for five times, one attempt to abort; and ten tries of a batch.
    expect(proxy.seen.length).toBeLessThan(60)
  })

  it('allot no run when there is nothing to upload', async () => {
    await expect(uploadAll(connection, [], { task: 'none' })).rejects.toMatchObject({
      code: 'usage',
    })
    expect(proxy.seen).toEqual([])
  })

  it('refuse two files of one name', async () => {
    const [entry] = await makeFiles(1)
    if (entry === undefined) throw new Error('no file')
    await expect(uploadAll(connection, [entry, entry], { task: 'same' })).rejects.toMatchObject({
      code: 'usage',
    })
  })

  it('never write outside of the folder, nor over one another', async () => {
    const entries = await makeFiles(1)
    const file = entries[0]?.file ?? ''
    const names = ['a', 'a/b', 'out/x', 'ok']
    await uploadAll(
      connection,
      names.map((name) => ({ file, name })),
      { task: 'escape', run: 0 },
    )
    await mkdir(work.at('elsewhere'))
    await mkdir(work.at('target'))
    await symlink(work.at('elsewhere'), work.at('target', 'out'))
    const { done, failed } = await getRun(connection, 'escape', 0, work.at('target'))
    expect(done.map((one) => one.artifact.name).sort()).toEqual(['a', 'ok'])
    expect(failed).toMatchObject([
      { name: 'a/b', error: { code: 'unsafe_path' } },
      { name: 'out/x', error: { code: 'unsafe_path' } },
    ])
    expect(await readdir(work.at('elsewhere'))).toEqual([])
  })
})
