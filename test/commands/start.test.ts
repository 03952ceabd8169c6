/** What a start of the program loads, and where it keeps what Node compiled. */
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cli, openCli } from '../support/cli.ts'
import { startTestServer } from '../support/server.ts'
import { makeWorkFolder } from '../support/work-folder.ts'

const SUPPORT = join(import.meta.dirname, '..', 'support')
const REPORTER = pathToFileURL(join(SUPPORT, 'report-imports.mjs'))
const START_REPORTER = pathToFileURL(join(SUPPORT, 'report-start.mjs'))

let cli: Cli
beforeAll(async () => {
  cli = await openCli()
})
afterAll(() => cli[Symbol.asyncDispose]())

describe('a start', () => {
  const run = (...words: string[]) =>
    cli.run(words, { env: { NODE_OPTIONS: `--import=${REPORTER.href}` } })

  it.each([['--help'], ['-h'], ['help'], ['--version'], ['token']])(
    'loads no package for %s',
    async (word) => {
      const { stderr } = await run(word)
      expect(stderr).toContain('packages []\n')
    },
  )

  it('loads no package to say that there is no such command', async () => {
    const { exit, stderr } = await run('uplaod')
    expect(exit).toBe(2)
    expect(stderr).toContain('packages []\n')
  })

  it('loads no server, HTTP client or progress bar for the help of a command', async () => {
    const { stderr } = await run('info', '--help')
    expect(stderr).toContain('"zod"')
    expect(stderr).not.toMatch(
      /"(hono|pino|postgres|prom-client|@aws-sdk|cli-progress|hash-wasm|undici)/,
    )
  })

  it.each([
    ['info', 'interpreted'],
    ['upload', 'interpreted'],
    ['serve', 'compiled'],
    ['signer', 'compiled'],
    ['witness serve', 'compiled'],
  ])('lets %s have its parsers %s', async (command, parsers) => {
    const env = { NODE_OPTIONS: `--import=${START_REPORTER.href}` }
    const { stderr } = await cli.run([...command.split(' '), '--help'], { env })
    expect(stderr).toContain(`parsers ${parsers}\n`)
  })

  it('loads no package for HTTP to ask a server a few things', async () => {
    await using stack = new AsyncDisposableStack()
    const server = stack.use(await startTestServer())
    const asking = stack.use(await openCli(server))
    await writeFile(join(asking.folder, 'small'), 'small\n')
    expect(await asking.run(['upload', 'small', 'a/0'])).toMatchObject({ exit: 0 })
    for (const words of [['info', 'a/0/small'], ['ls'], ['get', 'a/0/small', '-o', 'copy']]) {
      const env = { NODE_OPTIONS: `--import=${REPORTER.href}` }
      const { exit, stderr } = await asking.run(words, { env })
      expect(exit).toBe(0)
      expect(stderr).toContain('"zod"')
      expect(stderr).not.toContain('undici')
    }
  })
})

describe('the cache of compiled code', () => {
  /** Starts once with a cache folder, and lists what lies under it afterwards. */
  async function startWith(cacheFolder: string, env: Record<string, string> = {}) {
    const { exit } = await cli.run(['--version'], {
      env: { NODE_DISABLE_COMPILE_CACHE: undefined, XDG_CACHE_HOME: cacheFolder, ...env },
    })
    expect(exit).toBe(0)
    return readdir(join(cacheFolder, 'artifact', 'compiled')).catch(() => undefined)
  }

  it('lies in a folder of the user alone', async () => {
    await using folder = await makeWorkFolder()
    expect(await startWith(folder.path)).toHaveLength(1)
    const { mode } = await stat(folder.at('artifact', 'compiled'))
    expect(mode & 0o777).toBe(0o700)
  })

  it('is not used where others may write', async () => {
    await using folder = await makeWorkFolder()
    await mkdir(folder.at('artifact', 'compiled'), { recursive: true })
    await chmod(folder.at('artifact', 'compiled'), 0o777)
    expect(await startWith(folder.path)).toEqual([])
  })

  it('does not follow a link to another folder', async () => {
    await using folder = await makeWorkFolder()
    await mkdir(folder.at('artifact'))
    await mkdir(folder.at('elsewhere'), { mode: 0o700 })
    await symlink(folder.at('elsewhere'), folder.at('artifact', 'compiled'))
    expect(await startWith(folder.path)).toEqual([])
  })

  it('is shared by commands with and without bounds of their heap', async () => {
    await using folder = await makeWorkFolder()
    const env = {
      NODE_DISABLE_COMPILE_CACHE: undefined,
      XDG_CACHE_HOME: folder.path,
      NODE_DEBUG_NATIVE: 'COMPILE_CACHE',
    }
    const told: string[] = []
    for (const command of ['upload', 'info', 'upload', 'info'])
      told.push((await cli.run([command, '--help'], { env })).stderr)
    // What one of them kept under other flags would be compiled again by the other, each time.
    expect(told.join('')).not.toContain('was rejected')
    for (const again of told.slice(2)) {
      expect(again).toContain('was accepted')
      expect(again).not.toContain('was not initialized')
    }
  })

  it('is none when Node is told so', async () => {
    await using folder = await makeWorkFolder()
    expect(await startWith(folder.path, { NODE_DISABLE_COMPILE_CACHE: '1' })).toEqual([])
  })

  it('is not missed where it cannot be made', async () => {
    expect(await startWith('/dev/null')).toBeUndefined()
  })
})
