/** A folder of small files over a bucket: they travel together, lie together, and are refused and removed singly. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { flipBit } from '../contract/subject.ts'
import { getTestS3 } from '../support/ceph.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { openS3Site, type S3Site } from '../support/s3-site.ts'
import type { ServeProcess } from '../support/serve-process.ts'

let stack: AsyncDisposableStack
let s3: S3Site
let server: ServeProcess
let cli: Cli

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  s3 = stack.use(await openS3Site({ ...stack.use(await createRealDatabase()), s3: getTestS3() }))
  server = stack.use(await s3.site.serve())
  cli = stack.use(await openCli({ url: s3.site.url, token: s3.site.token }))
})
afterAll(() => stack.disposeAsync())

const NAMES = Array.from({ length: 30 }, (_, index) => `file-${index}`)
const contentOf = (task: string, name: string) => `what is in ${name} of ${task}\n`

/** Uploads a folder of small files, and returns the key of the pack where they lie. */
async function upload(task: string): Promise<string> {
  const before = new Set(await s3.bucket.listKeys())
  await mkdir(join(cli.folder, task))
  for (const name of NAMES) await writeFile(join(cli.folder, task, name), contentOf(task, name))
  expect(await cli.run(['upload', task, `${task}/0`])).toMatchObject({ exit: 0 })
  const [pack = '', ...others] = (await s3.bucket.listKeys()).filter((key) => !before.has(key))
  expect([pack, others]).toEqual([expect.stringMatching(/\/packs\/[0-9a-f/-]+\.pack$/), []])
  return pack
}

async function readFolder(name: string): Promise<Record<string, string>> {
  const folder = join(cli.folder, name)
  const entries = (await readdir(folder)).map(async (each) => [
    each,
    await readFile(join(folder, each), 'utf8'),
  ])
  return Object.fromEntries(await Promise.all(entries))
}

const expected = (task: string, names = NAMES) =>
  Object.fromEntries(names.map((name) => [name, contentOf(task, name)]))

describe('one small file in a bucket', () => {
  it('goes and comes by the server, by one request each', async () => {
    await writeFile(join(cli.folder, 'lone'), 'lone')
    const before = new Set(await s3.bucket.listKeys())
    expect(await cli.run(['upload', 'lone', 'lone/0'])).toMatchObject({ exit: 0 })
    expect((await s3.bucket.listKeys()).filter((key) => !before.has(key))).toHaveLength(1)
    const got = await cli.run(['get', 'lone/0/lone', '-o', 'lone-copy', '--verify'])
    expect(got).toMatchObject({ exit: 0 })
    expect(await readFile(join(cli.folder, 'lone-copy'), 'utf8')).toBe('lone')
    expect(server.requests('sealBatch')).toHaveLength(1)
    expect(server.requests('getDelivery')).toHaveLength(1)
    for (const endpoint of ['openUpload', 'getContent'])
      expect(server.requests(endpoint)).toEqual([])
  })
})

