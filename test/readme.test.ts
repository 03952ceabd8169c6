/** What the README says is so: its examples run, and what it names is there. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { EXITS } from '../schemas/problems.ts'
import { HELP as BENCH_HELP } from './bench/options.ts'
import { makePlace, type Place, runProgram, startOwnServer } from './support/own-server.ts'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '..')
const readme = await readFile(join(root, 'README.md'), 'utf8')
const manifest = z
  .object({
    scripts: z.record(z.string(), z.string()),
    dependencies: z.record(z.string(), z.string()),
    devDependencies: z.record(z.string(), z.string()),
  })
  .parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')))

/** The fenced blocks in a language, in order. */
const blocks = (language: string) =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, text = '']) => text,
  )

const Profile = z.object({ url: z.string(), token: z.string() })

describe('examples', () => {
  let stack: AsyncDisposableStack
  let place: Place
  let environment: NodeJS.ProcessEnv

  beforeAll(async () => {
    stack = new AsyncDisposableStack()
    place = stack.use(await makePlace(join(root, 'server', 'main.ts')))
    stack.use(await startOwnServer(place))
    await furnish(place)
    const profile = join(place.folder, 'config', 'artifact', 'profile.json')
    const { url } = Profile.parse(JSON.parse(await readFile(profile, 'utf8')))
    const path = [join(place.folder, 'bin'), process.env.PATH].join(delimiter)
    environment = { ...place.environment, PATH: path, ARTIFACT_URL: url }
  }, 120_000)
  afterAll(() => stack.disposeAsync())

  it('run as they stand, one after the other', async () => {
    expect(blocks('sh').length).toBeGreaterThanOrEqual(3)
    for (const block of blocks('sh')) await runBlock(block)
    const restored = await readFile(join(place.folder, 'restored.dump'))
    expect(restored.equals(await readFile(join(place.folder, 'db.dump')))).toBe(true)
    const byCurl = await readFile(join(place.folder, 'by-curl.dump'))
    expect(byCurl.equals(restored)).toBe(true)
    expect(await readFile(join(place.folder, 'token'), 'utf8')).toMatch(/^artifact_[\w-]{43}\n$/)
    expect(await readFile(join(place.folder, 'roles.sql'), 'utf8')).toMatch(/create role/)
  }, 120_000)

  it('run as a library', async () => {
    const [example = ''] = blocks('ts')
    await writeFile(join(place.folder, 'library.ts'), example)
    const profile = await readFile(join(place.folder, 'config', 'artifact', 'profile.json'), 'utf8')
    const { token } = Profile.parse(JSON.parse(profile))
    await execute(process.execPath, ['library.ts'], {
      cwd: place.folder,
      env: { ...environment, ARTIFACT_TOKEN: token },
    })
    const copy = await readFile(join(place.folder, 'copy.dump'))
    expect(copy.equals(await readFile(join(place.folder, 'db.dump')))).toBe(true)
  })

  async function runBlock(block: string): Promise<void> {
    const script = `set -euxo pipefail\n${block}`
    // A failure tells with the last command and what it said.
    await execute('bash', ['-c', script], { cwd: place.folder, env: environment })
  }
})

/** Lays out what the examples begin with: a dump, a folder, a token, the command and the library. */
async function furnish(place: Place): Promise<void> {
  const { folder } = place
  const write = (path: string, text: string) => writeFile(join(folder, path), text)
  await Promise.all(
    ['bin', 'dist/assets', 'node_modules'].map((path) =>
      mkdir(join(folder, path), { recursive: true }),
    ),
  )
  await write('db.dump', 'rows\n'.repeat(100_000))
  await write('dist/app.js', 'export {}\n')
  await write('dist/assets/logo.svg', '<svg/>\n')
  await write('bin/artifact', `#!/bin/sh\nexec '${process.execPath}' '${place.program}' "$@"\n`)
  await chmod(join(folder, 'bin', 'artifact'), 0o755)
  await symlink(root, join(folder, 'node_modules', 'artifact-integrity'))
  const scope = ['--scope', 'get:*/**']
  const token = await runProgram(place, ['token', 'create', '--name', 'all', ...scope])
  await write('token-all', token.stdout)
}

describe('words', () => {
  it('name only files that are there', () => {
    const named = [...readme.matchAll(/`((?:server|client|schemas|sql|test)\/[\w./-]+)`/g)]
    const absent = named
      .map(([, path = '']) => path)
      .filter((path) => !existsSync(join(root, path)))
    expect(named.length).toBeGreaterThan(10)
    expect(absent).toEqual([])
  })

  it('name only functions that are exported where the README says', () => {
    const named = [...readme.matchAll(/`(\w+)` in `([\w./-]+\.ts)`/g)]
    const absent = named.filter(([, name = '', path = '']) => {
      const text = readFileSync(join(root, path), 'utf8')
      return !new RegExp(`^export (async )?function ${name}\\b`, 'm').test(text)
    })
    expect(named.length).toBeGreaterThan(8)
    expect(absent.map(([text]) => text)).toEqual([])
  })

  it('tell for every step of a life where it is and what tests it', () => {
    const [, life = ''] = readme.split('## Life of an artifact')
    const rows = [...life.matchAll(/^\| \d \w+ \|.*\|(.*)\|(.*)\|$/gm)]
    expect(rows).toHaveLength(8)
    for (const [, where = '', test = ''] of rows) {
      expect(where).toMatch(/`\w+` in `(server|client)\/[\w./-]+\.ts`/)
      expect(test).toMatch(/`test\/[\w./-]+\.ts`/)
    }
  })

  it('name only options that the help explains', async () => {
    const named = new Set([...readme.matchAll(/(?<![\w-])--[a-z][a-z\d-]*/g)].map(([flag]) => flag))
    const entries = [
      ...[['serve'], ['signer'], ['upload'], ['get'], ['revoke'], ['remove']],
      ...[
        ['token', 'create'],
        ['log', 'verify'],
        ['packs', 'rebuild'],
      ],
    ]
    await using place = await makePlace(join(root, 'server', 'main.ts'))
    const helps = await Promise.all(entries.map((words) => runProgram(place, [...words, '--help'])))
    const help = [...helps.map(({ stdout }) => stdout), BENCH_HELP].join('\n')
    const isExplained = (flag: string) => new RegExp(`${flag}(?![\\w-])`).test(help)
    expect(named.size).toBeGreaterThan(10)
    expect([...named].filter((flag) => !isExplained(flag))).toEqual([])
  })

  it('show only JSON that can be read', () => {
    expect(blocks('json').length).toBeGreaterThan(0)
    for (const block of blocks('json')) expect(() => JSON.parse(block)).not.toThrow()
  })

  it('name only scripts that npm knows', () => {
    const named = [...readme.matchAll(/npm run ([\w-]+)/g)].map(([, name = '']) => name)
    expect(named.filter((name) => !(name in manifest.scripts))).toEqual([])
  })

  it('explain every exit code', () => {
    const explained = [...readme.matchAll(/^\| ([\d, ]+) \| /gm)].flatMap(([, codes = '']) =>
      codes.split(', ').map(Number),
    )
    expect(explained).toEqual(Object.values(EXITS).toSorted((a, b) => a - b))
  })

  it('give a reason for every dependency', () => {
    const [, section = ''] = readme.split('### Dependencies, and why')
    const names = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies })
    const isExplained = (name: string) =>
      name.startsWith('@types/') || section.includes(`\`${name}\``)
    expect(names.filter((name) => !isExplained(name))).toEqual([])
  })
})
