/** A log and its witnesses together: real server, real signer, real witness. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { formatCheckpoint, openCheckpoint } from '../../client/verify/checkpoint.ts'
import { formatLeaf, parseLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import {
  formatNoteKey,
  type NoteKey,
  type NoteSigner,
  parseNoteKey,
} from '../../client/verify/note-key.ts'
import { formatPolicy, type Policy } from '../../client/verify/policy.ts'
import { checkReceipt, parseReceipt } from '../../client/verify/proof.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import { formatBase64 } from '../../client/verify/strict-text.ts'
import { createTreeBuilder } from '../../client/verify/tree-builder.ts'
import { createCosigner } from '../../server/log/cosign.ts'
import { signHead } from '../../server/log/signer.ts'
import { initSigner, openSigner } from '../../server/log/signer-folder.ts'
import { createLogger } from '../../server/logger.ts'
import { openDatabase } from '../../server/records/database.ts'
import { insertLogKey } from '../../server/records/log.ts'
import { createEntryAudit } from '../../server/witness/audit-entries.ts'
import { initWitness, openWitness } from '../../server/witness/witness-folder.ts'
import { listenAsWitness, type RunningWitness } from '../../server/witness/witness-server.ts'
import { openCli } from '../support/cli.ts'
import { createTestDatabase } from '../support/database.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { appendLeaf, stealKey } from '../support/tampering.ts'
import { addressOf, makeContent, sealContent } from '../support/upload.ts'

const ORIGIN = 'artifacts.example.com/log'
const silent = createLogger('silent', process.stderr)

let folder: string
let stack: AsyncDisposableStack

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-cosign-'))
  stack = new AsyncDisposableStack()
})
afterEach(async () => {
  await stack[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** A witness of a log, on a port of its choice. */
async function startWitness(
  logKey: NoteKey,
  { port = 0, audited }: { port?: number; audited?: { url: string; token: string } } = {},
): Promise<RunningWitness> {
  const { state, signer } = stack.use(await openWitness(join(folder, 'witness')))
  return stack.use(
    await listenAsWitness(
      {
        state,
        signer,
        logs: [logKey],
        clock: () => new Date(),
        audit: audited === undefined ? undefined : createEntryAudit(state, audited),
        onEvidence: async () => undefined,
      },
      { host: '127.0.0.1', port, log: silent },
    ),
  )
}

function policyOf(logKey: NoteKey, witnessKey: NoteKey, url: string): Policy {
  return {
    logs: [{ key: logKey }],
    witnesses: [{ name: 'w1', key: witnessKey, url }],
    groups: [],
    quorum: 'w1',
  }
}

async function readHead(server: TestServer): Promise<string> {
  return String((await server.request('GET', '/checkpoint')).body)
}

/** The signer of a log that a server is to have, and a policy with its witness. */
async function prepare(audits: boolean) {
  const witnessKey = parseNoteKey(await initWitness(join(folder, 'witness'), 'w.example/1'))
  await initSigner(join(folder, 'data', 'signer'), ORIGIN)
  const signer = await stealKey(join(folder, 'data'))
  const database = stack.use(await createTestDatabase())
  const policyFile = join(folder, 'policy')
  const start = (url: string) =>
    writeFile(policyFile, formatPolicy(policyOf(signer.key, witnessKey, url))).then(() =>
      startTestServer({
        database,
        signed: true,
        dataFolder: join(folder, 'data'),
        settings: { witnessPolicyFile: policyFile },
      }),
    )
  if (!audits) {
    const witness = await startWitness(signer.key)
    const server = stack.use(await start(witness.url))
    return {
      witness,
      server,
      signer,
      database,
      policyFile,
      policy: policyOf(signer.key, witnessKey, witness.url),
    }
  }
  // Each has to know the address of the other.
  const port = await freePort(signer.key)
  const server = stack.use(await start(`http://127.0.0.1:${port}`))
  const audited = { url: server.url, token: server.token }
  const witness = await startWitness(signer.key, { port, audited })
  return {
    witness,
    server,
    signer,
    database,
    policyFile,
    policy: policyOf(signer.key, witnessKey, witness.url),
  }
}

async function freePort(logKey: NoteKey): Promise<number> {
  await initWitness(join(folder, 'scout'), 'scout.example')
  await using scout = await openWitness(join(folder, 'scout'))
  const parts = {
    ...scout,
    logs: [logKey],
    clock: () => new Date(),
    onEvidence: async () => undefined,
  }
  await using running = await listenAsWitness(parts, { host: '127.0.0.1', port: 0, log: silent })
  return Number(new URL(running.url).port)
}

