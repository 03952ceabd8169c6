/** What a person sees of a log that forked: the real command line, and a proxy that lies. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { judgeEvidence, parseEvidence } from '../../client/verify/history.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { parseReceipt } from '../../client/verify/proof.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { forgeDelivery } from '../support/delivery.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { forgeLog, stealSigner } from '../support/forged-log.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
let proxy: FaultProxy
let cli: Cli
beforeAll(async () => {
  server = await startTestServer({ signed: true })
  proxy = await startFaultProxy(server.url)
  cli = await openCli({ url: proxy.url, token: server.token })
})
afterAll(async () => {
  await cli[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** Uploads a file of this name and gives its leaf. */
async function uploadLeaf(name: string): Promise<Uint8Array> {
  const [file, receipt] = [join(cli.folder, name), join(cli.folder, `${name}.tlog-proof`)]
  await writeFile(file, `${name}\n`)
  const sent = await cli.run(['upload', file, `forked/0/${name}`, '--receipt', receipt])
  expect(sent).toMatchObject({ exit: 0 })
  return parseReceipt(await readFile(receipt)).extra ?? new Uint8Array()
}

/** Many at once, each with the receipt of the one in the middle. */
const forgeContents = (receipt: string) =>
  JSON.stringify({
    items: ['one', 'two', 'three'].map((name) => ({
      outcome: 'content',
      receipt,
      content: Buffer.from(`${name}\n`).toString('base64'),
    })),
  })

describe('artifact get', () => {
  it('ends with 3 when the log forked, shows the evidence and keeps it', async () => {
    const leaves = [await uploadLeaf('one'), await uploadLeaf('two'), await uploadLeaf('three')]
    const signer = await stealSigner(server.dataFolder)
    // Without the first artifact, as if it had never been sealed, and with another at its place.
    const forged = forgeLog(
      [Buffer.from('another'), ...leaves.slice(1), Buffer.from('one more')],
      signer,
    )
    const receipt = await forged.receipt(1)
    const target = { task: 'forked', run: 0, name: 'two' }
    const delivery = await forgeDelivery(server, target, receipt)
    proxy.fault = ({ path }) =>
      path.includes('/delivery/')
        ? { kind: 'answer', status: 200, body: delivery }
        : path.endsWith('/contents')
          ? { kind: 'answer', status: 200, body: forgeContents(receipt) }
          : forged.answer(path)
    const got = await cli.run(['get', 'forked/0/two', '-o', 'copy'])
    expect(got).toMatchObject({ exit: 3, stdout: '' })
    expect(got.stderr).toContain('(log_fork, exit 3)')
    expect(await readdir(cli.folder)).not.toContain('copy')
    const path = /^The evidence is kept in (.+)$/m.exec(got.stderr)?.[1] ?? ''
    expect(path.startsWith(join(cli.environment.XDG_STATE_HOME ?? '', 'artifact', 'logs'))).toBe(
      true,
    )
    const text = await readFile(path, 'utf8')
    expect(judgeEvidence(parseEvidence(text), trustLog(signer.key))).toBe('fork')
    expect(got.stderr).toContain(text)

    const run = await cli.run(['get', 'forked/0', '-o', 'all', '--json'])
    expect(run.exit).toBe(3)
    expect(run.stderr).toContain('"code":"log_fork"')

    proxy.fault = () => undefined
    expect(await cli.run(['get', 'forked/0/two', '-o', 'copy'])).toMatchObject({ exit: 0 })
  })

  it('ends with 3 when another key signs, and when the log is gone', async () => {
    await uploadLeaf('four')
    const target = { task: 'forked', run: 0, name: 'four' }
    const body = await forgeDelivery(server, target, null)
    proxy.fault = ({ path }) => {
      if (path.includes('/delivery/')) return { kind: 'answer', status: 200, body }
      return /\/receipt$|^\/v1\/log$/.test(path) ? { kind: 'answer', status: 404 } : undefined
    }
    const gone = await cli.run(['get', 'forked/0/four', '-o', 'gone'])
    expect(gone.exit).toBe(3)
    expect(await readdir(cli.folder)).not.toContain('gone')
  })
})
