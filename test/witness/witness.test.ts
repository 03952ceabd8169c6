import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../client/verify/checkpoint.ts'
import type { ForkEvidence } from '../../client/verify/history.ts'
import { formatLeaf, type SealLeaf } from '../../client/verify/leaf.ts'
import { proveConsistency } from '../../client/verify/merkle.ts'
import { formatNoteKey, type NoteKey, parseNoteKey } from '../../client/verify/note-key.ts'
import type { Policy } from '../../client/verify/policy.ts'
import { formatBase64 } from '../../client/verify/strict-text.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { createLogger } from '../../server/logger.ts'
import type { WitnessParts } from '../../server/witness/add-checkpoint.ts'
import { createEntryAudit } from '../../server/witness/audit-entries.ts'
import { initWitness, openWitness } from '../../server/witness/witness-folder.ts'
import { listenAsWitness, type RunningWitness } from '../../server/witness/witness-server.ts'
import type { WitnessState } from '../../server/witness/witness-state.ts'
import { openCli } from '../support/cli.ts'
import { LOG_SIGNER, testSigner } from '../support/log-keys.ts'
import { buildStaticLog, type StaticLog, serveTiles } from '../support/static-log.ts'

const NAME = 'witness.example/w1'
const ORIGIN = LOG_SIGNER.key.name
const NOW = new Date('2026-11-21T22:16:58Z')
const silent = createLogger('silent', process.stderr)

/** A leaf that seals a name. */
function sealLeaf(name: string): SealLeaf {
  return {
    kind: 'seal',
    name,
    sha256: createHash('sha256').update(name).digest('hex'),
    sizeBytes: '3',
    partSizeBytes: 16_777_216,
    partsSha256: 'ab'.repeat(32),
    contentType: 'text/plain',
    labelsSha256: 'cd'.repeat(32),
    policy: 'reread',
    time: '2026-11-21T22:16:58.123Z',
    by: '3f2c8f0e-5d1b-4c55-9a83-0f3f6f1f2a10',
  }
}

const leavesOf = (names: readonly string[]) => names.map((name) => formatLeaf(sealLeaf(name)))
const namesOf = (count: number, prefix = 'db/1/file') =>
  Array.from({ length: count }, (_, at) => `${prefix}-${at}`)
const logOf = (names: readonly string[], signer = LOG_SIGNER) =>
  buildStaticLog(leavesOf(names), signer)

const noteOf = ({ files }: StaticLog) => Buffer.from(files.get('checkpoint') ?? '').toString()

/** What a log sends: the head, and the proof that it continues `old` leaves of the same log. */
async function requestFor(log: StaticLog, old: number): Promise<string> {
  const hasProof = old > 0 && old < log.head.size
  const proof = hasProof
    ? await proveConsistency(old, log.head.size, createTileReader(log.head, serveTiles(log.files)))
    : []
  return `old ${old}\n${proof.map((hash) => `${formatBase64(hash)}\n`).join('')}\n${noteOf(log)}`
}

