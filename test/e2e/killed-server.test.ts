/** A server that dies in the middle, and what it finds when it comes back. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { call } from '../../client/api.ts'
import { type Connection, connect } from '../../client/client.ts'
import { type Cli, openCli, type RunningCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { type Gate, openGate } from '../support/gate.ts'
import { openSite, type ServeProcess, type Site } from '../support/serve-process.ts'

const PARTS = 24

let stack: AsyncDisposableStack
let site: Site
let server: ServeProcess
let gate: Gate
let cli: Cli
let connection: Connection

beforeEach(async () => {
  stack = new AsyncDisposableStack()
  site = stack.use(await openSite({ settings: { 'part-size-bytes': String(MIB) } }))
  server = stack.use(await site.serve())
  gate = stack.use(await openGate(site.port))
  cli = stack.use(await openCli({ url: gate.url, token: site.token }))
  connection = stack.use(connect({ url: site.url, token: site.token }))
})
afterEach(() => stack.disposeAsync())

async function restart(): Promise<ServeProcess> {
  return stack.use(await site.serve())
}

/** Process id of the embedded Postgres. */
async function findPostgres(): Promise<number> {
  const file = join(site.dataFolder, 'postgres', 'data', 'postmaster.pid')
  return Number.parseInt(await readFile(file, 'utf8'), 10)
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function startUpload(words: readonly string[]): Promise<RunningCli> {
  const held = gate.holdAfter('up', 10 * MIB)
  const running = cli.start(words)
  const first = await Promise.race([held, running.outcome])
  if (first !== undefined) throw new Error(`it ended too early: ${JSON.stringify(first)}`)
  return running
}

const storedCount = (process: ServeProcess) =>
  process.requests('putBlobPart').filter(({ status }) => status < 300).length

async function expectCopy(reference: string, bytes: Buffer): Promise<void> {
  const copy = join(cli.folder, 'copy')
  const got = await cli.run(['get', reference, '-o', copy, '--verify', '--force'])
  expect(got).toMatchObject({ exit: 0 })
  expect((await readFile(copy)).equals(bytes)).toBe(true)
}

describe('artifact serve', () => {
  it('killed in mid-upload and started again lets the client go on by itself', async () => {
    const bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'patient')
    await using upload = await startUpload(['upload', 'db.dump', 'patient'])
    const postgres = await findPostgres()
    await server.kill('SIGKILL')
    gate.cut()
    expect(isAlive(postgres), 'Postgres outlives the server that was killed').toBe(true)
    const second = await restart()
    expect(second.output()).toMatch(/ended Postgres \d+, which a killed server had left running/)
    expect(isAlive(postgres)).toBe(false)
    expect(await upload.outcome).toMatchObject({ exit: 0, stdout: 'patient/0/db.dump\n' })
    expect(storedCount(second)).toBeLessThan(PARTS)
    await expectCopy('patient/0/db.dump', bytes)
  })

  it('killed together with the client loses nothing that it had stored', async () => {
    const bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'both')
    await using upload = await startUpload(['upload', 'db.dump', 'both'])
    upload.kill('SIGKILL')
    await server.kill('SIGKILL')
    gate.cut()
    await upload.outcome
    const before = storedCount(server)
    const second = await restart()
    const resumed = await cli.run(['upload', 'db.dump', 'both'])
    expect(resumed).toMatchObject({ exit: 0, stdout: 'both/0/db.dump\n' })
    expect(resumed.stderr).toMatch(/resumed: .* sent now/)
    expect(before).toBeGreaterThan(0)
    expect(storedCount(second)).toBeLessThanOrEqual(PARTS - before)
    await expectCopy('both/0/db.dump', bytes)
  })

  it('killed while it verifies seals after its restart, and the waiting client hears of it', async () => {
    const file = join(cli.folder, 'db.dump')
    const bytes = await writeBytes(file, 200 * MIB, 'verifying')
    await using upload = cli.start(['upload', file, 'verifying/0'])
    await untilVerifying()
    await server.kill('SIGKILL')
    gate.cut()
    expect(server.output()).not.toMatch(/"outcome":"sealed"/)
    const second = await restart()
    expect(await upload.outcome).toMatchObject({ exit: 0, stdout: 'verifying/0/db.dump\n' })
    expect(storedCount(second), 'nothing is sent again').toBe(0)
    await expectCopy('verifying/0/db.dump', bytes)
  })

  it('asked to end in mid-upload ends in good order, Postgres too', async () => {
    await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'asked')
    await using upload = await startUpload(['upload', 'db.dump', 'asked'])
    const postgres = await findPostgres()
    gate.cut()
    expect(await server.kill('SIGTERM')).toBe(0)
    expect(isAlive(postgres)).toBe(false)
    await restart()
    expect(await upload.outcome).toMatchObject({ exit: 0 })
  })

  it('refuses a data folder that another server has', async () => {
    await using other = site.spawn({ settings: { port: '0' } })
    await expect(other.says(/^artifact \S+ serves /m)).rejects.toThrow()
    expect(other.child.exitCode).toBe(75)
    expect(other.output()).toContain(`Cannot serve ${site.dataFolder}: another server has it`)
    expect((await call(connection, 'listTasks', { query: {} })).items).toEqual([])
  })

  it('refuses a port that somebody else has', async () => {
    const folder = join(site.folder, 'other')
    await using other = site.spawn({ settings: { 'data-dir': folder } })
    await expect(other.says(/^artifact \S+ serves /m)).rejects.toThrow()
    expect(other.child.exitCode).toBe(75)
    expect(other.output()).toContain(String(site.port))
  })

  /** Asks until there is one, since nothing tells. */
  async function untilVerifying(): Promise<void> {
    const query = { state: 'verifying' } as const
    while ((await call(connection, 'listUploads', { query })).items.length === 0);
  }
})
