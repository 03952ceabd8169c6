/** Every example that the help shows, run by a real shell against the real server. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clientCommands } from '../../client/commands/registry.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openShell, type Shell } from '../support/shell.ts'

let server: TestServer
let cli: Cli
let shell: Shell
/** Working folders: one that has the files of the examples, and one that is empty. */
let full: string
let empty: string

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  cli = await openCli(server)
  shell = await openShell(cli)
  full = join(cli.folder, 'full')
  empty = join(cli.folder, 'empty')
  await mkdir(join(full, 'dist'), { recursive: true })
  await mkdir(empty)
  await writeFile(join(full, 'db.dump'), 'select 1;\n')
  await writeFile(join(full, 'dist', 'index.html'), '<html>\n')
  await copyFile(join(server.dataFolder, 'signer', 'key.pub'), join(full, 'log.pub'))
  await mustRun('artifact upload db.dump turtle-db/7 --receipt db.dump.tlog-proof')
  await mustRun('artifact upload dist turtle-db/7/logs')
})
afterAll(async () => {
  await cli[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function mustRun(line: string, folder = full): Promise<string> {
  const { exit, stdout, stderr } = await shell.run(`set -o pipefail; ${line}`, folder)
  expect(`${line}\n${stderr}exit ${exit}`).toBe(`${line}\n${stderr}exit 0`)
  return stdout
}

const examples = await Promise.all(
  clientCommands.map(async ({ name, load }) => ({ name, lines: (await load()).examples })),
)

describe.each(examples)('examples of artifact $name', ({ name, lines }) => {
  it.each(lines)('run: $line', async ({ line }) => {
    await mustRun(await prepare(line), name === 'get' ? empty : full)
  })
})

/** Makes what the example is about, where that does not last. */
async function prepare(line: string): Promise<string> {
  if (line.startsWith('artifact abort')) {
    const [, , reference = ''] = line.split(' ')
    const [task, run, name] = reference.split('/')
    const body = { id: crypto.randomUUID(), task, run: Number(run), name }
    expect((await server.request('POST', '/v1/uploads', { body })).status).toBe(201)
  }
  // The receipt of the beginning is there, and is of what the other examples get.
  if (line.includes('--receipt') && line.startsWith('artifact upload')) return `${line} --force`
  if (line.startsWith('artifact lock check')) await mustRun('artifact lock add turtle-db/7/db.dump')
  if (line.startsWith('artifact token revoke')) {
    const made = await mustRun('artifact token create --json --name leaked --scope admin')
    return `artifact token revoke ${JSON.parse(made).token.id}`
  }
  return line
}
