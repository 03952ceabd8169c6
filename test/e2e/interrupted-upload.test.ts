/** A client that is stopped in the middle of an upload, in every way a machine knows, and comes back. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../client/api.ts'
import { type Connection, connect } from '../../client/client.ts'
import { type Cli, openCli, type RunningCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { type Gate, openGate } from '../support/gate.ts'
import { openSite, type ServeProcess, type Site } from '../support/serve-process.ts'

const PARTS = 24

let stack: AsyncDisposableStack
let server: ServeProcess
let gate: Gate
let cli: Cli
let connection: Connection

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const site: Site = stack.use(await openSite({ settings: { 'part-size-bytes': String(MIB) } }))
  server = stack.use(await site.serve())
  gate = stack.use(await openGate(site.port))
  cli = stack.use(await openCli({ url: gate.url, token: site.token }))
  connection = stack.use(connect({ url: site.url, token: site.token }))
})
afterAll(() => stack.disposeAsync())

/** Starts the command and returns once some parts are stored and others are on their way. */
async function startUpload(words: readonly string[]): Promise<RunningCli> {
  const held = gate.holdAfter('up', 10 * MIB)
  const running = cli.start(words)
  const first = await Promise.race([held, running.outcome])
  if (first !== undefined) throw new Error(`it ended too early: ${JSON.stringify(first)}`)
  return running
}

/** Numbers of the parts that the store holds for the only open upload of a task. */
async function findHeld(task: string): Promise<number[]> {
  const query = { task, state: 'open' } as const
  const { items } = await call(connection, 'listUploads', { query })
  expect(items).toHaveLength(1)
  const id = items[0]?.id ?? ''
  const { parts } = await call(connection, 'getUpload', { params: { id } })
  return parts.map(({ number }) => number)
}

const storedCount = () => server.requests('putBlobPart').filter(({ status }) => status < 300).length

/** Runs the same command again and expects it to end the upload, sending only what is missing. */
async function expectResumed(words: readonly string[], task: string, bytes: Buffer) {
  const held = await findHeld(task)
  const before = storedCount()
  const outcome = await cli.run(words)
  expect(outcome).toMatchObject({ exit: 0, stdout: `${task}/0/db.dump\n` })
  expect(outcome.stderr).toMatch(/resumed: .* sent now/)
  expect(held.length).toBeGreaterThan(0)
  expect(held.length).toBeLessThan(PARTS)
  expect(storedCount() - before).toBeGreaterThan(0)
  expect(storedCount() - before).toBeLessThanOrEqual(PARTS - held.length)
  const copy = join(cli.folder, `${task}.copy`)
  expect(await cli.run(['get', `${task}/0/db.dump`, '-o', copy, '--verify'])).toMatchObject({
    exit: 0,
  })
  expect((await readFile(copy)).equals(bytes)).toBe(true)
}

