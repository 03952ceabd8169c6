import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AuditOptions, auditLog } from '../../client/audit/audit.ts'
import { type Connection, connect } from '../../client/transfer/connection.ts'
import { rememberForNow } from '../../client/trust/known-logs.ts'
import { formatLeaf, type Leaf, parseLeaf } from '../../client/verify/leaf.ts'
import type { NoteSigner } from '../../client/verify/note-key.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { appendLeaf, asOwner, rebuildTree, signAnything, stealKey } from '../support/tampering.ts'
import { makeContent, sealContent } from '../support/upload.ts'

/** A log of some leaves, an auditor beside it, and the means to do it harm. */
interface Scene extends AsyncDisposable {
  database: TestDatabase
  server: TestServer
  connection: Connection
  signer: NoteSigner
  folder: string
  seal(name: string): Promise<void>
  audit(options?: Partial<AuditOptions>): ReturnType<typeof auditLog>
  /** What an audit holds against the log: `check code`, each once. */
  accuse(options?: Partial<AuditOptions>): Promise<string[]>
}

async function openScene(leaves = 6): Promise<Scene> {
  await using stack = new AsyncDisposableStack()
  const database = stack.use(await createTestDatabase())
  const server = stack.use(await startTestServer({ database, signed: true }))
  const connection = stack.use(
    connect({
      url: server.url,
      token: server.token,
      timing: { retryFirstMs: 1, retryMaxMs: 2 },
    }),
  )
  const folder = await mkdtemp(join(tmpdir(), 'artifact-audit-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const signer = await stealKey(server.dataFolder)
  const seal = async (name: string) => {
    const [task = '', run = '', ...rest] = name.split('/')
    const target = { task, run: Number(run), name: rest.join('/') }
    await sealContent(server, target, makeContent(100, name))
  }
  const audit = (options: Partial<AuditOptions> = {}) =>
    auditLog(connection, {
      policy: trustLog(signer.key),
      folder,
      known: rememberForNow(),
      ...options,
    })
  for (let start = 0; start < leaves; start += 16)
    await Promise.all(
      Array.from({ length: Math.min(16, leaves - start) }, (_, at) =>
        seal(`db/${((start + at) % 2) + 1}/file-${start + at}`),
      ),
    )
  const held = stack.move()
  return {
    database,
    server,
    connection,
    signer,
    folder,
    seal,
    audit,
    async accuse(options) {
      const { findings } = await audit(options)
      return [...new Set(findings.list.map(({ check, code }) => `${check} ${code}`))]
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

async function readLeafAt({ database }: Scene, index: number): Promise<Leaf> {
  const [row] = await database.admin<[{ leaf: Uint8Array }]>`
    select leaf from artifact.log_leaf where idx = ${index}`
  return parseLeaf(row.leaf)
}

describe('auditLog() of a log that is whole', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await openScene()
  })
  afterAll(() => scene[Symbol.asyncDispose]())

  it('finds nothing, and remembers the head', async () => {
    const report = await scene.audit({ full: true })
    expect(report.findings.list).toEqual([])
    expect(report).toMatchObject({ from: 0, leaves: 6, tiles: 1, records: 6 })
    expect((await readdir(scene.folder)).sort()).toEqual([
      expect.stringMatching(/^audit-[0-9a-f]{64}\.note$/),
      expect.stringMatching(/^audit-[0-9a-f]{64}\.sqlite$/),
    ])
    const [note = ''] = (await readdir(scene.folder)).filter((name) => name.endsWith('.note'))
    expect(await readFile(join(scene.folder, note), 'utf8')).toBe(report.head.note)
  })

  it('goes on where the last audit ended', async () => {
    await scene.audit()
    await scene.seal('db/2/later')
    const report = await scene.audit({ sinceLast: true })
    expect(report.findings.list).toEqual([])
    expect(report).toMatchObject({ from: 6, leaves: 1, records: 4 })
    expect(await scene.audit({ sinceLast: true })).toMatchObject({ from: 7, leaves: 0, records: 0 })
  })

  it('takes a head that somebody else keeps', async () => {
    const { head } = await scene.audit()
    await scene.seal('db/3/more')
    expect(await scene.accuse({ checkpoint: head.note })).toEqual([])
  })

  it('reads what is sealed while it runs', async () => {
    let sealing: Promise<void> | undefined
    const report = await scene.audit({
      onProgress: () => {
        sealing ??= scene.seal('db/1/meanwhile')
      },
    })
    await sealing
    expect(report.findings.list).toEqual([])
  })

  it('is refused the entries with a token that does not cover them', async () => {
    const token = await scene.server.createToken(['list:db/**'])
    await using connection = connect({ url: scene.server.url, token })
    const audit = auditLog(connection, {
      policy: trustLog(scene.signer.key),
      folder: scene.folder,
      known: rememberForNow(),
    })
    await expect(audit).rejects.toMatchObject({ code: 'forbidden' })
  })
})

describe('auditLog() of a log that was altered by who owns Postgres', () => {
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene()
    return () => scene[Symbol.asyncDispose]()
  })

  it('names a record that was edited', async () => {
    await asOwner(
      scene.database.admin,
      (tx) => tx`update artifact.artifact set content_type = 'text/html' where name = 'file-3'`,
    )
    const { findings } = await scene.audit()
    expect(findings.list).toHaveLength(1)
    expect(findings.list[0]).toMatchObject({
      check: 'records',
      code: 'log_record',
      message: expect.stringContaining('db/2/file-3'),
      found: 'text/html',
    })
  })

  it('names a part list that was edited, when asked for everything', async () => {
    const target = { task: 'db', run: 1, name: 'large' }
    await sealContent(scene.server, target, makeContent(100_000))
    await asOwner(
      scene.database.admin,
      (tx) => tx`
        update artifact.artifact set part_sha256s = decode(repeat('ab', 64), 'hex')
        where name = 'large'`,
    )
    expect(await scene.accuse()).toEqual([])
    expect(await scene.accuse({ full: true })).toEqual(['parts log_record'])
  })

  it('names a record without a leaf', async () => {
    await asOwner(
      scene.database.admin,
      (tx) => tx`
        update artifact.artifact set name = 'file-x' where name = 'file-3'`,
    )
    const { findings } = await scene.audit()
    expect(findings.list.map(({ message }) => message).join()).toMatch(
      /record of db\/2\/file-3.*leaf of db\/2\/file-x/,
    )
  })

  it('names a leaf that was edited with its record', async () => {
    const leaf = await readLeafAt(scene, 2)
    await forgeLeaf(scene, 2, { ...leaf, time: '2020-01-01T00:00:00.000Z' })
    const said = await scene.accuse()
    expect(said).toContain('tree log_fork')
    expect(said).toContain('tiles log_inclusion')
    expect(said).toContain('records log_record')
  })

  it('names the leaf when the hashes were left as they were', async () => {
    const leaf = await readLeafAt(scene, 2)
    await scene.database.admin`alter table artifact.log_leaf drop constraint log_leaf_check`
    await forgeLeaf(scene, 2, { ...leaf, time: '2020-01-01T00:00:00.000Z' }, { keepHash: true })
    const { findings } = await scene.audit()
    expect(findings.list.map(({ message }) => message).join()).toMatch(
      /leaf 2: it is not the one that was signed/,
    )
  })

  it('sees a tree that was built anew', async () => {
    const leaf = await readLeafAt(scene, 1)
    await forgeLeaf(scene, 1, { ...leaf, time: '2020-01-01T00:00:00.000Z' })
    await rebuildTree(scene.database.admin)
    expect(await scene.accuse()).toContain('tree log_fork')
  })

  it('sees a tree that was built anew and signed with the stolen key', async () => {
    await scene.audit()
    const leaf = await readLeafAt(scene, 1)
    await forgeLeaf(scene, 1, { ...leaf, time: '2020-01-01T00:00:00.000Z' })
    await appendLeaf(scene.database.admin, { ...leaf, name: 'db/1/new' }, 'db/1/new')
    await signAnything(scene.database.admin, scene.signer)
    await expectSize(scene, 7)
    const notices: string[] = []
    const said = await scene.accuse({ onNotice: ({ kind }) => notices.push(kind) })
    expect(said).toContain('history log_fork')
    expect(notices).toEqual(['evidence'])
  })

  it('sees a tail that was lost', async () => {
    await asOwner(scene.database.admin, async (tx) => {
      await tx`delete from artifact.log_leaf where idx >= 4`
    })
    expect(await scene.accuse()).toContain('entries log_malformed')
  })

  it('names a name that was sealed again behind a hidden row', async () => {
    const leaf = await readLeafAt(scene, 2)
    await appendLeaf(
      scene.database.admin,
      { ...leaf, time: '2026-01-01T00:00:00.000Z' },
      'db/1/hidden',
    )
    await signAnything(scene.database.admin, scene.signer)
    await expectSize(scene, 7)
    const { findings } = await scene.audit()
    expect(findings.list).toContainEqual(
      expect.objectContaining({
        check: 'names',
        expected: `${leaf.name} at leaf 2 alone`,
        found: `${leaf.name} at leaf 6 too`,
      }),
    )
  })

  it('names a removal of a leaf that seals another name', async () => {
    const leaf = await readLeafAt(scene, 2)
    const removal: Leaf = {
      kind: 'remove',
      name: leaf.name,
      of: 1,
      reason: 'retention',
      time: '2026-01-01T00:00:00.000Z',
      by: 'server',
    }
    await appendLeaf(scene.database.admin, removal, leaf.name)
    await signAnything(scene.database.admin, scene.signer)
    await expectSize(scene, 7)
    expect(await scene.accuse()).toEqual(['names log_record'])
  })

  it('remembers nothing of an audit that found something', async () => {
    await scene.audit()
    await scene.seal('db/1/more')
    await asOwner(
      scene.database.admin,
      (tx) => tx`update artifact.artifact set content_type = 'text/html' where name = 'file-3'`,
    )
    expect(await scene.accuse()).toEqual(['records log_record'])
    expect(await scene.accuse()).toEqual(['records log_record'])
    expect(await readdir(scene.folder)).toHaveLength(2)
  })
})

