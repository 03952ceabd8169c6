import { readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, getRun, upload, verifyFile } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { fetchClaim } from '../../client/transfer/record.ts'
import type { TrustNotice } from '../../client/trust/history.ts'
import { openKnownLogs, rememberForNow } from '../../client/trust/known-logs.ts'
import { openTrust, type TrustOptions } from '../../client/trust/trust.ts'
import { openCheckpoint } from '../../client/verify/checkpoint.ts'
import { judgeEvidence, parseEvidence } from '../../client/verify/history.ts'
import type { NoteKey, NoteSigner } from '../../client/verify/note-key.ts'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { parsePolicy, trustLog } from '../../client/verify/policy.ts'
import { parseReceipt } from '../../client/verify/proof.ts'
import { CHECKS, LOG_CHECKS } from '../../client/verify/verifier.ts'
import { formatProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { makeBytes } from '../support/content.ts'
import { forgeDelivery } from '../support/delivery.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { type ForgedLog, forgeLog, stealSigner } from '../support/forged-log.ts'
import { EAST_SIGNER, testSigner } from '../support/log-keys.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

let server: TestServer
let proxy: FaultProxy
let work: WorkFolder
let connection: Connection
let signer: NoteSigner
let key: NoteKey
/** Receipts of `log/0` to `log/4`, as they were given at the seal. */
const receipts: string[] = []

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  proxy = await startFaultProxy(server.url)
  work = await makeWorkFolder()
  const timing = { retryFirstMs: 1, retryMaxMs: 5 }
  connection = connect({ url: proxy.url, token: server.token, timing })
  signer = await stealSigner(server.dataFolder)
  key = signer.key
  for (let run = 0; run < 5; run++) {
    await writeFile(work.at('file'), makeBytes(100_000 + run, `file ${run}`))
    const { receipt } = await upload(connection, { file: work.at('file') }, { task: 'log', run })
    receipts.push(receipt ?? '')
  }
})

afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

beforeEach(() => {
  proxy.fault = () => undefined
  proxy.seen.length = 0
})

const signal = new AbortController().signal
const claimOf = (run: number) => fetchClaim(connection, { task: 'log', run, name: 'file' }, signal)

/** A trust that has seen the log, with the receipt of the seal of this run, and what it told. */
async function meet(run: number, options: TrustOptions = {}) {
  const notices: TrustNotice[] = []
  const known = options.known ?? rememberForNow()
  const trust = openTrust(connection, {
    ...options,
    known,
    onNotice: (notice) => notices.push(notice),
  })
  await trust.vouch(await claimOf(run), { receipt: receipts[run] })
  return { trust, known, notices }
}

/** Answers with the files of a forged log, and this receipt for every artifact. */
function show(forged: ForgedLog | undefined, receipt: string): void {
  proxy.fault = ({ path }) => {
    if (path.endsWith('/receipt')) return { kind: 'answer', status: 200, body: receipt }
    return forged?.answer(path)
  }
}

const leafOf = (run: number) => parseReceipt(receipts[run] ?? '').extra ?? new Uint8Array()
const leaves = () => receipts.map((_, run) => leafOf(run))

