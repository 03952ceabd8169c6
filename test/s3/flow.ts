/** The whole way of an artifact over a bucket, with the real command line and a server as a process. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Artifact } from '../../schemas/artifact.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { openS3Site, type RealParts, type S3Site } from '../support/s3-site.ts'
import type { ServeProcess } from '../support/serve-process.ts'

/** The smallest that S3 takes. */
const PART_BYTES = 5 * MIB
const SIZE_BYTES = 5 * PART_BYTES + 3

export function describeFlow(name: string, openParts: () => Promise<RealParts & AsyncDisposable>) {
  let stack: AsyncDisposableStack
  let s3: S3Site
  let server: ServeProcess
  let cli: Cli

  beforeAll(async () => {
    stack = new AsyncDisposableStack()
    const parts = stack.use(await openParts())
    s3 = stack.use(await openS3Site(parts, { 'part-size-bytes': String(PART_BYTES) }))
    server = stack.use(await s3.site.serve())
    cli = stack.use(await openCli({ url: s3.site.url, token: s3.site.token }))
  })
  afterAll(() => stack.disposeAsync())

  /** Uploads new bytes; returns them and their record. */
  async function upload(reference: string, sizeBytes = SIZE_BYTES, ...words: string[]) {
    const bytes = await writeBytes(join(cli.folder, 'source'), sizeBytes, reference)
    const outcome = await cli.run(['upload', 'source', reference, ...words])
    expect(outcome).toMatchObject({ exit: 0, stdout: `${reference}\n` })
    const info = await cli.run(['info', reference, '--json'])
    return { bytes, record: Artifact.parse(JSON.parse(info.stdout)) }
  }

  async function expectGot(reference: string, bytes: Buffer): Promise<void> {
    const copy = join(cli.folder, 'copy')
    const got = await cli.run(['get', reference, '-o', copy, '--verify', '--force'])
    expect(got).toMatchObject({ exit: 0 })
    expect((await readFile(copy)).equals(bytes)).toBe(true)
  }

  /** A get that must be refused as a matter of integrity, with nothing at the target. */
  async function expectRefused(reference: string, code: string): Promise<void> {
    const before = await readdir(cli.folder)
    const got = await cli.run(['get', reference, '-o', join(cli.folder, 'refused')])
    expect(got).toMatchObject({ exit: 3, stdout: '' })
    expect(got.stderr).toContain(`(${code}, exit 3)`)
    expect(await readdir(cli.folder)).toEqual(before)
  }

  /** The object of a record. */
  async function findKey({ uploadId }: Artifact): Promise<string> {
    const key = (await s3.bucket.listKeys()).find((each) => each.endsWith(uploadId))
    if (key === undefined) throw new Error(`no object of upload ${uploadId} is in the bucket`)
    return key
  }

  describe(name, () => {
    it('takes an artifact in parts, reads it back, and gives it back verified', async () => {
      const { bytes, record } = await upload('whole/0/big')
      expect(record).toMatchObject({
        policy: 'reread',
        partCount: 6,
        sizeBytes: String(SIZE_BYTES),
      })
      await expectGot('whole/0/big', bytes)
      expect((await s3.bucket.read(await findKey(record))).length).toBe(SIZE_BYTES)
      expect(await s3.bucket.listUploads()).toEqual([])
      expect(await cli.run(['checksums', 'whole/0'])).toMatchObject({
        stdout: `${record.sha256}  big\n`,
      })
    })

    it('sends no byte of it through the server', async () => {
      await upload('beside/0/big')
      expect(server.requests('putBlobPart')).toEqual([])
    })

    it('seals by the check of every part when it is told to, and says so', async () => {
      const { bytes, record } = await upload('parts/0/big', SIZE_BYTES, '--policy', 'parts')
      expect(record).toMatchObject({ policy: 'parts', partCount: 6 })
      await expectGot('parts/0/big', bytes)
    })

    it.each([0, 1, PART_BYTES, PART_BYTES + 1])('takes %i bytes', async (sizeBytes) => {
      const { bytes } = await upload(`size-${sizeBytes}/0/file`, sizeBytes)
      await expectGot(`size-${sizeBytes}/0/file`, bytes)
    })

    it('takes a stream of unknown size', async () => {
      const bytes = await writeBytes(join(cli.folder, 'stream'), 6 * PART_BYTES + 1, 'stream')
      const words = ['upload', '--stdin-from-command', 'stream/0/x', '--', 'cat', 'stream']
      expect(await cli.run(words)).toMatchObject({ exit: 0 })
      await expectGot('stream/0/x', bytes)
    })

    it('goes on after kill -9 with what the bucket does not hold', async () => {
      const bytes = await writeBytes(join(cli.folder, 'db.dump'), SIZE_BYTES, 'killed')
      const words = ['upload', 'db.dump', 'killed', '--concurrency', '1']
      const held = s3.gate.holdAfter('up', 3 * PART_BYTES)
      await using first = cli.start(words)
      expect(await Promise.race([held, first.outcome])).toBeUndefined()
      first.kill('SIGKILL')
      await first.outcome
      s3.gate.cut()
      const before = s3.gate.passed.up
      const second = await cli.run(words)
      expect(second).toMatchObject({ exit: 0, stdout: 'killed/0/db.dump\n' })
      expect(second.stderr).toMatch(/resumed: .* sent now/)
      expect(s3.gate.passed.up - before).toBeLessThan(SIZE_BYTES - PART_BYTES)
      await expectGot('killed/0/db.dump', bytes)
    })

    it('forgets an aborted upload in the bucket too, and leaves the name free', async () => {
      await writeBytes(join(cli.folder, 'db.dump'), SIZE_BYTES, 'aborted')
      const held = s3.gate.holdAfter('up', 3 * PART_BYTES)
      await using first = cli.start(['upload', 'db.dump', 'aborted/0', '--concurrency', '1'])
      expect(await Promise.race([held, first.outcome])).toBeUndefined()
      first.kill('SIGKILL')
      await first.outcome
      s3.gate.cut()
      expect(await s3.bucket.listUploads()).toHaveLength(1)
      expect(await cli.run(['abort', 'aborted/0/db.dump'])).toMatchObject({ exit: 0 })
      expect(await s3.bucket.listUploads()).toEqual([])
      await upload('aborted/0/db.dump', 10)
    })

    it('refuses an object that somebody changed in the bucket', async () => {
      const { bytes, record } = await upload('changed/0/big')
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(PART_BYTES) ^ 1, PART_BYTES)
      await s3.bucket.write(await findKey(record), changed)
      await expectRefused('changed/0/big', 'precondition_failed')
    })

    it('refuses one artifact in the place of another', async () => {
      const mine = await upload('mine/0/file', 1000)
      const other = await upload('other/0/file', 1000)
      const bytes = await s3.bucket.read(await findKey(other.record))
      await s3.bucket.write(await findKey(mine.record), bytes)
      await expectRefused('mine/0/file', 'precondition_failed')
      await expectGot('other/0/file', other.bytes)
    })

    it('says that the bytes of a record are gone', async () => {
      const { record } = await upload('gone/0/big')
      await s3.bucket.remove(await findKey(record))
      await expectRefused('gone/0/big', 'blob_missing')
      expect(await cli.run(['info', 'gone/0/big'])).toMatchObject({ exit: 0 })
    })

    it('asks for another grant when the one it has expires in the middle', async () => {
      const { bytes } = await upload('expiring/0/big')
      await server.kill('SIGTERM')
      server = stack.use(await s3.site.serve({ settings: { 'grant-ttl-seconds': '1' } }))
      const held = s3.gate.holdAfter('down', 2 * PART_BYTES)
      const words = ['get', 'expiring/0/big', '-o', 'expiring', '--concurrency', '1']
      await using getting = cli.start(words)
      expect(await Promise.race([held, getting.outcome])).toBeUndefined()
      await untilExpired(await fetchGrant('expiring/0/big'))
      const asked = server.requests('getContent').length
      s3.gate.release()
      expect(await getting.outcome).toMatchObject({ exit: 0 })
      expect(server.requests('getContent').length).toBeGreaterThan(asked)
      expect((await readFile(join(cli.folder, 'expiring'))).equals(bytes)).toBe(true)
    })
  })

  /** Where the server sends a browser. */
  async function fetchGrant(reference: string): Promise<URL> {
    const [task, run, name] = reference.split('/')
    const reply = await request(`${s3.site.url}/v1/tasks/${task}/runs/${run}/content/${name}`, {
      headers: { authorization: `Bearer ${s3.site.token}` },
    })
    await reply.body.dump()
    expect(reply.statusCode).toBe(303)
    return new URL(String(reply.headers.location))
  }

  /** Asks the store until it refuses, since it alone knows; around the gate, which holds everything. */
  async function untilExpired(grant: URL): Promise<void> {
    for (let status = 206; status !== 403; ) {
      const reply = await request(new URL(`${grant.pathname}${grant.search}`, s3.endpoint), {
        headers: { host: grant.host, range: 'bytes=0-0' },
      })
      await reply.body.dump()
      status = reply.statusCode
      expect([206, 403]).toContain(status)
    }
  }
}
