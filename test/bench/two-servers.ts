/**
 * Control traffic through one server process and through two, over one Postgres and one bucket:
 *
 *     npm run bench:scale -- --servers [--clients 16] [--seconds 4] [--rounds 2] [--share 0.25]
 *
 * Two servers have twice the clients, so that each has as much to do as one alone. Reading, a client gets a record and a grant for its bytes, over and over; writing, it opens an upload
 * (with its grant) and reports progress. It uses the servers by a list of addresses, one after the
 * other. All programs share the cores of this machine, so each server is held to a share of one core:
 * two of them then have what a second machine would bring. Without the share all compete, and only
 * what the same work costs can be compared. Nothing is asserted.
 *
 * One and two have the same chances: both servers are warmed up before they are held, one alone is now
 * this one and now that one, first comes now one and now two, and every round has a token of its own,
 * since opening counts what a token has open already. What the whole machine did is told too: where it
 * is busy, it is not the servers that are measured.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { z } from 'zod'
import { newUploadId } from '../../client/transfer/upload-id.ts'
import { type Grant, OpenedUpload } from '../../schemas/upload.ts'
import { openDatabase } from '../../server/records/database.ts'
import { startEmbeddedPostgres } from '../../server/records/embedded-postgres.ts'
import { prepareDatabase } from '../../server/records/roles.ts'
import { openSite } from '../support/serve-process.ts'
import { type CpuShare, openCpuShare } from './cpu-share.ts'
import { readMachineCpuSeconds, readTreeCpuSeconds } from './process-tree.ts'
import { startStore } from './store.ts'

export interface ServersOptions {
  /** For each server, at a time. */
  clients: number
  seconds: number
  rounds: number
  /** Of one core, for each server. */
  share: number
  /** For the database; it is made there, and stays. */
  folder: string
  say: (line: string) => void
}

/** What the clients do; writing ends in commits, which wait for the disk of Postgres. */
const KINDS = ['read', 'write'] as const
type Kind = (typeof KINDS)[number]

/** What some servers did in one round. */
export interface ServersSample {
  kind: Kind
  servers: number
  isHeld: boolean
  requests: number
  seconds: number
  serverCpuSeconds: number[]
  postgresCpuSeconds: number
  clientCpuSeconds: number
  /** Of everything that runs on this machine. */
  machineCpuSeconds: number
}

interface Running {
  url: string
  pid: number
  adminToken: string
}

/** Measures one and two in turns: held to the share, and then free. */
export async function measureServers(options: ServersOptions): Promise<ServersSample[]> {
  await using stack = new AsyncDisposableStack()
  const postgres = stack.use(
    await startEmbeddedPostgres({ folder: join(options.folder, 'postgres') }),
  )
  const postgresPid = await readPostmaster(options.folder)
  await prepare(postgres.adminUrl, postgres)
  const store = stack.use(await startStore({ gib: 1 }))
  const { account } = store
  const settings = {
    store: `s3://${account.bucket}/servers`,
    's3-endpoint': account.endpoint,
    's3-region': account.region,
    'log-level': 'warn',
    'reverify-days': '0',
    'open-uploads-max': '1000000',
  }
  const env = {
    ARTIFACT_DATABASE_URL: postgres.serverUrl,
    AWS_ACCESS_KEY_ID: account.accessKeyId,
    AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
  }
  const samples: ServersSample[] = []
  for (const isHeld of [true, false]) {
    await using few = new AsyncDisposableStack()
    const running: Running[] = []
    const shares: CpuShare[] = []
    for (const index of [0, 1]) {
      const site = few.use(await openSite({ settings, env }))
      // Groups go after their processes.
      const share = isHeld ? openCpuShare(`artifact-bench-${index}`, options.share) : undefined
      if (share !== undefined) shares.push(few.use(share))
      const server = few.use(await site.serve())
      running.push({ url: site.url, pid: server.child.pid ?? 0, adminToken: site.token })
    }
    if (isHeld && shares.length < running.length) {
      options.say('Servers cannot be held to a share of a core here.')
      continue
    }
    for (const kind of KINDS) await runRound(options, kind, running, postgresPid)
    for (const [index, share] of shares.entries()) share.hold(running[index]?.pid ?? 0)
    for (const kind of KINDS)
      for (let round = 0; round < options.rounds; round++) {
        const isTurned = round % 2 === 1
        for (const count of isTurned ? [2, 1] : [1, 2]) {
          const servers = isTurned ? running.slice(-count) : running.slice(0, count)
          samples.push({ ...(await runRound(options, kind, servers, postgresPid)), isHeld })
        }
      }
  }
  return samples
}

