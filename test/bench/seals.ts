/**
 * Seals per second through HTTP with authentication, on the embedded default of this machine:
 *
 *     npm run bench:seals -- [--clients 64] [--seconds 10] [--bytes 1024] [--rounds 1] [--warm 6]
 *         [--only WORD]
 *
 * Three ways in turns: one artifact by three requests (open with grant, PUT, seal), and batches of
 * 1 and of 100. Server, Postgres, signer and clients share the cores: so what a seal costs each of them
 * is told too, in milliseconds of CPU. A server that has just started takes half as much again, while V8
 * compiles what is used often: so each way is used for `--warm` seconds before any is measured (0: as
 * it is after a start). `--only` takes the beginning of a name. Nothing is asserted.
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Agent, request } from 'undici'
import { z } from 'zod'
import { OpenedUpload } from '../../schemas/upload.ts'
import { makePlace, startOwnServer } from '../support/own-server.ts'
import { readOwnCpuSeconds, readTreeCpuSeconds } from './process-tree.ts'

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '10' },
    bytes: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '1' },
    warm: { type: 'string', default: '6' },
    only: { type: 'string', default: '' },
  },
})
const clients = Number(values.clients)
const seconds = Number(values.seconds)
const bytes = Number(values.bytes)
const agent = new Agent({ connections: clients, pipelining: 1 })
const Profile = z.object({ url: z.string(), token: z.string() })

/** How artifacts are sealed, and how many by one turn of a client. */
const WAYS: readonly [name: string, artifacts: number, action: () => Promise<void>][] = [
  ['three requests', 1, sealOne],
  ['batch of 1', 1, () => sealMany(1)],
  ['batch of 100', 100, () => sealMany(100)],
]

await using place = await makePlace(join(import.meta.dirname, '..', '..', 'server', 'main.ts'))
await using server = await startOwnServer(place)
const { url, token } = Profile.parse(
  JSON.parse(await readFile(join(place.folder, 'config', 'artifact', 'profile.json'), 'utf8')),
)

process.stdout.write(
  `${clients} clients, ${bytes} bytes each\n${''.padEnd(16)}  seals/s   ms of CPU a seal: server  Postgres  clients\n`,
)
const ways = WAYS.filter(([name]) => name.startsWith(values.only))
for (const [, , action] of ways) await use(action, Number(values.warm))
for (let round = 0; round < Number(values.rounds); round++)
  for (const [name, artifacts, action] of ways) await measure(name, artifacts, action)
await agent.close()

/** Runs `action` in all clients at once for a while; how often that was, and how long it took in seconds. */
async function use(action: () => Promise<void>, forSeconds: number) {
  const began = performance.now()
  const stopAt = began + forSeconds * 1000
  let turns = 0
  const client = async () => {
    while (performance.now() < stopAt) {
      await action()
      turns++
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return { turns, took: (performance.now() - began) / 1000 }
}

/** Prints the rate of one way and what it costs. */
async function measure(name: string, artifacts: number, action: () => Promise<void>) {
  const [before, own] = [readCpu(), process.cpuUsage()]
  const { turns, took } = await use(action, seconds)
  const count = turns * artifacts
  const after = readCpu()
  const { user, system } = process.cpuUsage(own)
  const each = (cpuSeconds: number) => ((1000 * cpuSeconds) / count).toFixed(2)
  process.stdout.write(
    [
      name.padEnd(16),
      (count / took).toFixed(0).padStart(8),
      each(after.server - before.server).padStart(26),
      each(after.postgres - before.postgres).padStart(9),
      `${each((user + system) / 1e6).padStart(8)}\n`,
    ].join(' '),
  )
}

/** Of the server with its signer, and of its Postgres, which it has started. */
function readCpu(): { server: number; postgres: number } {
  const alone = readOwnCpuSeconds(server.pid)
  return { server: alone, postgres: readTreeCpuSeconds(server.pid) - alone }
}

async function sealOne(): Promise<void> {
  const content = randomBytes(bytes)
  const sha256 = createHash('sha256').update(content).digest('hex')
  const id = randomUUID()
  const parts = [{ number: 1, sizeBytes: bytes, sha256 }]
  const opened = OpenedUpload.parse(
    await post('/v1/uploads', {
      ...{ id, task: 'bench', run: 0, name: id, sizeBytes: String(bytes), sha256, parts },
    }),
  )
  const grant = opened.outcome === 'open' ? opened.grants[0] : undefined
  if (grant === undefined) throw new Error('no grant')
  const put = await request(new URL(grant.url, url), {
    ...{ dispatcher: agent, method: 'PUT', headers: grant.headers, body: content },
  })
  await put.body.dump()
  if (put.statusCode !== 200) throw new Error(`PUT answered ${put.statusCode}`)
  await post(`/v1/uploads/${id}/seal`, { sha256, sizeBytes: String(bytes), parts, receipt: false })
}

async function sealMany(count: number): Promise<void> {
  const artifacts = Array.from({ length: count }, () => {
    const content = randomBytes(bytes)
    const id = randomUUID()
    const sha256 = createHash('sha256').update(content).digest('hex')
    return { id, task: 'bench', run: 1, name: id, sha256, content: content.toString('base64') }
  })
  const reply = z
    .object({ outcomes: z.array(z.object({ outcome: z.string() })) })
    .parse(await post('/v1/artifacts', { artifacts }))
  if (reply.outcomes.some(({ outcome }) => outcome !== 'sealed')) throw new Error('refused')
}

async function post(path: string, body: unknown): Promise<unknown> {
  const reply = await request(`${url}${path}`, {
    dispatcher: agent,
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await reply.body.text()
  if (reply.statusCode >= 300) throw new Error(`${path} answered ${reply.statusCode}: ${text}`)
  return JSON.parse(text)
}
