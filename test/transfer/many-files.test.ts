import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, getRun, type TransferProgress, uploadAll } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { makeBytes } from '../support/content.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const COUNT = 60

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

describe('uploadAll() and getRun()', () => {
  it('bring a folder there and back, in three requests a file', async () => {
    const entries = await makeFiles()
    const told: TransferProgress[] = []
    const sent = await uploadAll(
      connection,
      entries,
      { task: 'folder' },
      { onProgress: (progress) => void told.push(progress) },
    )
    expect(sent.failed).toEqual([])
    expect(sent.done).toHaveLength(COUNT)
    const count = (pattern: RegExp) =>
      proxy.seen.filter(({ method, path }) => pattern.test(`${method} ${path}`)).length
    expect(count(/^POST \/v1\/uploads$/)).toBe(COUNT)
    // The empty file has no bytes to send.
    expect(count(/^PUT \/v1\/blobs\//)).toBe(COUNT - 1)
    // A slow machine asks again whether it is sealed, and reports progress; nothing else is asked.
    const seals = count(/\/seal$/)
    expect(seals).toBeGreaterThanOrEqual(COUNT)
    expect(proxy.seen.length).toBe(1 + 2 * COUNT - 1 + seals + count(/\/progress$/))
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

  it('go on with the same run while the files are the same', async () => {
    const entries = await makeFiles(12)
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

  it('begin no further file when the server is gone', async () => {
    const entries = await makeFiles(30)
    proxy.fault = ({ path }) => (path.endsWith('/runs') ? undefined : { kind: 'lose-reply' })
    const { failed, done } = await uploadAll(
      connection,
      entries,
      { task: 'gone' },
      { concurrency: 1 },
    )
    expect(done).toEqual([])
    expect(failed).toHaveLength(30)
    expect(new Set(failed.map(({ error }) => error.code))).toEqual(new Set(['unreachable']))
    // Six files at once, each asked for five times, and one attempt to abort.
    expect(proxy.seen.length).toBeLessThan(50)
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
