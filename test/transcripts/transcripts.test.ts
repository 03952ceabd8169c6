/**
 * Every `.txt` here is a dialogue with the real command line against the real server:
 *
 *     # what is shown
 *     $ a line for the shell
 *     what it writes to stdout
 *     ! what it writes to stderr
 *     = its exit code
 *
 * A line `% tamper TASK/RUN/NAME` flips one bit of a stored object. Values that differ from run to
 * run stand in angle brackets. `vitest --update` writes the answers anew; read them before a commit.
 */
import { chmod, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EXITS } from '../../schemas/problems.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openShell, type Shell } from '../support/shell.ts'

const files = (await readdir(import.meta.dirname)).filter((name) => name.endsWith('.txt')).sort()

/** Each line starts a program; a busy machine needs its time. */
const TIMEOUT_MS = 240_000

let server: TestServer
/** As people write it. */
let logKey: string
beforeAll(async () => {
  server = await startTestServer({ signed: true })
  logKey = (await readFile(join(server.dataFolder, 'signer', 'key.pub'), 'utf8')).trim()
})
afterAll(() => server[Symbol.asyncDispose]())

describe('transcripts', () => {
  it.each(files)(
    '%s reads as it is written',
    async (name) => {
      const path = join(import.meta.dirname, name)
      const script = await readFile(path, 'utf8')
      await using cli = await openCli(server)
      const shell = await openShell(cli, { DATA_FOLDER: server.dataFolder })
      await expect(await replay(script, shell, cli)).toMatchFileSnapshot(path)
    },
    TIMEOUT_MS,
  )

  it('show every exit code but those of signals', async () => {
    const texts = await Promise.all(
      files.map((name) => readFile(join(import.meta.dirname, name), 'utf8')),
    )
    const shown = texts.flatMap((text) => [...text.matchAll(/^= (\d+)$/gm)].map(([, code]) => code))
    const { interrupted: _, terminated: __, ...rest } = EXITS
    expect([...new Set(shown)].map(Number).sort((a, b) => a - b)).toEqual(Object.values(rest))
  })
})

/** Runs the lines of a script again and returns it with the answers of now. */
async function replay(script: string, shell: Shell, cli: Cli): Promise<string> {
  const lines: string[] = []
  const written = script.trimEnd().split('\n')
  for (const [at, line] of written.entries()) {
    // An empty line parts two commands; one within what a command wrote is that command's.
    const isGap = line === '' && /^[=#%] /.test(written[at - 1] ?? '')
    if (line.startsWith('#') || isGap) lines.push(line)
    if (line.startsWith('% ')) {
      lines.push(line)
      await direct(line.slice(2).split(' '))
    }
    if (!line.startsWith('$ ')) continue
    const { exit, stdout, stderr } = await shell.run(line.slice(2))
    lines.push(line, ...answer(stdout, '', cli), ...answer(stderr, '! ', cli), `= ${exit}`)
  }
  return `${lines.join('\n')}\n`
}

function answer(text: string, lead: string, cli: Cli): string[] {
  if (text === '') return []
  return generalise(text, cli)
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => (lead + line).trimEnd())
}

/** Puts a name in angle brackets where a value differs from run to run. */
function generalise(text: string, cli: Cli): string {
  return text
    .replaceAll(server.url, '<url>')
    .replaceAll(cli.folder, '<folder>')
    .replaceAll(server.dataFolder, '<data folder>')
    .replaceAll(logKey, '<log key>')
    .replaceAll(logKey.split('+')[0] ?? '', '<origin>')
    .replace(/SHA256:[A-Za-z0-9+/]{43}/g, '<fingerprint>')
    .replace(/^(\t?)[A-Za-z0-9+/]{43}=$/gm, '$1<hash>')
    .replace(/^(\t?— <origin>) [A-Za-z0-9+/]+=*$/gm, '$1 <signature>')
    .replace(/^\t\d+$/gm, '\t<size>')
    .replace(/(<origin>"? at )\d+/g, '$1<size>')
    .replace(/^Leaf \d+ of/gm, 'Leaf <index> of')
    .replaceAll(process.version, '<node version>')
    .replace(/artifact_[A-Za-z0-9_-]{20,}/g, '<secret>')
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<id>')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z/g, '<instant>')
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ/g, '<moment>')
    .replace(/\b\d+\.\d s\b/g, '<time>')
    .replace(/artifact \d+\.\d+\.\d+\b/g, 'artifact <version>')
    .replace(/\b(linux|darwin|win32) (x64|arm64)\b/g, '<platform>')
}

async function direct([verb, reference = '']: string[]): Promise<void> {
  if (verb !== 'tamper') throw new Error(`no such direction: ${verb}`)
  const [task = '', run = '', ...name] = reference.split('/')
  const rows = await server.admin<{ blob_key: string }[]>`
    select blob_key from artifact.artifact
    where task = ${task} and run = ${Number(run)} and name = ${name.join('/')}`
  const key = rows[0]?.blob_key
  if (key === undefined) throw new Error(`nothing is sealed as ${reference}`)
  await flipBit(join(server.storeFolder, key))
}

async function flipBit(path: string): Promise<void> {
  await chmod(path, 0o600)
  await using object = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await object.read(byte, 0, 1, 0)
  byte.writeUInt8(byte.readUInt8() ^ 1)
  await object.write(byte, 0, 1, 0)
}
