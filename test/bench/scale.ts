/**
 * Whether many records make a request slow, on the embedded default of this machine:
 *
 *     npm run bench:scale -- [--rows 10000000] [--few 10000] [--times 200] [--folder DIR] [--json PATH]
 *         [--only WORD,…]
 *     npm run bench:scale -- --servers, see `two-servers.ts`
 *
 * Two servers, one over few records and one over many, are asked the same questions in turns, so that
 * a machine that drifts drifts for both. Every question is of something else than the one before.
 * Printed are medians in milliseconds, their ratio, the ratio of what one in ten exceeds, and that of
 * the CPU of the server with its Postgres, which a busy machine disturbs least; then what the records
 * take on disk and the programs in memory. With `--folder` the records stay there
 * and are used again. `--only` takes the beginnings of names. Nothing is asserted.
 */
import { createHash, randomBytes, randomInt } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Agent, request } from 'undici'
import { newUploadId } from '../../client/transfer/upload-id.ts'
import { formatTilePath, TILE_WIDTH } from '../../client/verify/tile.ts'
import { OpenedUpload } from '../../schemas/upload.ts'
import { openSite } from '../support/serve-process.ts'
import { fillFolder } from './filled-folder.ts'
import { readResidentBytes, readTreeCpuSeconds } from './process-tree.ts'
import { measureServers, sayServers } from './two-servers.ts'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '10000000' },
    few: { type: 'string', default: '10000' },
    times: { type: 'string', default: '200' },
    folder: { type: 'string' },
    json: { type: 'string' },
    only: { type: 'string' },
    servers: { type: 'boolean', default: false },
    clients: { type: 'string', default: '16' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '2' },
    share: { type: 'string', default: '0.25' },
  },
})
const times = Number(values.times)
/** Questions to one server before it is the other one's turn. */
const AT_ONCE = 10
const say = (line: string) => process.stdout.write(`${line}\n`)

/** A server over so many records. */
interface Subject {
  rows: number
  url: string
  token: string
  /** Its data folder. */
  place: string
  /** Of the server. */
  pid: number
}

await using stack = new AsyncDisposableStack()
const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'artifact-scale-')))
if (values.folder === undefined)
  stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
const agent = new Agent({ connections: 1, pipelining: 1 })
stack.defer(() => agent.close())