describe('vouch()', () => {
  it('pins the key at the first contact, says so once, and asks for it no more', async () => {
    const { trust, known, notices } = await meet(4)
    expect(notices).toEqual([{ kind: 'first-contact', url: proxy.url, key: expect.anything() }])
    expect(formatNoteKey((await known.findKey(proxy.url)) ?? key)).toBe(formatNoteKey(key))
    proxy.seen.length = 0
    const again = await meet(4, { known })
    expect(again.notices).toEqual([])
    expect(proxy.seen.map(({ path }) => path)).not.toContain('/v1/log')
    const { checks, head } = await trust.vouch(await claimOf(0))
    expect(checks).toEqual(LOG_CHECKS)
    expect(head?.size).toBeGreaterThanOrEqual(5)
  })

  it('joins a newer head to the one that was seen, and remembers it', async () => {
    const { trust, known } = await meet(1)
    const before = await known.findHead(key)
    await trust.vouch(await claimOf(2))
    expect(before?.size).toBe(2)
    expect((await known.findHead(key))?.size).toBeGreaterThanOrEqual(5)
  })

  it('takes an older receipt while the server shows a newer head', async () => {
    const { trust, known } = await meet(4)
    const { checks } = await trust.vouch(await claimOf(0), { receipt: receipts[0] })
    expect(checks).toEqual(LOG_CHECKS)
    expect((await known.findHead(key))?.size).toBeGreaterThanOrEqual(5)
  })

  it.each([
    ['the digest', 'sha256'],
    ['the size', 'sizeBytes'],
    ['the type', 'contentType'],
    ['the time', 'sealedAt'],
    ['the policy', 'policy'],
  ] as const)('refuses a record of which %s is not in the log', async (_, field) => {
    const { trust } = await meet(0)
    const claim = await claimOf(0)
    const other = { ...(await claimOf(1)).record, contentType: 'a/b', policy: 'parts' as const }
    const record = { ...claim.record, [field]: other[field] }
    await expect(trust.vouch({ ...claim, record })).rejects.toMatchObject({ code: 'log_record' })
  })

  it('refuses part digests and labels that are not in the log', async () => {
    const { trust } = await meet(0)
    const claim = await claimOf(0)
    const parts = claim.parts.toReversed()
    const record = { ...claim.record, labels: { host: 'pg1' } }
    await expect(trust.vouch({ ...claim, parts })).rejects.toMatchObject({ code: 'log_record' })
    await expect(trust.vouch({ ...claim, record })).rejects.toMatchObject({ code: 'log_record' })
  })

  it('refuses the receipt of another artifact', async () => {
    const { trust } = await meet(0)
    const other = trust.vouch(await claimOf(0), { receipt: receipts[1] })
    await expect(other).rejects.toMatchObject({ code: 'log_record' })
  })

  it('refuses a server that was met with a log and says that it has none', async () => {
    const { known } = await meet(0)
    const problem = { kind: 'answer', status: 404, body: absent() } as const
    proxy.fault = ({ path }) => (/log$|receipt$/.test(path) ? problem : undefined)
    const trust = openTrust(connection, { known })
    await expect(trust.vouch(await claimOf(0))).rejects.toMatchObject({ code: 'log_missing' })
    const fresh = openTrust(connection)
    await expect(fresh.vouch(await claimOf(0))).resolves.toEqual({ checks: [] })
    const demanding = fresh.vouch(await claimOf(0), { demand: true })
    await expect(demanding).rejects.toMatchObject({ code: 'log_missing' })
  })

  it('refuses another key, of the same origin too', async () => {
    const { known } = await meet(4)
    const forged = forgeLog(leaves(), testSigner(key.name, 'note', 7))
    show(forged, await forged.receipt(0))
    const trust = openTrust(connection, { known })
    await expect(trust.vouch(await claimOf(0))).rejects.toMatchObject({ code: 'log_signature' })
  })

  it('trusts a key that is given more than the pinned one, once it has proved itself', async () => {
    const known = rememberForNow()
    const stranger = testSigner('example.com/old', 'note', 7).key
    await known.swapKey(proxy.url, undefined, stranger)
    await expect(meet(0, { known })).rejects.toMatchObject({ code: 'log_signature' })
    const wrong = meet(0, { known, policy: trustLog(stranger) })
    await expect(wrong).rejects.toMatchObject({ code: 'log_signature' })
    const { notices } = await meet(0, { known, policy: trustLog(key) })
    expect(notices).toMatchObject([{ kind: 'key-replaced', before: { name: 'example.com/old' } }])
    await expect(meet(0, { known })).resolves.toMatchObject({ notices: [] })
  })

  it('demands the cosignatures of a policy', async () => {
    const witness = `witness east ${formatNoteKey(EAST_SIGNER.key)}`
    const policy = parsePolicy(`log ${formatNoteKey(key)}\n${witness}\nquorum east\n`)
    await expect(meet(0, { policy })).rejects.toMatchObject({ code: 'log_policy' })
  })
})

