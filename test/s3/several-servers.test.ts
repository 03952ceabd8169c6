/** Identical servers on one Postgres and one bucket, behind a balancer: state is in neither of them. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../client/api.ts'
import { connect } from '../../client/client.ts'
import { type Balancer, openBalancer } from '../support/balancer.ts'
import { getTestS3 } from '../support/ceph.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { openS3Site, type S3Site } from '../support/s3-site.ts'
import type { ServeProcess } from '../support/serve-process.ts'

const PART_BYTES = 5 * MIB

let stack: AsyncDisposableStack
let sites: [S3Site, S3Site]
let servers: [ServeProcess, ServeProcess]
let balancer: Balancer
let cli: Cli

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const database = stack.use(await createRealDatabase())
  const parts = { ...database, s3: getTestS3() }
  const settings = { 'part-size-bytes': String(PART_BYTES) }
  // The second one signs the log: the first one will die.
  const one = stack.use(await openS3Site({ ...parts, signerUrl: undefined }, settings))
  const other = stack.use(await openS3Site(parts, settings, one.prefix))
  sites = [one, other]
  // Both at once, on an empty database.
  const [first, second] = await Promise.all([one.site.serve(), other.site.serve()])
  servers = [stack.use(first), stack.use(second)]
  balancer = stack.use(await openBalancer([one.site.url, other.site.url]))
  cli = stack.use(await openCli({ url: balancer.url, token: one.site.token }))
})
afterAll(() => stack.disposeAsync())

const countOf = (endpoint: string) =>
  servers.map((server) => server.requests(endpoint).filter(({ status }) => status < 300).length)

describe('two servers', () => {
  it('take an upload in turns, request by request', async () => {
    const bytes = await writeBytes(join(cli.folder, 'big'), 12 * PART_BYTES, 'turns')
    const words = ['upload', 'big', 'turns/0', '--concurrency', '1']
    expect(await cli.run(words)).toMatchObject({ exit: 0, stdout: 'turns/0/big\n' })
    expect(Math.min(...countOf('requestGrants'))).toBeGreaterThan(0)
    const got = await cli.run(['get', 'turns/0/big', '-o', 'copy', '--verify'])
    expect(got).toMatchObject({ exit: 0 })
    expect((await readFile(join(cli.folder, 'copy'))).equals(bytes)).toBe(true)
  })

  it('seal on one what was opened on the other', async () => {
    const [one, other] = sites
    const bytes = await writeBytes(join(cli.folder, 'big'), 5 * PART_BYTES, 'moved')
    balancer.targets = [one.site.url]
    const held = one.gate.holdAfter('up', 3 * PART_BYTES)
    const words = ['upload', 'big', 'moved/0', '--concurrency', '1']
    await using upload = cli.start(words)
    expect(await Promise.race([held, upload.outcome])).toBeUndefined()
    balancer.targets = [other.site.url]
    one.gate.cut()
    const sealed = countOf('sealUpload')
    expect(await upload.outcome).toMatchObject({ exit: 0 })
    expect(countOf('sealUpload')).toEqual([sealed[0], (sealed[1] ?? 0) + 1])
    expect(await cli.run(['verify', 'big', 'moved/0/big'])).toMatchObject({ exit: 0 })
    expect(bytes.length).toBe(5 * PART_BYTES)
  })

  it('let each other see what happens', async () => {
    await writeBytes(join(cli.folder, 'seen'), 10, 'seen')
    const at = (site: S3Site) => ({ env: { ARTIFACT_URL: site.site.url } })
    await using watching = cli.start(['watch', 'seen', '--json'], at(sites[0]))
    await servers[0].says(/"endpoint":"watchEvents"/)
    expect(await cli.run(['upload', 'seen', 'seen/0'], at(sites[1]))).toMatchObject({ exit: 0 })
    await watching.sees('stdout', /"state":"sealed"/)
    watching.kill('SIGINT')
    expect((await watching.outcome).exit).toBe(130)
  })

  it('take over the seal from one that dies while it verifies', async () => {
    const [one, other] = sites
    const bytes = await writeBytes(join(cli.folder, 'big'), 5 * PART_BYTES, 'takeover')
    balancer.targets = [one.site.url]
    const held = one.gate.holdAfter('down', PART_BYTES)
    await using upload = cli.start(['upload', 'big', 'takeover/0'])
    expect(await Promise.race([held, upload.outcome])).toBeUndefined()
    await using connection = connect({ url: other.site.url, token: other.site.token })
    const query = { task: 'takeover', state: 'verifying' } as const
    expect((await call(connection, 'listUploads', { query })).items).toHaveLength(1)
    await servers[0].kill('SIGKILL')
    balancer.targets = [one.site.url, other.site.url]
    one.gate.cut()
    expect(await upload.outcome).toMatchObject({ exit: 0, stdout: 'takeover/0/big\n' })
    balancer.targets = [other.site.url]
    const got = await cli.run(['get', 'takeover/0/big', '-o', 'taken', '--verify'])
    expect(got).toMatchObject({ exit: 0 })
    expect((await readFile(join(cli.folder, 'taken'))).equals(bytes)).toBe(true)
  }, 120_000)
})
