/** What Ctrl-C, a request to end and a closed pipe do to the real program. */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OpenedUpload } from '../../schemas/upload.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openShell } from '../support/shell.ts'

let server: TestServer
let cli: Cli
beforeAll(async () => {
  server = await startTestServer()
  cli = await openCli(server)
})
afterAll(async () => {
  await cli[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** A server that accepts everything and never answers: a command that waits, for as long as needed. */
async function startSilentServer() {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port }: AddressInfo = addressOf(silent.address())
  const asked = new Promise<void>((resolve) => silent.once('request', () => resolve()))
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    [Symbol.dispose]() {
      silent.closeAllConnections()
      silent.close()
    },
  }
}

function addressOf(address: AddressInfo | string | null): AddressInfo {
  if (address === null || typeof address === 'string') throw new Error('no address')
  return address
}

describe('artifact, interrupted', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('says so at once at %s and exits with %i', async (signal, exit) => {
    using silent = await startSilentServer()
    await using running = cli.start(['ls', '--url', silent.url])
    await silent.asked
    running.kill(signal)
    const outcome = await running.outcome
    expect(outcome.stderr).toContain('artifact: stopping; once more to stop at once')
    expect(outcome.stderr).toContain(`(interrupted, exit ${exit})`)
    expect(outcome.stdout).toBe('')
    expect(outcome.exit).toBe(exit)
  })

  it('ends a watch with 130', async () => {
    await using running = cli.start(['watch', '--json'])
    const opened = { id: crypto.randomUUID(), task: 'watched', run: 0, name: 'a' }
    expect((await server.request('POST', '/v1/uploads', { body: opened })).status).toBe(201)
    await running.sees('stdout', /"watched\/0\/a"/)
    running.kill('SIGINT')
    expect((await running.outcome).exit).toBe(130)
  })

  it('ends the command that makes the data, and seals nothing', async () => {
    // More than a part, so that the upload is open; then nothing more.
    const script = 'process.stdout.write("x".repeat(2e5)); setInterval(() => {}, 1e6)'
    const words = ['--', process.execPath, '-e', script]
    const args = ['upload', '--stdin-from-command', 'stream/0/x', ...words]
    await using running = cli.start(args)
    const listOpen = async () => (await cli.run(['ls', '--uploads', 'stream'])).stdout
    await expect.poll(listOpen, { timeout: 30_000 }).toContain('stream/0/x')
    running.kill('SIGINT')
    expect((await running.outcome).exit).toBe(130)
    expect((await cli.run(['info', 'stream/0/x'])).exit).toBe(5)
    expect(await listOpen()).toBe('')
  })
})

describe('artifact watch', () => {
  it('follows an upload to its seal', async () => {
    const id = crypto.randomUUID()
    const body = { id, task: 'followed', run: 0, name: 'a' }
    expect((await server.request('POST', '/v1/uploads', { body })).status).toBe(201)
    await using running = cli.start(['watch', 'followed/0/a'])
    await running.sees('stdout', /open +followed\/0\/a/)
    const seal = {
      sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      sizeBytes: '0',
      parts: [],
    }
    await server.request('POST', `/v1/uploads/${id}/seal`, { body: seal })
    const outcome = await running.outcome
    expect(outcome.stdout).toMatch(/sealed +followed\/0\/a {2}0 B {2}e3b0c442/)
    expect(outcome.exit).toBe(0)
  })

  it('exits as the upload ends: 6 when it is aborted', async () => {
    const id = crypto.randomUUID()
    const body = { id, task: 'aborted', run: 0, name: 'a' }
    await server.request('POST', '/v1/uploads', { body })
    await using running = cli.start(['watch', id])
    await running.sees('stdout', /open/)
    expect((await cli.run(['abort', 'aborted/0/a'])).stdout).toBe(`${id}\n`)
    const outcome = await running.outcome
    expect(outcome.stdout).toMatch(/aborted +aborted\/0\/a/)
    expect(outcome.exit).toBe(6)
  })

  it('exits with 3 when the upload fails by its bytes', async () => {
    const id = crypto.randomUUID()
    const bodies = [Buffer.alloc(65_536, 1), Buffer.alloc(10, 2)]
    const parts = bodies.map((bytes, index) => ({
      number: index + 1,
      sizeBytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    }))
    const sizeBytes = '65546'
    const body = { id, task: 'failing', run: 0, name: 'a', sizeBytes, parts }
    const opened = OpenedUpload.parse((await server.request('POST', '/v1/uploads', { body })).body)
    if (opened.outcome !== 'open') throw new Error('sealed already')
    for (const { url, method, headers, number } of opened.grants) {
      const target = new URL(url, server.url)
      const reply = await fetch(target, { method, headers, body: bodies[number - 1] ?? null })
      expect(reply.ok).toBe(true)
    }
    await using running = cli.start(['watch', id, '--json'])
    await running.sees('stdout', /"open"/)
    const seal = { sha256: '0'.repeat(64), sizeBytes, parts }
    const { status } = await server.request('POST', `/v1/uploads/${id}/seal`, { body: seal })
    expect([202, 422]).toContain(status)
    const outcome = await running.outcome
    expect(outcome.exit).toBe(3)
    const lines = outcome.stdout.trimEnd().split('\n')
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({
      kind: 'upload',
      upload: { id, state: 'failed' },
    })
  })
})

describe('artifact, with a reader that goes', () => {
  it('ends without a word', async () => {
    for (let run = 0; run < 40; run++) {
      const body = { requestId: crypto.randomUUID() }
      await server.request('POST', '/v1/tasks/many/runs', { body })
    }
    const shell = await openShell(cli)
    const line = 'artifact ls many | head --lines 1; echo "$PIPESTATUS"'
    const { stdout, stderr } = await shell.run(line)
    expect(stdout).toMatch(/many\/39\n0\n$/)
    expect(stderr).toBe('')
  })
})

describe('artifact --help', () => {
  it('takes little time of the processor', async () => {
    const shell = await openShell(cli)
    await shell.run('artifact --help')
    const { stderr } = await shell.run('TIMEFORMAT=%U; time artifact --help > help.txt')
    expect(Number(stderr.trim())).toBeLessThan(0.4)
  })
})

describe('artifact upload, on a terminal', () => {
  it('draws a bar and leaves the reference as the last line', async () => {
    await writeFile(join(cli.folder, 'big.bin'), Buffer.alloc(24 * 1024 ** 2, 7))
    const shell = await openShell(cli)
    const { stdout, exit } = await shell.run(
      `script --quiet --return --command 'stty cols 100; artifact upload big.bin pty/0' /dev/null`,
    )
    expect(exit).toBe(0)
    expect(stdout).toMatch(/Sending {4}pty\/0\/big\.bin {2}\[=* *\] +\d+ %/)
    expect(stdout).toContain('Sealed pty/0/big.bin: 24.0 MiB in 384 parts')
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('pty/0/big.bin')
  })
})