describe('vouch() of a log that went back', () => {
  it('refuses it, and keeps both heads', async () => {
    const folder = work.at('rollback')
    const { trust, known, notices } = await meet(4, { known: openKnownLogs(folder) })
    const seen = await known.findHead(key)
    show(forgeLog(leaves().slice(0, 2), signer), receipts[1] ?? '')
    const claim = await claimOf(1)
    await expect(trust.vouch(claim)).rejects.toMatchObject({ code: 'log_rollback' })
    const evidence = notices.find(({ kind }) => kind === 'evidence')
    expect(evidence).toMatchObject({
      text: expect.stringMatching(/^artifact-log\/v1 rollback\nseen\n/),
    })
    const [name = ''] = (await readdir(folder)).filter((each) => each.startsWith('evidence-'))
    expect(await readFile(work.at('rollback', name), 'utf8')).toContain(`\t${key.name}\n\t2\n`)
    expect((await known.findHead(key))?.note).toBe(seen?.note)
    // What was found out once is not forgotten when the server behaves again.
    proxy.fault = () => undefined
    await expect(trust.vouch(claim)).rejects.toMatchObject({ code: 'log_rollback' })
  })

  it('bears with a server that lags behind', async () => {
    const { trust } = await meet(4)
    const lagging = forgeLog(leaves().slice(0, 2), signer)
    proxy.fault = ({ path, count }) =>
      path === '/checkpoint' && count < 4 ? lagging.answer(path) : undefined
    const { checks } = await trust.vouch(await claimOf(0), { receipt: receipts[0] })
    expect(checks).toEqual(LOG_CHECKS)
    expect(proxy.seen.filter(({ path }) => path === '/checkpoint')).not.toEqual([])
  })
})

describe('vouch() of a forked log', () => {
  it.each([
    ['larger than what was seen', 2, 5],
    ['as large', 4, 5],
    ['smaller', 4, 3],
  ])('refuses one that is %s, with evidence that convicts', async (_, seenRun, size) => {
    const { trust, known, notices } = await meet(seenRun)
    const seen = await known.findHead(key)
    const forged = forgeLog([leafOf(0), Buffer.from('another'), ...leaves().slice(2, size)], signer)
    const receipt = await forged.receipt(0)
    // A smaller fork is shown by somebody in between, who cannot hide the true head for ever.
    const isSmaller = size <= seenRun
    if (isSmaller)
      proxy.fault = ({ path }) =>
        path.endsWith('/receipt') ? { kind: 'answer', status: 200, body: receipt } : undefined
    else show(forged, receipt)
    await expect(trust.vouch(await claimOf(0))).rejects.toMatchObject({ code: 'log_fork' })
    const [notice] = notices.filter((one) => one.kind === 'evidence')
    const evidence = parseEvidence(notice?.text ?? '')
    expect(judgeEvidence(evidence, trustLog(key))).toBe('fork')
    expect([evidence.older, evidence.newer]).toContain(forged.note)
    expect((await known.findHead(key))?.note).toBe(seen?.note)
  })

  it('refuses one that only the anchor of a lock file knows to be another', async () => {
    const forged = forgeLog([Buffer.from('another'), ...leaves().slice(1, 3)], signer)
    const anchor = { key, head: openCheckpoint(forged.note, trustLog(key)) }
    await expect(meet(4, { anchor })).rejects.toMatchObject({ code: 'log_fork' })
  })

  it('refuses a head when the tiles that would join it are withheld', async () => {
    const { trust } = await meet(1)
    proxy.fault = ({ path }) =>
      path.startsWith('/tile/') ? { kind: 'answer', status: 404 } : undefined
    await expect(trust.vouch(await claimOf(2))).rejects.toMatchObject({ code: 'log_missing' })
  })
})

