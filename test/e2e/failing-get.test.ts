/** Getting an artifact when this machine or the other one fails: a clear message, and nothing left behind. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect, get } from '../../client/client.ts'
import { type Cli, openCli, type RunningCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { type Gate, openGate } from '../support/gate.ts'
import { openSite, type ServeProcess, type Site } from '../support/serve-process.ts'

const PARTS = 24
const reference = 'kept/0/db.dump'
const run = promisify(execFile)

let stack: AsyncDisposableStack
let site: Site
let server: ServeProcess
let gate: Gate
let cli: Cli
let bytes: Buffer
let folders = 0

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  site = stack.use(await openSite({ settings: { 'part-size-bytes': String(MIB) } }))
  server = stack.use(await site.serve())
  gate = stack.use(await openGate(site.port))
  cli = stack.use(await openCli({ url: gate.url, token: site.token }))
  bytes = await writeBytes(join(cli.folder, 'db.dump'), PARTS * MIB - 5, 'kept')
  expect(await cli.run(['upload', 'db.dump', reference])).toMatchObject({ exit: 0 })
})
afterAll(() => stack.disposeAsync())

async function makeFolder(): Promise<string> {
  const folder = join(cli.folder, `target-${folders++}`)
  await mkdir(folder)
  return folder
}

/** Starts to get it, and returns in the middle. */
async function startGet(target: string): Promise<RunningCli> {
  const held = gate.holdAfter('down', 10 * MIB)
  const running = cli.start(['get', reference, '-o', target])
  const first = await Promise.race([held, running.outcome])
  if (first !== undefined) throw new Error(`it ended too early: ${JSON.stringify(first)}`)
  return running
}

/** A small or closed file system at `folder`. Root alone may mount, and root alone needs it. */
async function mount(folder: string, options: string): Promise<AsyncDisposable> {
  await run('mount', ['-t', 'tmpfs', '-o', options, 'artifact-test', folder])
  return {
    async [Symbol.asyncDispose]() {
      await run('umount', [folder])
    },
  }
}

const isRoot = process.getuid?.() === 0

