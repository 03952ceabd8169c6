/** The package as a user gets it: built, packed, installed into an empty folder, and used. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { makePlace, type Place, runProgram, startOwnServer } from './support/own-server.ts'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '..')
const manifest = z
  .object({
    name: z.string(),
    version: z.string(),
    allowScripts: z.record(z.string(), z.boolean()),
  })
  .parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')))

let folder: string
let packed: string[]
let installed: string
let place: Place

/** Runs a tool without settings of ours; npm gets neither the settings nor the folder of the npm that runs these tests. */
async function tool(cwd: string, program: string, ...args: string[]): Promise<string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(ARTIFACT_|npm_(?!config_registry$))/.test(name),
  )
  const outcome = await execute(program, args, { cwd, env: Object.fromEntries(kept) }).catch(
    (error: { stdout?: string; stderr?: string }) => error,
  )
  if (outcome instanceof Error)
    throw new Error(`${outcome.message}\n${outcome.stdout}\n${outcome.stderr}`)
  return outcome.stdout ?? ''
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pack-test-'))
  await tool(root, process.execPath, join(root, 'test', 'build.ts'))
  const report = await tool(root, 'npm', 'pack', './dist', '--json', '--pack-destination', folder)
  const [pack] = z
    .array(z.object({ filename: z.string(), files: z.array(z.object({ path: z.string() })) }))
    .parse(JSON.parse(report))
  packed = pack?.files.map(({ path }) => path) ?? []
  const prefix = join(folder, 'prefix')
  await mkdir(prefix)
  const { allowScripts } = manifest
  await writeFile(join(prefix, 'package.json'), JSON.stringify({ private: true, allowScripts }))
  await tool(
    prefix,
    'npm',
    'install',
    '--no-audit',
    '--no-fund',
    join(folder, pack?.filename ?? ''),
  )
  installed = join(prefix, 'node_modules', manifest.name)
  place = await makePlace(join(installed, 'server', 'main.js'))
}, 300_000)

