/** The worst day: Postgres comes back with an index older than the bucket, and servers run on. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { flipBit } from '../contract/subject.ts'
import { getTestS3 } from '../support/ceph.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { openS3Site, type S3Site } from '../support/s3-site.ts'

const NAMES = Array.from({ length: 20 }, (_, index) => `file-${index}`)

let stack: AsyncDisposableStack
let s3: S3Site
let cli: Cli
/** As superuser. */
let sql: Sql
/** Settings of the servers, for a command that runs beside them. */
let env: Record<string, string>

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const database = stack.use(await createRealDatabase())
  const account = getTestS3()
  s3 = stack.use(await openS3Site({ ...database, s3: account }))
  stack.use(await s3.site.serve())
  cli = stack.use(await openCli({ url: s3.site.url, token: s3.site.token }))
  sql = stack.use(await openDatabase({ url: database.migrationUrl, connectionsMax: 1 })).sql
  env = {
    ARTIFACT_STORE: `s3://${account.bucket}/${s3.prefix}`,
    ARTIFACT_S3_ENDPOINT: s3.endpoint,
    ARTIFACT_S3_REGION: account.region,
    ARTIFACT_DATABASE_URL: database.databaseUrl,
    AWS_ACCESS_KEY_ID: account.accessKeyId,
    AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
  }
})
afterAll(() => stack.disposeAsync())

const contentOf = (task: string, name: string) => `what is in ${name} of ${task}\n`

async function upload(task: string): Promise<void> {
  await mkdir(join(cli.folder, task))
  for (const name of NAMES) await writeFile(join(cli.folder, task, name), contentOf(task, name))
  expect(await cli.run(['upload', task, `${task}/0`])).toMatchObject({ exit: 0 })
}

const remove = (reference: string) => cli.run(['remove', reference, '--reason', 'no more'])

/** Gets a run, and expects these files of it, byte for byte, and no other. */
async function expectRun(task: string, names: readonly string[], exit: number): Promise<void> {
  const folder = await mkdir(join(cli.folder, 'copies', `${task}-${Math.random()}`), {
    recursive: true,
  })
  if (folder === undefined) throw new Error('There is no folder')
  const target = join(folder, 'files')
  expect(await cli.run(['get', `${task}/0`, '-o', target])).toMatchObject({ exit })
  const found = await readdir(target).catch(() => [])
  expect(found.toSorted()).toEqual(names.toSorted())
  for (const name of names)
    expect(await readFile(join(target, name), 'utf8')).toBe(contentOf(task, name))
}

const Report = z.object({
  kind: z.literal('packs-rebuild'),
  ...{ packs: z.number(), added: z.number(), moved: z.number(), dropped: z.number() },
  ...{ lostCount: z.number(), lost: z.array(z.string()), faultCount: z.number() },
})

const run = (words: readonly string[] = []) =>
  cli.run(['packs', 'rebuild', '--json', ...words], { env })

/** Takes the notes as they are, and returns what puts them back. */
async function backUpIndex(): Promise<() => Promise<void>> {
  const packs = await sql`select * from artifact.pack`
  const blobs = await sql`select * from artifact.packed_blob`
  return async () => {
    await sql`delete from artifact.packed_blob`
    await sql`delete from artifact.pack`
    await sql`insert into artifact.pack ${sql(packs)}`
    await sql`insert into artifact.packed_blob ${sql(blobs)}`
  }
}

async function isInBucket(content: string): Promise<boolean> {
  for (const key of await s3.bucket.listKeys())
    if (Buffer.from(await s3.bucket.read(key)).includes(content)) return true
  return false
}

describe('artifact packs rebuild', () => {
  it('brings back what a restored index does not know, while a server runs', async () => {
    await upload('before')
    const restore = await backUpIndex()
    expect(await remove('before/0/file-3')).toMatchObject({ exit: 0 })
    await upload('after')
    await restore()
    const missed = await cli.run(['get', 'before/0/file-1', '-o', 'missed'])
    expect(missed.exit).toBe(3)
    expect(missed.stderr).toMatch(/artifact packs rebuild.*\(blob_missing, exit 3\)/s)
    await expectRun('after', [], 3)
    const expected = { moved: 19, added: 20, dropped: 1, lostCount: 0, faultCount: 0 }
    const dry = await run(['--dry-run'])
    expect(Report.parse(JSON.parse(dry.stdout))).toMatchObject(expected)
    await expectRun('after', [], 3)
    const rebuilt = await run()
    expect(rebuilt).toMatchObject({ exit: 0, stderr: '' })
    expect(Report.parse(JSON.parse(rebuilt.stdout))).toMatchObject(expected)
    const rest = NAMES.filter((name) => name !== 'file-3')
    await expectRun('before', rest, 9)
    await expectRun('after', NAMES, 0)
    expect(await cli.run(['get', 'before/0/file-1', '-o', 'found'])).toMatchObject({ exit: 0 })
    expect(await cli.run(['get', 'before/0/file-3', '-o', 'none'])).toMatchObject({ exit: 5 })
    expect(await isInBucket(contentOf('before', 'file-3'))).toBe(false)
  })

  it('is no hindrance to uploads and removals at the same time', async () => {
    await upload('beside')
    const restore = await backUpIndex()
    expect(await remove('beside/0/file-0')).toMatchObject({ exit: 0 })
    await restore()
    const [first, second, removed] = await Promise.all([
      run(),
      run(),
      remove('beside/0/file-1'),
      upload('meanwhile'),
    ])
    expect([first.exit, second.exit, removed.exit]).toEqual([0, 0, 0])
    expect(await run()).toMatchObject({ exit: 0 })
    const rest = NAMES.filter((name) => name !== 'file-0' && name !== 'file-1')
    await expectRun('beside', rest, 9)
    await expectRun('meanwhile', NAMES, 0)
  })

  it('names what is lost or damaged, and ends with the exit code of it', async () => {
    await upload('harmed')
    const before = new Set(await s3.bucket.listKeys())
    await upload('lost')
    const [pack = ''] = (await s3.bucket.listKeys()).filter((key) => !before.has(key))
    const bytes = Buffer.from(await s3.bucket.read(pack))
    await s3.bucket.write(pack, flipBit(bytes, bytes.indexOf(contentOf('lost', 'file-7'))))
    const changed = await cli.run(['packs', 'rebuild'], { env })
    expect(changed.exit).toBe(3)
    expect(changed.stdout).toMatch(/^fault .*bytes in it differ.* \(lost\/0\/file-7\)$/m)
    expect(changed.stderr).toContain('(digest_mismatch, exit 3)')
    await s3.bucket.remove(pack)
    const lost = await run()
    expect(lost.exit).toBe(3)
    const report = Report.parse(JSON.parse(lost.stdout))
    expect(report).toMatchObject({ dropped: 20, lostCount: 20 })
    expect(report.lost.toSorted()).toEqual(NAMES.map((name) => `lost/0/${name}`).toSorted())
    await expectRun('harmed', NAMES, 0)
  })

  it.each([
    ['another prefix', () => `${env.ARTIFACT_STORE}/elsewhere`],
    ['a folder', () => `file:${cli.folder}`],
  ])('refuses %s', async (_, store) => {
    const refused = await run(['--store', store()])
    expect(refused).toMatchObject({ exit: 2, stdout: '' })
    expect(refused.stderr).toContain('the store has no packs')
  })
})