describe('auditLog() of a log with full tiles', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await openScene(260)
  })
  afterAll(() => scene[Symbol.asyncDispose]())

  it('compares every tile', async () => {
    const report = await scene.audit({ full: true })
    expect(report.findings.list).toEqual([])
    expect(report).toMatchObject({ leaves: 260, tiles: 3, records: 260 })
  })

  it('names a node that was edited', async () => {
    await asOwner(
      scene.database.admin,
      (tx) => tx`update artifact.log_node set hash = sha256('other') where level = 1`,
    )
    const { findings } = await scene.audit({ full: true })
    expect(findings.list.map(({ message }) => message)).toEqual([
      expect.stringContaining('tile/1/000.p/1: hash 0'),
    ])
  })
})

describe('artifact log verify', () => {
  let scene: Scene
  let cli: Cli
  beforeAll(async () => {
    scene = await openScene()
    cli = await openCli(scene.server)
  })
  afterAll(async () => {
    await cli[Symbol.asyncDispose]()
    await scene[Symbol.asyncDispose]()
  })

  it('vouches for the log, and shows its head', async () => {
    const shown = await cli.run(['log', 'show'])
    expect(shown).toMatchObject({ exit: 0, stdout: expect.stringContaining('6 leaves') })
    const verified = await cli.run(['log', 'verify', '--full'])
    expect(verified).toMatchObject({
      exit: 0,
      stdout: expect.stringMatching(/^ok 6 leaves, root /),
    })
    expect(verified.stderr).toContain('First contact')
    const again = await cli.run(['log', 'verify', '--since-last', '--json'])
    expect(JSON.parse(again.stdout)).toMatchObject({ ok: true, from: 6, leaves: 0 })
  })

  it('exits with 3, names what it found and keeps it', async () => {
    await asOwner(
      scene.database.admin,
      (tx) => tx`update artifact.artifact set content_type = 'text/html' where name = 'file-3'`,
    )
    const { exit, stdout, stderr } = await cli.run(['log', 'verify'])
    expect(exit).toBe(3)
    expect(stdout).toMatch(/^finding {3}records: .*db\/2\/file-3.*type/)
    const [, path = ''] = /The findings are kept in (.+)/.exec(stderr) ?? []
    expect(await readFile(path, 'utf8')).toContain('finding records log_record')
  })
})

async function forgeLeaf(
  { database }: Scene,
  index: number,
  leaf: Leaf,
  { keepHash = false } = {},
): Promise<void> {
  const bytes = Buffer.from(formatLeaf(leaf))
  await asOwner(database.admin, (tx) =>
    keepHash
      ? tx`update artifact.log_leaf set leaf = ${bytes} where idx = ${index}`
      : tx`update artifact.log_leaf set leaf = ${bytes}, leaf_hash = sha256('\\x00'::bytea || ${bytes}::bytea)
           where idx = ${index}`,
  )
}

/** Until the server shows a head of this size. */
async function expectSize({ server }: Scene, size: number): Promise<void> {
  await expect
    .poll(async () => String((await server.request('GET', '/checkpoint')).body).split('\n')[1])
    .toBe(String(size))
}
