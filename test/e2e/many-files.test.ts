/** A folder of many small files: up as one run, back as one folder. Prints how fast, and asserts only that it is right. */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cli, openCli } from '../support/cli.ts'
import { makeBytes } from '../support/content.ts'
import { openSite } from '../support/serve-process.ts'
import { openShell } from '../support/shell.ts'

/** More with `ARTIFACT_TEST_FILES=10000`. */
const FILES = Number(process.env.ARTIFACT_TEST_FILES ?? 2000)
const MINUTES = 60_000

let stack: AsyncDisposableStack
let cli: Cli

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const site = stack.use(await openSite({ settings: { 'log-level': 'warn' } }))
  stack.use(await site.serve())
  cli = stack.use(await openCli(site))
  await writeFiles(join(cli.folder, 'many'))
}, 2 * MINUTES)
afterAll(() => stack.disposeAsync())

async function writeFiles(folder: string): Promise<void> {
  for (let index = 0; index < FILES; index++) {
    const path = join(folder, `d${index % 50}`, `file-${index}.txt`)
    if (index < 50) await mkdir(dirname(path), { recursive: true })
    // A few are empty, and some are the same.
    await writeFile(path, makeBytes((index * 37) % 3000, String(index % 1000)))
  }
}

async function describeFolder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const lines = entries
    .filter((entry) => entry.isFile())
    .map(async (entry) => {
      const path = join(entry.parentPath, entry.name)
      const sha256 = createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
      return `${sha256}  ${path.slice(folder.length + 1)}`
    })
  return (await Promise.all(lines)).sort()
}

async function measure(words: readonly string[]) {
  const started = performance.now()
  const outcome = await cli.run(words)
  const rate = FILES / ((performance.now() - started) / 1000)
  process.stdout.write(`  ${words[0]} of ${FILES} files: ${rate.toFixed(0)} files/s\n`)
  return outcome
}

describe('many small files', () => {
  it(
    'go up as one run',
    async () => {
      const outcome = await measure(['upload', 'many', 'many'])
      expect(outcome).toMatchObject({ exit: 0 })
      expect(outcome.stdout.trim().split('\n')).toHaveLength(FILES)
      expect(outcome.stderr).toContain('many/0')
    },
    30 * MINUTES,
  )

  it(
    'are there already when they go up again',
    async () => {
      const outcome = await measure(['upload', 'many', 'many/0'])
      expect(outcome).toMatchObject({ exit: 0 })
      expect(outcome.stdout.trim().split('\n')).toHaveLength(FILES)
    },
    30 * MINUTES,
  )

  it(
    'come back as they were',
    async () => {
      expect(await measure(['get', 'many/latest', '-o', 'back'])).toMatchObject({ exit: 0 })
      const before = await describeFolder(join(cli.folder, 'many'))
      expect(before).toHaveLength(FILES)
      expect(await describeFolder(join(cli.folder, 'back'))).toEqual(before)
    },
    30 * MINUTES,
  )

  it(
    'have checksums that sha256sum takes',
    async () => {
      const shell = await openShell(cli)
      const line = 'set -o pipefail; artifact checksums many/0 | (cd back && sha256sum -c --quiet)'
      expect(await shell.run(line)).toMatchObject({ exit: 0, stdout: '' })
    },
    MINUTES,
  )

  it('are listed in pages', async () => {
    const listed = await cli.run(['ls', 'many/0', '--json'])
    expect(listed).toMatchObject({ exit: 0 })
    expect(listed.stdout.match(/"sealedAt"/g)).toHaveLength(FILES)
  })
})