describe('a log with a witness', () => {
  it('shows heads and receipts that a policy with a quorum accepts', async () => {
    const { server, policy, policyFile } = await prepare(false)
    const target = { task: 'db', run: 1, name: 'one' }
    await sealContent(server, target, makeContent(100))
    await sealContent(server, { ...target, name: 'two' }, makeContent(100))
    const receipt = await server.request('GET', `${addressOf(target)}/receipt`)
    const checked = checkReceipt(parseReceipt(String(receipt.body)), undefined, policy)
    expect(checked.checkpoint.cosignatures).toHaveLength(1)
    expect(openCheckpoint(await readHead(server), policy).size).toBe(2)
    await using cli = await openCli(server)
    const shown = await cli.run(['log', 'show', '--log-policy', policyFile])
    expect(shown).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^cosigned {4}w1 at /m) })
    const verified = await cli.run(['log', 'verify', '--log-policy', policyFile])
    expect(verified).toMatchObject({ exit: 0, stdout: expect.stringContaining('ok 2 leaves') })
  })

  it('lets a witness read the entries of a head before it is published', async () => {
    const { server, policy } = await prepare(true)
    await sealContent(server, { task: 'db', run: 1, name: 'one' }, makeContent(100))
    await expect
      .poll(
        async () =>
          openCheckpoint(await readHead(server), { ...policy, quorum: 'none' }).cosignatures.length,
        { timeout: 30_000, interval: 200 },
      )
      .toBe(1)
  })

  it('gets no cosignature for a name that is sealed twice, even with the stolen key', async () => {
    const { server, signer, database, witness, policy } = await prepare(true)
    await sealContent(server, { task: 'db', run: 1, name: 'one' }, makeContent(100))
    await expect
      .poll(
        async () =>
          openCheckpoint(await readHead(server), { ...policy, quorum: 'none' }).cosignatures.length,
        { timeout: 30_000, interval: 200 },
      )
      .toBe(1)
    const [row] = await database.admin<[{ leaf: Uint8Array }]>`
      select leaf from artifact.log_leaf where idx = 0`
    const leaf = { ...parseLeaf(row.leaf), time: '2026-12-01T00:00:00.000Z' }
    await appendLeaf(database.admin, leaf, 'db/1/hidden')
    const { note, proof } = signPair(row.leaf, formatLeaf(leaf), signer)
    const body = `old 1\n${proof}\n\n${note}`
    const reply = await fetch(`${witness.url}/add-checkpoint`, { method: 'POST', body })
    expect(reply.status).toBe(422)
    expect(await reply.text()).toMatch(/leaf 1: it seals a name again/)
  })
})

/** The head of two leaves, and the proof that it continues the first one. */
function signPair(first: Uint8Array, second: Uint8Array, signer: NoteSigner) {
  const tree = createTreeBuilder()
  for (const leaf of [first, second]) tree.append(hashLeaf(leaf))
  return {
    note: signNote(formatCheckpoint({ origin: ORIGIN, ...tree.head() }), [signer]),
    proof: formatBase64(hashLeaf(second)),
  }
}

describe('signHead() with a witness that does not answer', () => {
  it('publishes without it, and again with its cosignature', async () => {
    const witnessKey = parseNoteKey(await initWitness(join(folder, 'witness'), 'w.example/1'))
    await initSigner(join(folder, 'signer'), ORIGIN)
    const { state, signer } = stack.use(await openSigner(join(folder, 'signer')))
    const port = await freePort(signer.key)
    const database = stack.use(await createTestDatabase())
    const { sql } = stack.use(await openDatabase({ url: database.signerUrl }))
    await insertLogKey(sql, ORIGIN, formatNoteKey(signer.key))
    const url = `http://127.0.0.1:${port}`
    const policy = policyOf(signer.key, witnessKey, url)
    const faults: string[] = []
    const cosigner = createCosigner(policy.witnesses, {
      onFault: (name) => faults.push(name),
      restMs: 0,
    })
    const parts = { sql, state, signer, cosigner }
    const alone = await signHead(parts)
    expect(openCheckpoint(alone ?? '', { ...policy, quorum: 'none' }).cosignatures).toEqual([])
    expect(await signHead(parts)).toBeUndefined()
    expect(faults).toEqual(['w1', 'w1'])
    await startWitness(signer.key, { port })
    const cosigned = await signHead(parts)
    expect(openCheckpoint(cosigned ?? '', policy).cosignatures).toHaveLength(1)
    expect(await signHead(parts)).toBeUndefined()
    const rows = await database.admin<{ cosignatures: number }[]>`
      select cosignatures from artifact.log_checkpoint order by cosignatures`
    expect(rows.map((row) => row.cosignatures)).toEqual([0, 1])
  })

  it('does not take a cosignature by another key', async () => {
    const witnessKey = parseNoteKey(await initWitness(join(folder, 'other'), 'w.example/1'))
    await initWitness(join(folder, 'witness'), 'w.example/1')
    await initSigner(join(folder, 'signer'), ORIGIN)
    const { state, signer } = stack.use(await openSigner(join(folder, 'signer')))
    const { url } = await startWitness(signer.key)
    const database = stack.use(await createTestDatabase())
    const { sql } = stack.use(await openDatabase({ url: database.signerUrl }))
    const faults: unknown[] = []
    const cosigner = createCosigner(policyOf(signer.key, witnessKey, url).witnesses, {
      onFault: (_, error) => faults.push(error),
    })
    const note = await signHead({ sql, state, signer, cosigner })
    expect(note?.match(/^\u2014 /gm)).toHaveLength(1)
    expect(faults).toEqual([expect.objectContaining({ code: 'log_signature' })])
  })
})
