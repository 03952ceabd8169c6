/**
 * Every byte of everything that a log answers, changed on its way: refused, or without any effect on
 * what the client then believes.
 */
import { writeFile } from 'node:fs/promises'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { fetchClaim, type RecordClaim } from '../../client/transfer/record.ts'
import { rememberForNow } from '../../client/trust/known-logs.ts'
import { openTrust } from '../../client/trust/trust.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../../client/verify/checkpoint.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { parseReceipt } from '../../client/verify/proof.ts'
import { LOG_CHECKS } from '../../client/verify/verifier.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { makeBytes } from '../support/content.ts'
import { readDelivery } from '../support/delivery.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { stealSigner } from '../support/forged-log.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

/** Enough leaves for nodes on several levels; the head seen is neither the newest nor a power of two. */
const LEAVES = 11
const SEEN = 6

let server: TestServer
let proxy: FaultProxy
let work: WorkFolder
let connection: Connection
let claim: RecordClaim
let seen: OpenedCheckpoint
let newest: OpenedCheckpoint
let old: string

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  proxy = await startFaultProxy(server.url)
  work = await makeWorkFolder()
  const timing = { retryFirstMs: 0, retryMaxMs: 0 }
  connection = connect({ url: proxy.url, token: server.token, timing })
  const { key } = await stealSigner(server.dataFolder)
  const heads: string[] = []
  for (let run = 0; run < LEAVES; run++) {
    await writeFile(work.at('file'), makeBytes(1000, `file ${run}`))
    const { receipt } = await upload(connection, { file: work.at('file') }, { task: 'log', run })
    heads.push(receipt ?? '')
  }
  const open = (receipt: string) => openCheckpoint(parseReceipt(receipt).checkpoint, trustLog(key))
  old = heads[3] ?? ''
  seen = open(heads[SEEN - 1] ?? '')
  newest = open(heads[LEAVES - 1] ?? '')
  const signal = new AbortController().signal
  claim = await fetchClaim(connection, { task: 'log', run: 3, name: 'file' }, signal)
})

afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

/** What a client that knows the log up to `seen` believes after one look; `receipt` as in `vouch()`. */
async function look(receipt: string | undefined, consistency?: readonly string[]) {
  const known = rememberForNow()
  await known.swapKey(proxy.url, undefined, seen.key)
  await known.swapHead(undefined, seen)
  // A connection of its own: it keeps no tiles of an earlier look.
  await using fresh = connect({
    url: proxy.url,
    token: server.token,
    timing: { retryFirstMs: 0, retryMaxMs: 0 },
  })
  const trust = openTrust(fresh, { known })
  try {
    const { checks } = await trust.vouch(claim, { receipt, consistency })
    const head = await known.findHead(seen.key)
    return { checks, size: head?.size, root: head && Buffer.from(head.root).toString('hex') }
  } catch (error) {
    const head = await known.findHead(seen.key)
    return { error, size: head?.size }
  }
}

/** The addresses of the log that one look asks for, with their answers. */
async function record(receipt: string | undefined): Promise<Map<string, Buffer>> {
  proxy.seen.length = 0
  await look(receipt)
  const paths = proxy.seen.map(({ path }) => path)
  const answers = new Map<string, Buffer>()
  for (const path of paths) {
    const headers = { authorization: `Bearer ${server.token}` }
    const reply = await request(server.url + path, { headers })
    answers.set(path, Buffer.from(await reply.body.arrayBuffer()))
  }
  return answers
}

/** One bit, and a byte less or a byte more. */
function* mutantsAt(bytes: Buffer, at: number): Generator<Buffer> {
  const flipped = Buffer.from(bytes)
  flipped[at] = (bytes[at] ?? 0) ^ (at % 2 === 0 ? 1 : 0x20)
  yield flipped
  const rest = bytes.subarray(at + 1)
  const doubled = bytes.subarray(at, at + 1)
  yield Buffer.concat([bytes.subarray(0, at), ...(at % 2 === 0 ? [] : [doubled, doubled]), rest])
}

const REFUSAL = expect.stringMatching(/^3 /)

function codeOf(error: unknown): string {
  return error instanceof ArtifactError ? `${error.row.exit} ${error.code}` : String(error)
}

describe('vouch() of answers with any byte changed', () => {
  it.each([
    ['the newest receipt, joined by tiles', undefined, ['/receipt', '/tile/']],
    ['an older receipt, and the newest head', 'old', ['/checkpoint', '/tile/']],
  ] as const)(
    'believes nothing else: %s',
    async (_, which, kinds) => {
      const receipt = which === undefined ? undefined : old
      proxy.fault = () => undefined
      const good = await look(receipt)
      const root = Buffer.from(newest.root).toString('hex')
      expect(good).toEqual({ checks: LOG_CHECKS, size: LEAVES, root })
      const answers = await record(receipt)
      for (const kind of kinds)
        expect([...answers.keys()].some((path) => path.includes(kind))).toBe(true)
      let tried = 0
      for (const [path, bytes] of answers)
        for (let at = 0; at < bytes.length; at++)
          for (const body of mutantsAt(bytes, at)) {
            proxy.fault = (one) =>
              one.path === path ? { kind: 'answer', status: 200, body } : undefined
            const found = await look(receipt)
            tried += 1
            // Either the very same belief, or a refusal that leaves the memory as it was.
            if (!('error' in found)) expect(found, `${path} at ${at}`).toEqual(good)
            else
              expect([codeOf(found.error), found.size], `${path} at ${at}`).toEqual([REFUSAL, SEEN])
          }
      expect(tried).toBeGreaterThan(1000)
    },
    300_000,
  )

  it('asks for tiles unless the proof that came along joins the heads', async () => {
    proxy.fault = () => undefined
    const target = { task: 'log', run: 3, name: 'file' }
    const { receipt, consistency = [] } = await readDelivery(server, target, { since: SEEN })
    const askedTiles = () => proxy.seen.some(({ path }) => path.startsWith('/tile/'))
    const lookAlong = async (proof: readonly string[]) => {
      proxy.seen.length = 0
      return [await look(receipt ?? undefined, proof), askedTiles()]
    }
    const root = Buffer.from(newest.root).toString('hex')
    const good = { checks: LOG_CHECKS, size: LEAVES, root }
    expect(consistency.length).toBeGreaterThan(1)
    expect(await lookAlong(consistency)).toEqual([good, false])
    // The very same belief, by tiles that are checked.
    for (const [at, text] of consistency.entries()) {
      const hash = Buffer.from(text, 'base64')
      for (let place = 0; place < hash.length; place++) {
        const other = Buffer.from(hash)
        other[place] = (hash[place] ?? 0) ^ 1
        const changed = consistency.with(at, other.toString('base64'))
        expect(await lookAlong(changed), `${at} at ${place}`).toEqual([good, true])
      }
      expect(await lookAlong(consistency.toSpliced(at, 1))).toEqual([good, true])
      expect(await lookAlong(consistency.toSpliced(at, 0, text))).toEqual([good, true])
    }
    // Nor does it help a log that forked.
    proxy.fault = ({ path }) =>
      path.startsWith('/tile/') ? { kind: 'answer', status: 404 } : undefined
    expect(await look(receipt ?? undefined, consistency.slice(1))).toMatchObject({ size: SEEN })
  }, 120_000)
})