describe('get(), getRun() and verifyFile()', () => {
  it('check the log before a byte is taken', async () => {
    const { trust } = await meet(3)
    const forged = forgeLog([Buffer.from('another'), ...leaves().slice(1)], signer)
    const receipt = await forged.receipt(4)
    const body = await forgeDelivery(server, { task: 'log', run: 4, name: 'file' }, receipt)
    proxy.fault = ({ path }) =>
      path.includes('/delivery/') ? { kind: 'answer', status: 200, body } : forged.answer(path)
    const output = work.at('forked')
    const got = get(connection, { task: 'log', run: 4, name: 'file' }, { output, trust })
    await expect(got).rejects.toMatchObject({ code: 'log_fork' })
    expect(proxy.seen.filter(({ path }) => path.includes('/content/'))).toEqual([])
    expect(await readdir(work.path)).not.toContain('forked')
  })

  it('name every check that was made', async () => {
    const reference = { task: 'log', run: 4, name: 'file' }
    const all = [...CHECKS, ...LOG_CHECKS]
    const { checks } = await get(connection, reference, { output: work.at('got'), verify: true })
    expect(checks).toEqual(all)
    expect((await verifyFile(connection, work.at('got'), reference)).checks).toEqual(all)
  })

  it('join the history of a run once, however many artifacts it has', async () => {
    for (let at = 0; at < 20; at++) {
      await writeFile(work.at(`many-${at}`), makeBytes(1000, `many ${at}`))
      const target = { task: 'many', run: 0 }
      await upload(connection, { file: work.at(`many-${at}`) }, target)
    }
    const { trust } = await meet(2)
    proxy.seen.length = 0
    const { done, failed } = await getRun(connection, 'many', 0, work.at('run'), { trust })
    expect([done.length, failed.length]).toEqual([20, 0])
    expect(done.every(({ checks }) => checks.includes('history'))).toBe(true)
    expect(proxy.seen.filter(({ path }) => path.startsWith('/tile/')).length).toBeLessThan(5)
    expect(proxy.seen.filter(({ path }) => path.endsWith('/contents'))).toHaveLength(1)
    expect(proxy.seen.filter(({ path }) => path.endsWith('/receipt'))).toHaveLength(0)
  })
})

describe('upload()', () => {
  it('refuses a receipt that is not of what was uploaded', async () => {
    await writeFile(work.at('lied'), 'what was uploaded')
    const stranger = testSigner(key.name, 'note', 7)
    const { known } = await meet(0)
    const forged = forgeLog([Buffer.from('another')], stranger)
    proxy.fault = ({ path }) => (path.endsWith('/seal') ? undefined : forged.answer(path))
    const trust = openTrust(connection, { known, policy: trustLog(stranger.key) })
    const sent = upload(connection, { file: work.at('lied') }, { task: 'lied' }, { trust })
    await expect(sent).rejects.toMatchObject({ code: 'log_signature' })
  })

  it('waits for no receipt when told not to', async () => {
    await writeFile(work.at('hasty'), 'hasty')
    proxy.seen.length = 0
    const options = { receipt: false }
    const { receipt } = await upload(connection, { file: work.at('hasty') }, { task: 'h' }, options)
    expect(receipt).toBeUndefined()
    expect(proxy.seen.filter(({ path }) => /log|receipt/.test(path))).toEqual([])
  })

  it('gives the receipt of what was sealed before, too', async () => {
    await writeFile(work.at('twice'), 'twice')
    const target = { task: 'twice', run: 0 }
    const first = await upload(connection, { file: work.at('twice') }, target)
    const second = await upload(connection, { file: work.at('twice') }, target)
    expect(second.outcome).toBe('already-sealed')
    expect(parseReceipt(second.receipt ?? '').index).toBe(parseReceipt(first.receipt ?? '').index)
  })
})

function absent(): string {
  return JSON.stringify(formatProblem(new ArtifactError('log_absent', 'Cannot show the log'), 'id'))
}
