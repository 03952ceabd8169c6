/**
 * Whether many records make a request slow, on the embedded default of this machine:
 *
 *     npm run bench:scale -- [--rows 10000000] [--few 10000] [--times 200] [--folder DIR] [--json PATH]
 *
 * Two servers, one over few records and one over many, are asked the same questions in turns, so that
 * a machine that drifts drifts for both. Every question is of something else than the one before.
 * Printed are medians in milliseconds, and the ratio. With `--folder` the records stay there and are
 * used again. Nothing is asserted.
 */
import { createHash, randomBytes, randomInt, randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Agent, request } from 'undici'
import { OpenedUpload } from '../../schemas/upload.ts'
import { openSite } from '../support/serve-process.ts'
import { fillFolder } from './filled-folder.ts'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '10000000' },
    few: { type: 'string', default: '10000' },
    times: { type: 'string', default: '200' },
    folder: { type: 'string' },
    json: { type: 'string' },
  },
})
const times = Number(values.times)
const say = (line: string) => process.stdout.write(`${line}\n`)

/** A server over so many records. */
interface Subject {
  rows: number
  url: string
  token: string
}

await using stack = new AsyncDisposableStack()
const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'artifact-scale-')))
if (values.folder === undefined)
  stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
const agent = new Agent({ connections: 1, pipelining: 1 })
stack.defer(() => agent.close())

const few = await openSubject(Number(values.few))
const many = await openSubject(Number(values.rows))
const results = []
say(`\n${''.padEnd(20)} ${few.rows} records  ${many.rows} records   ratio`)
for (const [name, ask] of questions()) results.push(await compare(name, ask))
if (values.json !== undefined)
  await writeFile(
    values.json,
    `${JSON.stringify({ times, few: few.rows, many: many.rows, results })}\n`,
  )

async function openSubject(rows: number): Promise<Subject> {
  const place = join(folder, String(rows))
  await fillFolder(place, rows, say)
  // Nothing is in the store, so nothing can be verified again.
  const settings = { 'data-dir': place, 'log-level': 'warn', 'reverify-days': '0' }
  const site = stack.use(await openSite({ settings }))
  stack.use(await site.serve())
  return { rows, url: site.url, token: site.token }
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
  return [
    ['seal (3 requests)', sealOne],
    ['seal (batch of 1)', sealBatchOfOne],
    ['record', (to) => get(to, `tasks/${turtles(to)}/artifacts/db.dump`)],
    ['record, latest', (to) => get(to, `tasks/${backup()}/runs/latest/artifacts/db.dump`)],
    ['record, large run', (to) => get(to, `tasks/archive/runs/0/artifacts/${volume(to)}`)],
    ['receipt', (to) => get(to, `tasks/${turtles(to)}/artifacts/db.dump/receipt`)],
    ['grant', (to) => get(to, `tasks/${turtles(to)}/content/db.dump`)],
    ['list tasks', (to) => get(to, 'tasks?limit=100')],
    ['list runs', (to) => get(to, `tasks/turtle-db/runs?limit=100&after=${runOf(to) + 1}`)],
    [
      'list artifacts',
      (to) => get(to, `tasks/archive/runs/0/artifacts?limit=100&after=${volume(to)}`),
    ],
  ]
}

/** Asks both in turns and prints the medians. */
async function compare(name: string, ask: Ask) {
  const took: [number[], number[]] = [[], []]
  for (let at = -5; at < times; at++)
    for (const [index, subject] of [few, many].entries()) {
      const began = performance.now()
      await ask(subject)
      // The first ones warm up what a server keeps warm.
      if (at >= 0) took[index]?.push(performance.now() - began)
    }
  const [fewMs, manyMs] = [median(took[0]), median(took[1])]
  const cells = [fewMs, manyMs].map((ms) => `${ms.toFixed(2)} ms`.padStart(16))
  say(`${name.padEnd(20)} ${cells.join(' ')} ${(manyMs / fewMs).toFixed(2).padStart(7)}`)
  return { name, fewMs, manyMs, ratio: manyMs / fewMs }
}

function median(all: number[]): number {
  return all.toSorted((one, other) => one - other)[Math.floor(all.length / 2)] ?? Number.NaN
}

async function sealOne(to: Subject): Promise<void> {
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
  const claim = { sha256, sizeBytes: String(sizeBytes), parts, receipt: false }
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
  return { content, sha256, id: randomUUID() }
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