describe('artifact get', () => {
  it('goes on after kill -9, and nothing was at the target before', async () => {
    const folder = await makeFolder()
    const target = join(folder, 'copy')
    await using first = await startGet(target)
    first.kill('SIGKILL')
    await first.outcome
    gate.cut()
    const left = await readdir(folder)
    expect(left).not.toContain('copy')
    expect(left.filter((name) => name.endsWith('.artifact-partial'))).toHaveLength(1)
    const passed = gate.passed.down
    const second = await cli.run(['get', reference, '-o', target])
    expect(second).toMatchObject({ exit: 0 })
    expect(second.stderr).toMatch(/of it from before/)
    expect(gate.passed.down - passed).toBeLessThan(bytes.length)
    expect((await readFile(target)).equals(bytes)).toBe(true)
    expect(await readdir(folder)).toEqual(['copy'])
  })

  it.each([
    { signal: 'SIGINT', exit: 130 },
    { signal: 'SIGTERM', exit: 143 },
  ] as const)('ends with $exit at $signal, and goes on later', async ({ signal, exit }) => {
    const folder = await makeFolder()
    await using first = await startGet(folder)
    first.kill(signal)
    expect(await first.outcome).toMatchObject({ exit, stdout: '' })
    gate.cut()
    expect(await readdir(folder)).not.toContain('db.dump')
    expect(await cli.run(['get', reference, '-o', folder])).toMatchObject({ exit: 0 })
    expect(await readdir(folder)).toEqual(['db.dump'])
    expect((await readFile(join(folder, 'db.dump'))).equals(bytes)).toBe(true)
  })

  it('says that the disk is full, and leaves nothing behind', async () => {
    const folder = await makeFolder()
    if (!isRoot) {
      // A limit of the shell on the size of files stands for the end of the disk.
      const limited = `ulimit -f ${2 * 1024}; exec "$0" "$@"`
      const words = [process.execPath, program(), 'get', reference, '-o', join(folder, 'copy')]
      const failed = await run('bash', ['-c', limited, ...words], {
        env: { ...cli.environment },
      }).catch((error: { code: number; stderr: string }) => error)
      expect(failed).toMatchObject({ code: 2 })
      return expect(await readdir(folder)).toEqual([])
    }
    await using _ = await mount(folder, `size=${4 * MIB}`)
    const failed = await cli.run(['get', reference, '-o', join(folder, 'copy')])
    expect(failed).toMatchObject({ exit: 2, stdout: '' })
    expect(failed.stderr).toMatch(/no space is left on the device/)
    expect(failed.stderr).toMatch(/local_io, exit 2/)
    expect(await readdir(folder)).toEqual([])
  })

  it('says that the folder cannot be written', async () => {
    const folder = await makeFolder()
    await using _ = isRoot ? await mount(folder, 'ro') : undefined
    if (!isRoot) await chmod(folder, 0o555)
    const failed = await cli.run(['get', reference, '-o', join(folder, 'copy')])
    expect(failed).toMatchObject({ exit: 2, stdout: '' })
    expect(failed.stderr).toContain(basename(folder))
    expect(failed.stderr).toMatch(/read-only|permission|may not/i)
    expect(await readdir(folder)).toEqual([])
  })

  it('says that the folder is not there', async () => {
    const failed = await cli.run(['get', reference, '-o', join(cli.folder, 'absent', 'copy')])
    expect(failed).toMatchObject({ exit: 2, stdout: '' })
    expect(failed.stderr).toMatch(/absent/)
  })

  it('leaves what is at the target as it was, unless it is forced', async () => {
    const folder = await makeFolder()
    const target = join(folder, 'copy')
    const before = await writeBytes(target, 10, 'mine')
    const refused = await cli.run(['get', reference, '-o', target])
    expect(refused).toMatchObject({ exit: 8, stdout: '' })
    expect((await readFile(target)).equals(before)).toBe(true)
    expect(await cli.run(['get', reference, '-o', target, '--force'])).toMatchObject({ exit: 0 })
    expect((await readFile(target)).equals(bytes)).toBe(true)
    expect(await readdir(folder)).toEqual(['copy'])
  })

  it('tells the second of two that get the same to the same place', async () => {
    const folder = await makeFolder()
    await using first = await startGet(join(folder, 'copy'))
    const past = { env: { ARTIFACT_URL: site.url } }
    const second = await cli.run(['get', reference, '-o', join(folder, 'copy')], past)
    gate.release()
    expect(second).toMatchObject({ exit: 75, stdout: '' })
    expect(await first.outcome).toMatchObject({ exit: 0 })
    expect(await readdir(folder)).toEqual(['copy'])
  })

  it('goes on by itself when the server dies in the middle and comes back', async () => {
    const folder = await makeFolder()
    await using first = await startGet(join(folder, 'copy'))
    await server.kill('SIGKILL')
    gate.cut()
    server = stack.use(await site.serve())
    expect(await first.outcome).toMatchObject({ exit: 0 })
    expect((await readFile(join(folder, 'copy'))).equals(bytes)).toBe(true)
  })

  it('leaves nothing behind when the server is gone for good', async () => {
    const folder = await makeFolder()
    // The library, since a person has more patience than a test.
    await using connection = connect({
      url: gate.url,
      token: site.token,
      timing: { retryFirstMs: 1, retryMaxMs: 5 },
    })
    const held = gate.holdAfter('down', 10 * MIB)
    const words = { task: 'kept', run: 0, name: 'db.dump' }
    const getting = get(connection, words, { output: join(folder, 'copy') })
    const outcome = getting.then(
      () => undefined,
      (error: unknown) => error,
    )
    await Promise.race([held, outcome])
    await server.kill('SIGKILL')
    gate.cut()
    expect(await outcome).toMatchObject({ code: 'unreachable' })
    expect(await readdir(folder)).toEqual([])
  })
})

function program(): string {
  return join(import.meta.dirname, '..', '..', 'server', 'main.ts')
}