let folder: string
let stack: AsyncDisposableStack
let witness: RunningWitness
let key: NoteKey
let evidence: ForkEvidence[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-witness-'))
  key = parseNoteKey(await initWitness(folder, NAME))
  evidence = []
  await start()
})
afterEach(async () => {
  await stack[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function start(
  more: Partial<WitnessParts> = {},
  wrap = (state: WitnessState): WitnessState => state,
): Promise<void> {
  stack = new AsyncDisposableStack()
  const { state, signer } = stack.use(await openWitness(folder))
  const parts: WitnessParts = {
    state: wrap(state),
    signer,
    logs: [LOG_SIGNER.key],
    clock: () => NOW,
    onEvidence: async (found) => void evidence.push(found),
    ...more,
  }
  witness = stack.use(await listenAsWitness(parts, { host: '127.0.0.1', port: 0, log: silent }))
}

async function restart(more?: Partial<WitnessParts>): Promise<void> {
  await stack[Symbol.asyncDispose]()
  await start(more)
}

async function post(body: string | Uint8Array) {
  const reply = await fetch(`${witness.url}/add-checkpoint`, {
    method: 'POST',
    body: Uint8Array.from(Buffer.from(body)),
  })
  return {
    status: reply.status,
    type: reply.headers.get('content-type'),
    text: await reply.text(),
  }
}

const offer = async (log: StaticLog, old: number) => post(await requestFor(log, old))

function policyOf(witnessKey: NoteKey): Policy {
  return {
    logs: [{ key: LOG_SIGNER.key }],
    witnesses: [{ name: 'w1', key: witnessKey }],
    groups: [],
    quorum: 'w1',
  }
}

describe('POST /add-checkpoint', () => {
  it('cosigns the first head of a log, so that a policy accepts it', async () => {
    const log = logOf(namesOf(3))
    const { status, text } = await offer(log, 0)
    expect(status).toBe(200)
    const opened = openCheckpoint(noteOf(log) + text, policyOf(key))
    expect(opened.cosignatures).toEqual([
      expect.objectContaining({ timeSeconds: NOW.getTime() / 1000 }),
    ])
    expect(() => openCheckpoint(noteOf(log), policyOf(key))).toThrow(
      expect.objectContaining({ code: 'log_policy' }),
    )
  })

  it('cosigns a head that continues the one before, and the same head again', async () => {
    await offer(logOf(namesOf(3)), 0)
    expect(await offer(logOf(namesOf(300)), 3)).toMatchObject({ status: 200 })
    expect(await offer(logOf(namesOf(300)), 300)).toMatchObject({ status: 200 })
  })

  it('answers 400 to what is no request', async () => {
    const good = await requestFor(logOf(namesOf(3)), 0)
    const line = `${formatBase64(new Uint8Array(32))}\n`
    for (const body of [
      '',
      'old 0\n',
      good.replace('old 0', 'old 00'),
      good.replace('old 0', 'old -1'),
      good.replace('old 0\n', 'old 0\nxyz\n'),
      good.replace('old 0\n', `old 0\n${line.repeat(64)}`),
      `old 0\n\n${ORIGIN}\n3\n`,
    ])
      expect(await post(body)).toMatchObject({ status: 400 })
    expect(await offer(logOf(namesOf(3)), 4)).toMatchObject({ status: 400 })
  })

  it('answers 403 to a head that the log has not signed, or signed wrongly', async () => {
    const other = testSigner(ORIGIN, 'note', 9)
    expect(await offer(logOf(namesOf(3), other), 0)).toMatchObject({ status: 403 })
    const good = await requestFor(logOf(namesOf(3)), 0)
    expect(await post(good.replace(`${ORIGIN}\n3\n`, `${ORIGIN}\n4\n`))).toMatchObject({
      status: 403,
    })
  })

  it('answers 404 to a log that it does not know', async () => {
    const unknown = testSigner('elsewhere.example/log', 'note', 9)
    expect(await offer(logOf(namesOf(3), unknown), 0)).toMatchObject({ status: 404 })
  })

  it('answers 405 to another method, 404 to another path, 413 to too much', async () => {
    const { url } = witness
    expect((await fetch(`${url}/add-checkpoint`)).status).toBe(405)
    expect((await fetch(`${url}/else`)).status).toBe(404)
    expect(await post('x'.repeat(100_000))).toMatchObject({ status: 413 })
  })

  it('answers 409 with the size that it knows', async () => {
    expect(await offer(logOf(namesOf(3)), 2)).toMatchObject({ status: 409, text: '0\n' })
    await offer(logOf(namesOf(3)), 0)
    expect(await offer(logOf(namesOf(5)), 0)).toEqual({
      status: 409,
      type: 'text/x.tlog.size',
      text: '3\n',
    })
  })

  it('refuses a rollback', async () => {
    await offer(logOf(namesOf(5)), 0)
    expect(await offer(logOf(namesOf(3)), 0)).toMatchObject({ status: 409, text: '5\n' })
    expect(await offer(logOf(namesOf(3)), 5)).toMatchObject({ status: 400 })
    expect(await offer(logOf(namesOf(3)), 3)).toMatchObject({ status: 409, text: '5\n' })
  })

  it('answers 422 to a fork, and keeps what convicts the log', async () => {
    await offer(logOf(namesOf(5)), 0)
    expect(await offer(logOf(namesOf(5, 'db/2/other')), 5)).toMatchObject({ status: 422 })
    expect(evidence).toHaveLength(1)
    expect(await offer(logOf(namesOf(9, 'db/2/other')), 5)).toMatchObject({ status: 422 })
    expect(evidence).toHaveLength(2)
  })

  it('answers 422 to a proof that leads nowhere, and accuses nobody', async () => {
    await offer(logOf(namesOf(5)), 0)
    const good = await requestFor(logOf(namesOf(9)), 5)
    const [, hash = ''] = good.split('\n')
    expect(await post(good.replace(`${hash}\n`, ''))).toMatchObject({ status: 422 })
    expect(await post(good.replace(hash, formatBase64(new Uint8Array(32))))).toMatchObject({
      status: 422,
    })
    expect(evidence).toEqual([])
    expect(await post(good)).toMatchObject({ status: 200 })
  })

  it('answers 422 to a proof from nothing', async () => {
    const good = await requestFor(logOf(namesOf(3)), 0)
    const body = good.replace('old 0\n', `old 0\n${formatBase64(new Uint8Array(32))}\n`)
    expect(await post(body)).toMatchObject({ status: 422 })
  })

  it('cosigns one of two forks that come at once', async () => {
    await offer(logOf(namesOf(1)), 0)
    const forks = [3, 4, 5, 6].map((count) =>
      logOf(['db/1/file-0', ...namesOf(count, `db/${count}/x`)]),
    )
    const replies = await Promise.all(forks.map((fork) => offer(fork, 1)))
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(replies.filter(({ status }) => status === 409)).toHaveLength(3)
  })
})

describe('a witness that ends', () => {
  it('remembers what it cosigned', async () => {
    await offer(logOf(namesOf(5)), 0)
    await restart()
    expect(await offer(logOf(namesOf(7)), 0)).toMatchObject({ status: 409, text: '5\n' })
    expect(await offer(logOf(namesOf(7, 'db/2/other')), 5)).toMatchObject({ status: 422 })
    expect(await offer(logOf(namesOf(7)), 5)).toMatchObject({ status: 200 })
  })

  it('has kept the head when it dies before the answer', async () => {
    await stack[Symbol.asyncDispose]()
    await start({}, (state) => ({
      ...state,
      swapHead(...args) {
        state.swapHead(...args)
        throw new Error('the power fails')
      },
    }))
    expect(await offer(logOf(namesOf(5)), 0)).toMatchObject({ status: 500 })
    await restart()
    expect(await offer(logOf(namesOf(5, 'db/2/other')), 0)).toMatchObject({ status: 409 })
    expect(await offer(logOf(namesOf(5, 'db/2/other')), 5)).toMatchObject({ status: 422 })
    expect(await offer(logOf(namesOf(5)), 5)).toMatchObject({ status: 200 })
  })

  it('cosigns nothing that it could not keep', async () => {
    await stack[Symbol.asyncDispose]()
    await start({}, (state) => ({
      ...state,
      swapHead() {
        throw new Error('the disk is full')
      },
    }))
    const { status, text } = await offer(logOf(namesOf(5)), 0)
    expect(status).toBe(500)
    expect(text).not.toContain(NAME)
  })

  it('does not begin anew without its memory, and does not run twice', async () => {
    await expect(openWitness(folder)).rejects.toMatchObject({ code: 'locked' })
    await stack[Symbol.asyncDispose]()
    await rm(join(folder, 'state.sqlite'))
    await expect(openWitness(folder)).rejects.toMatchObject({ code: 'configuration' })
    await expect(initWitness(folder, NAME)).rejects.toMatchObject({ code: 'target_exists' })
  })
})

describe('GET /<origin>/checkpoint', () => {
  it('shows the newest head with its cosignature', async () => {
    const digest = createHash('sha256').update(ORIGIN).digest('hex')
    const address = () => `${witness.url}/${digest}/checkpoint`
    expect((await fetch(address())).status).toBe(404)
    await offer(logOf(namesOf(5)), 0)
    await restart()
    const note = await (await fetch(address())).text()
    expect(openCheckpoint(note, policyOf(key))).toMatchObject({ size: 5 })
  })
})

describe('a witness that audits', () => {
  let served: StaticLog
  let source: string

  beforeEach(async () => {
    const server = createServer((request, response) => {
      const bytes = served.files.get((request.url ?? '').slice(1))
      const isAllowed = request.headers.authorization === 'Bearer secret'
      response.writeHead(!isAllowed ? 401 : bytes === undefined ? 404 : 200)
      response.end(bytes)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    source = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
    return () => server[Symbol.asyncDispose]()
  })

  async function startAuditing(): Promise<void> {
    await stack[Symbol.asyncDispose]()
    stack = new AsyncDisposableStack()
    const { state, signer } = stack.use(await openWitness(folder))
    const parts: WitnessParts = {
      state,
      signer,
      logs: [LOG_SIGNER.key],
      clock: () => NOW,
      audit: createEntryAudit(state, { url: source, token: 'secret' }),
      onEvidence: async () => undefined,
    }
    witness = stack.use(await listenAsWitness(parts, { host: '127.0.0.1', port: 0, log: silent }))
  }

  it('cosigns a log whose names are sealed once', async () => {
    served = logOf(namesOf(300))
    await startAuditing()
    expect(await offer(served, 0)).toMatchObject({ status: 200 })
    served = logOf(namesOf(600))
    await startAuditing()
    expect(await offer(served, 300)).toMatchObject({ status: 200 })
  })

  it('refuses a log that seals a name twice, also after it was restarted', async () => {
    served = logOf(namesOf(300))
    await startAuditing()
    await offer(served, 0)
    await startAuditing()
    served = logOf([...namesOf(300), 'db/1/file-7'])
    const { status, text } = await offer(served, 300)
    expect(status).toBe(422)
    expect(text).toMatch(/leaf 300: it seals a name again/)
  })

  it('refuses entries that do not make the tree', async () => {
    served = logOf(namesOf(5))
    await startAuditing()
    expect(await offer(logOf(namesOf(5, 'db/2/other')), 0)).toMatchObject({ status: 422 })
  })

  it('waits when the entries cannot be read', async () => {
    served = logOf([])
    await startAuditing()
    expect(await offer(logOf(namesOf(5)), 0)).toMatchObject({ status: 503 })
    served = logOf(namesOf(5))
    expect(await offer(served, 0)).toMatchObject({ status: 200 })
  })
})

describe('artifact witness', () => {
  it('makes a witness, serves it, and remembers after kill -9', async () => {
    await using cli = await openCli()
    const made = await cli.run(['witness', 'init', NAME, '--state-dir', 'w'])
    expect(made.exit).toBe(0)
    const witnessKey = parseNoteKey(made.stdout.trim())
    await writeFile(join(cli.folder, 'log.key'), formatNoteKey(LOG_SIGNER.key))
    const args = ['witness', 'serve', '--state-dir', 'w', '--log', 'log.key', '--port', '0']
    const serve = async (running: ReturnType<typeof cli.start>) => {
      const seen = await running.sees('stderr', /witnesses at (http:\S+)/)
      const [, url = ''] = /witnesses at (http:\S+)/.exec(seen) ?? []
      return async (log: StaticLog, old: number) => {
        const body = await requestFor(log, old)
        const reply = await fetch(`${url}/add-checkpoint`, { method: 'POST', body })
        return { status: reply.status, text: await reply.text() }
      }
    }
    {
      await using running = cli.start(args)
      const ask = await serve(running)
      const { text } = await ask(logOf(namesOf(5)), 0)
      expect(openCheckpoint(noteOf(logOf(namesOf(5))) + text, policyOf(witnessKey)).size).toBe(5)
      running.kill('SIGKILL')
      await running.outcome
    }
    await using running = cli.start(args)
    const ask = await serve(running)
    expect(await ask(logOf(namesOf(6, 'db/2/other')), 0)).toMatchObject({ status: 409 })
    expect(await ask(logOf(namesOf(6, 'db/2/other')), 5)).toMatchObject({ status: 422 })
    const told = await running.sees('stderr', /kept in (\S+)/)
    const [, path = ''] = /kept in (\S+)/.exec(told) ?? []
    expect(await readFile(join(cli.folder, path), 'utf8')).toContain('artifact-log/v1 fork')
    running.kill('SIGTERM')
    expect((await running.outcome).exit).toBe(0)
  })
})