/** Prints what was measured, one line for each kind of round. */
export function sayServers(samples: readonly ServersSample[], say: (line: string) => void): void {
  say(
    `\n${'servers'.padEnd(24)} requests/s    min–max  ms of CPU for a request: servers  Postgres  clients  cores busy`,
  )
  const titles = new Set(samples.map(titleOf))
  for (const title of titles) {
    const those = samples.filter((each) => titleOf(each) === title)
    const rates = those.map(({ requests, seconds }) => requests / seconds).toSorted((a, b) => a - b)
    const sum = (of: (sample: ServersSample) => number) =>
      those.reduce((total, each) => total + of(each), 0)
    const requests = sum((each) => each.requests)
    const cost = (of: (sample: ServersSample) => number) => ((1000 * sum(of)) / requests).toFixed(2)
    const rate = (at: number) => (rates.at(at) ?? 0).toFixed(0)
    say(
      [
        title.padEnd(24),
        rate(Math.floor(rates.length / 2)).padStart(10),
        `${rate(0)}–${rate(-1)}`.padStart(10),
        cost((each) => each.serverCpuSeconds.reduce((both, one) => both + one, 0)).padStart(33),
        cost((each) => each.postgresCpuSeconds).padStart(9),
        cost((each) => each.clientCpuSeconds).padStart(8),
        (sum((each) => each.machineCpuSeconds) / sum((each) => each.seconds))
          .toFixed(2)
          .padStart(11),
      ].join(' '),
    )
  }
}

const titleOf = ({ kind, servers, isHeld }: ServersSample) =>
  `${kind}, ${servers} ${isHeld ? 'held' : 'free'}`

async function prepare(
  url: string,
  passwords: { serverPassword: string; signerPassword: string },
): Promise<void> {
  await using database = await openDatabase({ url })
  const { serverPassword, signerPassword } = passwords
  await prepareDatabase(database.sql, { serverPassword, signerPassword })
}

/** The first line of this file is the process id (PostgreSQL documentation, "Database File Layout"). */
async function readPostmaster(folder: string): Promise<number> {
  return Number.parseInt(
    await readFile(join(folder, 'postgres', 'data', 'postmaster.pid'), 'utf8'),
    10,
  )
}

async function runRound(
  { clients, seconds }: ServersOptions,
  kind: Kind,
  servers: readonly Running[],
  postgresPid: number,
): Promise<Omit<ServersSample, 'isHeld'>> {
  await using stack = new AsyncDisposableStack()
  const agent = new Agent({ connections: clients * servers.length, pipelining: 1 })
  stack.defer(() => agent.close())
  const [first] = servers
  if (first === undefined) throw new Error('no server')
  const token = await makeToken(agent, first)
  const sealed = await sealOne(agent, first.url, token)
  const cpuOf = () => servers.map(({ pid }) => readTreeCpuSeconds(pid))
  const [before, postgresBefore, machineBefore, own] = [
    cpuOf(),
    readTreeCpuSeconds(postgresPid),
    readMachineCpuSeconds(),
    process.cpuUsage(),
  ]
  const began = performance.now()
  const stopAt = began + seconds * 1000
  let requests = 0
  const client = async (_: unknown, first: number) => {
    for (let turn = first; performance.now() < stopAt; turn++) {
      const url = servers[turn % servers.length]?.url ?? ''
      const done = await talk[kind](agent, url, token, sealed)
      // Not in one expression: what was read before the wait would be written after it.
      requests += done
    }
  }
  await Promise.all(Array.from({ length: clients * servers.length }, client))
  const took = (performance.now() - began) / 1000
  const { user, system } = process.cpuUsage(own)
  return {
    kind,
    servers: servers.length,
    requests,
    seconds: took,
    serverCpuSeconds: cpuOf().map((after, at) => after - (before[at] ?? 0)),
    postgresCpuSeconds: readTreeCpuSeconds(postgresPid) - postgresBefore,
    clientCpuSeconds: (user + system) / 1e6,
    machineCpuSeconds: readMachineCpuSeconds() - machineBefore,
  }
}