const measured = values.servers ? await compareServers() : await compareSizes()
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(measured)}\n`)

async function compareServers() {
  // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
  await mkdir(folder, { recursive: true })
  await chmod(folder, 0o711)
  const samples = await measureServers({
    clients: Number(values.clients),
    seconds: Number(values.seconds),
    rounds: Number(values.rounds),
    share: Number(values.share),
    folder: join(folder, 'servers'),
    say,
  })
  sayServers(samples, say)
  return { share: values.share, samples }
}

async function compareSizes() {
  const few = await openSubject(Number(values.few))
  const many = await openSubject(Number(values.rows))
  const results = []
  say(`\n${''.padEnd(20)} ${few.rows} records  ${many.rows} records   ratio  of 90 %  of CPU`)
  const words = values.only?.split(',') ?? ['']
  const asked = questions().filter(([name]) => words.some((word) => name.startsWith(word)))
  for (const [name, ask] of asked) results.push(await compare(few, many, name, ask))
  const sizes = []
  for (const subject of [few, many]) sizes.push(await weigh(subject))
  return { times, few: few.rows, many: many.rows, results, sizes }
}

async function openSubject(rows: number): Promise<Subject> {
  const place = join(folder, String(rows))
  await fillFolder(place, rows, say)
  // Nothing is in the store, so nothing can be verified again.
  const settings = { 'data-dir': place, 'log-level': 'warn', 'reverify-days': '0' }
  const site = stack.use(await openSite({ settings }))
  const { child } = stack.use(await site.serve())
  return { rows, url: site.url, token: site.token, place, pid: child.pid ?? 0 }
}

/** What the records take on disk, each, and what the programs hold in memory. */
async function weigh({ rows, place, pid }: Subject) {
  const base = await weighFolder(join(place, 'postgres', 'data', 'base'))
  const { size: memory } = await stat(join(place, 'signer', 'state.sqlite'))
  const resident = readResidentBytes(pid)
  const each = (bytes: number) => `${(bytes / rows).toFixed(0)} bytes a record`
  say(
    `${rows} records: tables and indexes ${each(base)}, memory of the signer ${each(memory)}; ` +
      `server with its signer ${(resident / 1024 ** 2).toFixed(0)} MiB resident`,
  )
  return { rows, base, memory, resident }
}

async function weighFolder(path: string): Promise<number> {
  let sum = 0
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) sum += (await stat(join(entry.parentPath, entry.name))).size
  return sum
}

type Ask = (subject: Subject) => Promise<void>

function questions(): [name: string, ask: Ask][] {
  // Tasks, runs and names as `fill-records.ts` makes them.
  const runOf = ({ rows }: Subject) => randomInt(Math.floor(rows / 20))
  const backup = () => `backup-${String(randomInt(400)).padStart(3, '0')}`
  const turtles = ({ rows }: Subject) => `turtle-db/runs/${randomInt(Math.floor(rows / 20))}`
  const volume = ({ rows }: Subject) => {
    const ten = randomInt(rows / 10)
    const thousand = String(Math.floor(ten / 1000)).padStart(4, '0')
    return encodeURIComponent(`volumes/${thousand}/${String(ten).padStart(7, '0')}.bin`)
  }
  const tile = ({ rows }: Subject) => ({
    ...{ level: 0, index: randomInt(Math.floor(rows / TILE_WIDTH)), width: TILE_WIDTH },
  })
  return [
    ['seal (3 requests)', (to) => sealOne(to, false)],
    ['seal with receipt', (to) => sealOne(to, true)],
    ['seal (batch of 1)', sealBatchOfOne],
    ['record', (to) => get(to, `tasks/${turtles(to)}/artifacts/db.dump`)],
    ['record, latest', (to) => get(to, `tasks/${backup()}/runs/latest/artifacts/db.dump`)],
    ['record, large run', (to) => get(to, `tasks/archive/runs/0/artifacts/${volume(to)}`)],
    ['receipt', (to) => get(to, `tasks/${turtles(to)}/artifacts/db.dump/receipt`)],
    ['tile of the log', (to) => get(to, `../${formatTilePath(tile(to))}`)],
    ['grant', (to) => get(to, `tasks/${turtles(to)}/content/db.dump`)],
    ['list tasks', (to) => get(to, 'tasks?limit=100')],
    ['list runs', (to) => get(to, `tasks/turtle-db/runs?limit=100&after=${runOf(to) + 1}`)],
    [
      'list artifacts',
      (to) => get(to, `tasks/archive/runs/0/artifacts?limit=100&after=${volume(to)}`),
    ],
  ]
}

/** Asks both in turns, prints and returns the medians. */
async function compare(few: Subject, many: Subject, name: string, ask: Ask) {
  const took: [number[], number[]] = [[], []]
  const cpuSeconds: [number, number] = [0, 0]
  // The first ones warm up what a server keeps warm.
  for (let at = -1; at < times / AT_ONCE; at++)
    for (const [index, subject] of [few, many].entries()) {
      const before = readTreeCpuSeconds(subject.pid)
      const some = await askSome(ask, subject)
      if (at < 0) continue
      took[index === 0 ? 0 : 1].push(...some)
      cpuSeconds[index === 0 ? 0 : 1] += readTreeCpuSeconds(subject.pid) - before
    }
  const [fewMs, manyMs] = [quantile(took[0], 0.5), quantile(took[1], 0.5)]
  const ratio = manyMs / fewMs
  const slowRatio = quantile(took[1], 0.9) / quantile(took[0], 0.9)
  const cpuRatio = cpuSeconds[1] / cpuSeconds[0]
  const cells = [fewMs, manyMs].map((ms) => `${ms.toFixed(2)} ms`.padStart(16))
  const ratios = [ratio, slowRatio, cpuRatio].map((one) => one.toFixed(2).padStart(7))
  say(`${name.padEnd(20)} ${cells.join(' ')} ${ratios.join(' ')}`)
  return { name, fewMs, manyMs, ratio, slowRatio, cpuSeconds, cpuRatio }
}

async function askSome(ask: Ask, subject: Subject): Promise<number[]> {
  const took = []
  for (let at = 0; at < AT_ONCE; at++) {
    const began = performance.now()
    await ask(subject)
    took.push(performance.now() - began)
  }
  return took
}

function quantile(all: number[], share: number): number {
  const sorted = all.toSorted((one, other) => one - other)
  return sorted[Math.floor(all.length * share)] ?? Number.NaN
}

async function sealOne(to: Subject, receipt: boolean): Promise<void> {
  const { content, sha256, id } = makeContent()
  const sizeBytes = content.length
  const parts = [{ number: 1, sizeBytes, sha256 }]
  const words = { id, task: 'bench', run: 0, name: id, sizeBytes: String(sizeBytes), sha256, parts }
  const opened = OpenedUpload.parse(
    JSON.parse(await send(to, 'POST', '/v1/uploads', JSON.stringify(words))),
  )
  const grant = opened.outcome === 'open' ? opened.grants[0] : undefined
  if (grant === undefined) throw new Error('no grant')
  await send(to, 'PUT', grant.url, content, grant.headers)
  const claim = { sha256, sizeBytes: String(sizeBytes), parts, receipt }
  await send(to, 'POST', `/v1/uploads/${id}/seal`, JSON.stringify(claim))
}

async function sealBatchOfOne(to: Subject): Promise<void> {
  const { content, sha256, id } = makeContent()
  const one = { id, task: 'bench', run: 1, name: id, sha256, content: content.toString('base64') }
  await send(to, 'POST', '/v1/artifacts', JSON.stringify({ artifacts: [one] }))
}

function makeContent() {
  const content = randomBytes(1024)
  const sha256 = createHash('sha256').update(content).digest('hex')
  return { content, sha256, id: newUploadId() }
}

async function get(to: Subject, path: string): Promise<void> {
  await send(to, 'GET', `/v1/${path}`)
}

async function send(
  { url, token }: Subject,
  method: 'GET' | 'POST' | 'PUT',
  path: string,
  body?: string | Buffer,
  headers: Record<string, string> = {
    authorization: `Bearer ${token}`,
    ...(typeof body === 'string' ? { 'content-type': 'application/json' } : {}),
  },
): Promise<string> {
  const reply = await request(new URL(path, url), {
    dispatcher: agent,
    method,
    headers,
    body: body ?? null,
  })
  const text = await reply.body.text()
  if (reply.statusCode >= 400) throw new Error(`${method} ${path}: ${reply.statusCode} ${text}`)
  return text
}