describe('a folder of small files in a bucket', () => {
  it('is one object, and comes back verified without a look at any other', async () => {
    await upload('together')
    expect(await cli.run(['get', 'together/0', '-o', 'copies', '--verify'])).toMatchObject({
      exit: 0,
    })
    expect(await readFolder('copies')).toEqual(expected('together'))
    expect(server.requests('getContent')).toEqual([])
  })

  it('gives one of them alone, also to whom follows a redirect, and no neighbour', async () => {
    const pack = await upload('single')
    const got = await cli.run(['get', 'single/0/file-3', '-o', '-', '--verify'])
    expect(got).toMatchObject({ exit: 0, stdout: contentOf('single', 'file-3') })
    const { headers, statusCode } = await request(
      `${s3.site.url}/v1/tasks/single/runs/0/content/file-4`,
      { headers: { authorization: `Bearer ${s3.site.token}` } },
    )
    expect(statusCode).toBe(303)
    const location = String(headers.location)
    expect(location).not.toContain('.pack')
    const reply = await request(location)
    expect(await reply.body.text()).toBe(contentOf('single', 'file-4'))
    // The signature is of this address alone.
    const neighbour = location.replace(
      /\/blobs\/.*\?/,
      `${pack.replace(/^.*\/packs\//, '/packs/')}?`,
    )
    expect((await request(neighbour)).statusCode).toBe(403)
  })

  it('refuses the one that somebody changed in the pack, alone and among all', async () => {
    const pack = await upload('changed')
    const bytes = Buffer.from(await s3.bucket.read(pack))
    await s3.bucket.write(pack, flipBit(bytes, bytes.indexOf(contentOf('changed', 'file-7'))))
    const all = await cli.run(['get', 'changed/0', '-o', 'changed-copies'])
    expect(all.exit).toBe(9)
    expect(all.stderr).toContain('its bytes changed (precondition_failed)')
    const rest = NAMES.filter((name) => name !== 'file-7')
    expect(await readFolder('changed-copies')).toEqual(expected('changed', rest))
    const alone = await cli.run(['get', 'changed/0/file-7', '-o', 'alone'])
    expect(alone).toMatchObject({ exit: 3, stdout: '' })
    expect(await readdir(cli.folder)).not.toContain('alone')
  })

  it('says which bytes are gone when the pack is, or is cut', async () => {
    const pack = await upload('cut')
    const bytes = await s3.bucket.read(pack)
    await s3.bucket.write(pack, bytes.subarray(0, bytes.length / 2))
    expect((await cli.run(['get', 'cut/0', '-o', 'cut-copies'])).exit).toBe(9)
    const found = await readFolder('cut-copies')
    expect(Object.keys(found).length).toBeGreaterThan(5)
    expect(found).toEqual(expected('cut', Object.keys(found)))
    await s3.bucket.remove(pack)
    const gone = await cli.run(['get', 'cut/0/file-0', '-o', 'gone'])
    expect(gone.exit).toBe(3)
    expect(gone.stderr).toContain('(blob_missing, exit 3)')
  })

  it('removes the bytes of one of them from the bucket', async () => {
    await upload('removed')
    const words = ['remove', 'removed/0/file-9', '--reason', 'it says too much']
    expect(await cli.run(words)).toMatchObject({ exit: 0 })
    for (const key of await s3.bucket.listKeys())
      expect(Buffer.from(await s3.bucket.read(key)).includes(contentOf('removed', 'file-9'))).toBe(
        false,
      )
    const got = await cli.run(['get', 'removed/0/file-9', '-o', 'removed-copy'])
    expect(got.exit).toBe(5)
    await cli.run(['get', 'removed/0', '-o', 'removed-copies'])
    const rest = NAMES.filter((name) => name !== 'file-9')
    expect(await readFolder('removed-copies')).toEqual(expected('removed', rest))
  })

  it('comes whole when the server dies while the object is on its way', async () => {
    await mkdir(join(cli.folder, 'killed'))
    const contents = NAMES.map((name) => [name, `${name} `.repeat(2000)])
    for (const [name = '', content = ''] of contents)
      await writeFile(join(cli.folder, 'killed', name), content)
    const held = s3.gate.holdAfter('up', 100_000)
    await using uploading = cli.start(['upload', 'killed', 'killed/0'])
    expect(await Promise.race([held, uploading.outcome])).toBeUndefined()
    await server.kill('SIGKILL')
    s3.gate.cut()
    server = stack.use(await s3.site.serve())
    expect(await uploading.outcome).toMatchObject({ exit: 0 })
    const words = ['get', 'killed/0', '-o', 'killed-copies', '--verify']
    expect(await cli.run(words)).toMatchObject({ exit: 0 })
    expect(await readFolder('killed-copies')).toEqual(Object.fromEntries(contents))
  }, 150_000)
})