describe('artifact upload', () => {
  it('goes on after kill -9 in the same run, sending only what is missing', async () => {
    const bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB - 1, 'killed')
    const words = ['upload', 'db.dump', 'killed']
    await using first = await startUpload(words)
    first.kill('SIGKILL')
    expect(await first.outcome).toMatchObject({ exit: 137, stdout: '' })
    gate.cut()
    await expectResumed(words, 'killed', bytes)
    const { items } = await call(connection, 'listRuns', { params: { task: 'killed' }, query: {} })
    expect(items.map(({ run }) => run)).toEqual([0])
  })

  it('can be killed again and again', async () => {
    const bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'stubborn')
    const words = ['upload', 'db.dump', 'stubborn', '--concurrency', '2']
    for (const _ of [1, 2]) {
      await using killed = await startUpload(words)
      killed.kill('SIGKILL')
      await killed.outcome
      gate.cut()
    }
    await expectResumed(words, 'stubborn', bytes)
  })

  it.each([
    { signal: 'SIGINT', exit: 130 },
    { signal: 'SIGTERM', exit: 143 },
  ] as const)('ends with $exit at $signal, and goes on later', async ({ signal, exit }) => {
    const bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, signal)
    const words = ['upload', 'db.dump', `at-${signal}`]
    await using first = await startUpload(words)
    first.kill(signal)
    const outcome = await first.outcome
    gate.cut()
    expect(outcome).toMatchObject({ exit, stdout: '' })
    expect(outcome.stderr).toMatch(/interrupted; the same command goes on where it stopped/)
    await expectResumed(words, `at-${signal}`, bytes)
  })

  it('begins anew when the file has changed meanwhile, and leaves the run as it was', async () => {
    await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'before')
    const words = ['upload', 'db.dump', 'changed/0']
    await using first = await startUpload(words)
    first.kill('SIGKILL')
    await first.outcome
    gate.cut()
    const bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'after')
    expect(await cli.run(words)).toMatchObject({ exit: 0, stdout: 'changed/0/db.dump\n' })
    const copy = join(cli.folder, 'changed.copy')
    expect(await cli.run(['get', 'changed/0/db.dump', '-o', copy])).toMatchObject({ exit: 0 })
    expect((await readFile(copy)).equals(bytes)).toBe(true)
  })

  it('survives a network that is cut in the middle, without being told', async () => {
    await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB, 'cut')
    await using first = await startUpload(['upload', 'db.dump', 'cut'])
    gate.cut()
    expect(await first.outcome).toMatchObject({ exit: 0, stdout: 'cut/0/db.dump\n' })
  })

  it.each([
    { signal: 'SIGKILL', exit: 137 },
    { signal: 'SIGINT', exit: 130 },
  ] as const)('goes on with a folder in the same run after $signal', async ({ signal, exit }) => {
    const folder = join(cli.folder, signal)
    await mkdir(folder)
    for (let index = 0; index < PARTS; index++)
      await writeBytes(join(folder, `file-${index}`), MIB + index, `${signal} ${index}`)
    const words = ['upload', signal, `folder-${signal}`]
    await using first = await startUpload(words)
    first.kill(signal)
    expect(await first.outcome).toMatchObject({ exit })
    gate.cut()
    const second = await cli.run(words)
    expect(second).toMatchObject({ exit: 0 })
    expect(second.stdout.trim().split('\n')).toHaveLength(PARTS)
    const { items } = await call(connection, 'listRuns', {
      params: { task: `folder-${signal}` },
      query: {},
    })
    expect(items.map(({ run }) => run)).toEqual([0])
  })

  it('seals nothing when the command that makes the data fails, and leaves the name free', async () => {
    const words = ['upload', '--stdin-from-command', 'pipe/0/rows', '--']
    const script = 'head -c 3000000 /dev/zero; echo no more >&2; exit 3'
    const failed = await cli.run([...words, 'sh', '-c', script])
    expect(failed).toMatchObject({ exit: 8, stdout: '' })
    expect(failed.stderr).toMatch(/no more/)
    expect(failed.stderr).toMatch(/expected {2}exit code 0\n {2}found {5}exit code 3/)
    expect(await cli.run(['info', 'pipe/0/rows'])).toMatchObject({ exit: 5 })
    const { items } = await call(connection, 'listUploads', { query: { task: 'pipe' } })
    expect(items).toEqual([])
    expect(await cli.run([...words, 'seq', '1', '100000'])).toMatchObject({ exit: 0 })
    const got = await cli.run(['get', 'pipe/0/rows', '-o', '-'])
    expect(got.stdout.split('\n').slice(-2)).toEqual(['100000', ''])
  })

  it('aborts what a killed command had begun to make', async () => {
    const words = ['upload', '--stdin-from-command', 'pipe/1/rows', '--']
    const failed = await cli.run([...words, 'sh', '-c', 'head -c 3000000 /dev/zero; kill -9 $$'])
    expect(failed).toMatchObject({ exit: 8, stdout: '' })
    expect(failed.stderr).toMatch(/SIGKILL/)
    expect(await cli.run(['info', 'pipe/1/rows'])).toMatchObject({ exit: 5 })
  })

  it('takes a stream of unknown size from stdin', async () => {
    const bytes = await writeBytes(join(cli.folder, 'stream'), 3 * MIB + 7, 'stdin')
    const words = ['upload', '-', 'pipe/2/stream']
    expect(await cli.run(words, { input: bytes })).toMatchObject({
      exit: 0,
      stdout: 'pipe/2/stream\n',
    })
    expect(await cli.run(['verify', 'stream', 'pipe/2/stream'])).toMatchObject({ exit: 0 })
  })
})

describe('two uploads for one name', () => {
  const race = async (task: string, files: readonly string[]) =>
    Promise.all(files.map((file) => cli.run(['upload', file, `${task}/0/name`])))

  it('both succeed with the same content', async () => {
    for (const name of ['one', 'two']) await writeBytes(join(cli.folder, name), 20 * MIB, 'same')
    const outcomes = await race('same', ['one', 'two'])
    expect(outcomes.map(({ exit }) => exit)).toEqual([0, 0])
  })

  it('the second is told that the very same file is on its way already', async () => {
    await writeBytes(join(cli.folder, 'one'), PARTS * MIB, 'very same')
    const words = ['upload', 'one', 'very-same/0/name']
    await using first = await startUpload(words)
    const second = await cli.run(words)
    gate.release()
    expect(second).toMatchObject({ exit: 75, stdout: '' })
    expect(second.stderr).toMatch(/another process uploads the same file/)
    expect(await first.outcome).toMatchObject({ exit: 0 })
    expect(await cli.run(words)).toMatchObject({ exit: 0 })
  })

  it('one succeeds and the other is told why not, with other content', async () => {
    await writeBytes(join(cli.folder, 'one'), 20 * MIB, 'this')
    await writeBytes(join(cli.folder, 'two'), 20 * MIB, 'that')
    const outcomes = await race('other', ['one', 'two'])
    expect(outcomes.map(({ exit }) => exit).sort()).toEqual([0, 6])
    const loser = outcomes.find(({ exit }) => exit === 6)
    expect(loser?.stderr).toMatch(/already_sealed, exit 6/)
    expect(loser?.stderr).toMatch(/expected .*[0-9a-f]{64}[\s\S]*found .*[0-9a-f]{64}/)
    const winner = outcomes.findIndex(({ exit }) => exit === 0) === 0 ? 'one' : 'two'
    expect(await cli.run(['verify', winner, 'other/0/name'])).toMatchObject({ exit: 0 })
  })
})