afterAll(async () => {
  await place?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** Opens the first page over the link that the server printed, and everything that it loads. */
async function expectInspector(log: string): Promise<void> {
  const link = /^Inspector: (\S+)/m.exec(log)?.[1] ?? ''
  const entered = await fetch(link, { redirect: 'manual' })
  const cookie = entered.headers.get('set-cookie')?.split(';')[0] ?? ''
  const page = await fetch(new URL('/', link), { headers: { accept: 'text/html', cookie } })
  const text = await page.text()
  expect(text).toContain('packed/0/source.bin')
  const paths = [...text.matchAll(/"(\/assets\/[^"#]+)/g)].map(([, path]) => path ?? '')
  const types = await Promise.all(
    [...new Set(paths)].map(async (path) => {
      const reply = await fetch(new URL(path, link))
      return [reply.status, reply.headers.get('content-type')]
    }),
  )
  expect(types).toContainEqual([200, 'text/css; charset=utf-8'])
  expect(types).toContainEqual([200, 'text/javascript; charset=utf-8'])
  expect(types).toContainEqual([200, 'image/svg+xml'])
  expect(types.filter(([status]) => status !== 200)).toEqual([])
}

/** A question needs no files but small ones, no thread, no digest and no measurements. */
async function expectFewModules(words: string[]): Promise<void> {
  const reporter = pathToFileURL(join(root, 'test', 'support', 'report-start.mjs'))
  const environment = { ...place.environment, NODE_OPTIONS: `--import=${reporter}` }
  const { exit, stderr } = await runProgram({ ...place, environment }, words)
  expect(exit).toBe(0)
  expect(stderr).toContain(' http ')
  for (const name of ['fs/promises', 'perf_hooks', 'worker_threads', 'crypto', 'tls', 'v8'])
    expect(stderr).not.toContain(` ${name} `)
}

describe('package', () => {
  it('holds what runs and what explains it, and nothing else', () => {
    const isExpected = (path: string) =>
      /^(schemas|client)\/.+\.(js|d\.ts)$|^program\/[\w.-]+\.js$|^server\/stores\/[\w-]+-thread\.js$|^server\/inspector\/browser\/.+\.(js|css|svg)$|^sql\/[\w.-]+\.(sql|md)$/.test(
        path,
      ) ||
      ['LICENSE', 'README.md', 'THIRD-PARTY.txt', 'package.json', 'server/main.js'].includes(path)
    expect(packed.filter((path) => !isExpected(path))).toEqual([])
    expect(packed).toEqual(
      expect.arrayContaining([
        'server/main.js',
        'client/client.js',
        'client/client.d.ts',
        'client/disk/file-hasher-thread.js',
        'client/transfer/memory-hasher-thread.js',
        'server/stores/file-hash-thread.js',
        'server/stores/object-hash-thread.js',
        'sql/0001_sealed.sql',
        'LICENSE',
        'README.md',
        'THIRD-PARTY.txt',
      ]),
    )
  })

  it('installs no package whose code it holds, and passes on the licence of each', async () => {
    const licences = await readFile(join(installed, 'THIRD-PARTY.txt'), 'utf8')
    const held = [...licences.matchAll(/^(\S+) \d+\.\d+\.\d+\S* \(\S+\)$/gm)].map(
      ([, name]) => name,
    )
    expect(held).toEqual(expect.arrayContaining(['undici', 'yargs-parser', 'zod', 'zod-openapi']))
    const wanted = z
      .object({ dependencies: z.record(z.string(), z.string()) })
      .parse(JSON.parse(await readFile(join(installed, 'package.json'), 'utf8')))
    // The library is not bundled.
    const shared = held.filter((name) => name !== undefined && name in wanted.dependencies)
    expect(shared).toEqual(['undici', 'zod'])
  })

  it('loads every command', async () => {
    const overview = await runProgram(place, ['--help'])
    const section = /^Commands:\n(.*?)\n\n/ms.exec(overview.stdout)?.[1] ?? ''
    const names = [...section.matchAll(/^ {2}([a-z]+(?: [a-z]+)?) {2}/gm)].map(
      ([, name]) => name ?? '',
    )
    expect(names).toEqual(expect.arrayContaining(['upload', 'serve', 'token create']))
    for (const name of names) {
      const help = await runProgram(place, [...name.split(' '), '--help'])
      expect(help).toMatchObject({ exit: 0, stderr: '' })
      expect(help.stdout).toContain(`artifact ${name} - `)
    }
  }, 120_000)

  it('says its version as a command on the path of the prefix', async () => {
    const command = join(folder, 'prefix', 'node_modules', '.bin', 'artifact')
    const stdout = await tool(folder, process.execPath, command, '--version')
    expect(stdout.trim()).toContain(manifest.version)
  })

  it('serves, takes an upload of several parts, and gives it back verified', async () => {
    await using server = await startOwnServer(place)
    const file = join(place.folder, 'source.bin')
    // Large enough for the thread that hashes what is got.
    const bytes = Buffer.alloc(65 * 1024 ** 2, 'artifact')
    await writeFile(file, bytes)
    const upload = await runProgram(place, ['upload', file, 'packed/0/source.bin'])
    expect(upload).toMatchObject({ exit: 0 })
    expect(upload.stdout.trim()).toBe('packed/0/source.bin')
    const info = await runProgram(place, ['info', 'packed/0/source.bin', '--json'])
    expect(JSON.parse(info.stdout)).toMatchObject({
      partCount: 13,
      sizeBytes: String(bytes.length),
    })
    await expectFewModules(['info', 'packed/0/source.bin'])
    const copy = join(place.folder, 'copy.bin')
    const get = await runProgram(place, ['get', 'packed/0/source.bin', '--verify', '-o', copy])
    expect(get).toMatchObject({ exit: 0 })
    expect((await readFile(copy)).equals(bytes)).toBe(true)
    await expectInspector(server.log())
    expect(await server.stop()).toBe(0)
  }, 120_000)

  it('is a library with types', async () => {
    const consumer = join(folder, 'prefix', 'consumer')
    await mkdir(consumer)
    const source = `import { get, upload } from '${manifest.name}/client'
      const words: string[] = [typeof get, typeof upload]
      process.stdout.write(words.join())
      // @ts-expect-error: options are checked
      export const wrong = () => upload(42)
    `
    await writeFile(join(consumer, 'main.mts'), source)
    const readme = await readFile(join(root, 'README.md'), 'utf8')
    const [, example = ''] = /^```ts\n(.*?)^```$/ms.exec(readme) ?? []
    await writeFile(join(consumer, 'example.mts'), example)
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const flags = [
      '--strict',
      '--target',
      'es2024',
      '--lib',
      'es2024,esnext.disposable',
      '--module',
      'nodenext',
    ]
    const types = ['--typeRoots', join(root, 'node_modules', '@types'), '--types', 'node']
    await tool(consumer, process.execPath, compiler, ...flags, ...types, 'main.mts', 'example.mts')
    expect(await tool(consumer, process.execPath, 'main.mjs')).toBe('function,function')
    expect(await readdir(consumer)).toContain('main.mjs')
  })
})