/** A token that has nothing open. */
async function makeToken(agent: Agent, { url, adminToken }: Running): Promise<string> {
  const words = { name: 'a round', scopes: ['admin'], ttlSeconds: null }
  const made = await ask(agent, adminToken, 'POST', `${url}/v1/tokens`, words)
  return z.object({ secret: z.string() }).parse(made).secret
}

/** What one client asks of a server in one turn; each returns how many requests that were. */
const talk = {
  async read(agent: Agent, url: string, token: string, sealed: string): Promise<number> {
    await ask(agent, token, 'GET', `${url}/v1/tasks/servers/runs/0/artifacts/${sealed}`)
    await ask(agent, token, 'GET', `${url}/v1/tasks/servers/runs/0/content/${sealed}`)
    return 2
  },
  async write(agent: Agent, url: string, token: string): Promise<number> {
    const { id } = await open(agent, url, token)
    await ask(agent, token, 'PUT', `${url}/v1/uploads/${id}/progress`, {
      ...{ bytes: '1024', totalBytes: String(CONTENT.length), attempt: 1 },
    })
    return 2
  },
}

const CONTENT = Buffer.alloc(1_048_576, 'turtles all the way down')
const sha256 = createHash('sha256').update(CONTENT).digest('hex')
const parts = [{ number: 1, sizeBytes: CONTENT.length, sha256 }]
const sizeBytes = String(CONTENT.length)

/** Opens an upload; its id, which is its name too, and the grant for its only part. */
async function open(
  agent: Agent,
  url: string,
  token: string,
): Promise<{ id: string; grant: Grant }> {
  const id = newUploadId()
  const opened = OpenedUpload.parse(
    await ask(agent, token, 'POST', `${url}/v1/uploads`, {
      ...{ id, task: 'servers', run: 0, name: id, sizeBytes, sha256, parts },
    }),
  )
  const grant = opened.outcome === 'open' ? opened.grants[0] : undefined
  if (grant === undefined) throw new Error('no grant')
  return { id, grant }
}

/** An artifact to ask for; its name. */
async function sealOne(agent: Agent, url: string, token: string): Promise<string> {
  const { id, grant } = await open(agent, url, token)
  const { method, headers } = grant
  const put = await request(grant.url, { dispatcher: agent, method, headers, body: CONTENT })
  await put.body.dump()
  const claim = { sha256, sizeBytes, parts, receipt: false }
  await ask(agent, token, 'POST', `${url}/v1/uploads/${id}/seal`, claim)
  return id
}

async function ask(
  agent: Agent,
  token: string,
  method: 'GET' | 'POST' | 'PUT',
  url: string,
  body?: unknown,
): Promise<unknown> {
  const reply = await request(url, {
    dispatcher: agent,
    method,
    headers: {
      authorization: `Bearer ${token}`,
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
  })
  const text = await reply.body.text()
  if (reply.statusCode >= 400) throw new Error(`${method} ${url}: ${reply.statusCode} ${text}`)
  return text === '' ? undefined : JSON.parse(text)
}
