/**
 * One file up and down between two machines that are far from each other: store and servers on one
 * end of a long wire, clients on the other.
 *
 * This program cannot change its own network namespace, so it starts itself again inside the near one.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DELAY_MS, findFarObstacle, LOSS_PERCENT, layWire, NEAR_ADDRESS } from './far-wire.ts'
import { type Field, openField } from './field.ts'
import { makeFile } from './loads.ts'
import type { Options } from './options.ts'
import { Measured } from './readme-tables.ts'
import { type Row, runRounds, type Verb } from './rounds.ts'
import type { Voice } from './section.ts'
import { cleanWhenStopped } from './stopping.ts'
import { formatTable, spread } from './table.ts'

const MIB = 1024 ** 2
/** A single stream is slow here, and as slow with less to move. */
const SINGLE_STREAM_SHARE = 8
/** Floors that hash know no network. */
const FAR_TOOLS = ['ours-s3', 'ours-files', 'aws', 'rclone', 'restic', 'lib-storage', 'curl']

/** Measures over the far network; what keeps this machine from it is said in place of a table. */
export async function measureFar(options: Options, program: string, voice: Voice): Promise<void> {
  if (options.farClients !== undefined)
    return await measureInside(options, program, options.farClients, voice)
  const obstacle = findFarObstacle()
  if (obstacle !== undefined) {
    const text = `The far network is left out: ${obstacle}.`
    return voice.show({ title: 'far network', about: '', text, data: { obstacle } })
  }
  await using wire = await layWire(options.farControl)
  const folder = await mkdtemp(join(tmpdir(), 'artifact-far-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  const forget = cleanWhenStopped(remove)
  try {
    const json = join(folder, 'far.json')
    await repeatInside(wire.servers, [
      ...['--only', 'far', '--program', program],
      ...['--far-clients', wire.clients, '--json', json],
    ])
    for (const section of Measured.parse(JSON.parse(await readFile(json, 'utf8'))).sections)
      voice.show(section)
  } finally {
    forget()
    remove()
  }
}

/** Runs this program with what it was given, and these flags, in another network namespace. */
async function repeatInside(namespace: string, flags: readonly string[]): Promise<void> {
  const main = join(import.meta.dirname, 'main.ts')
  const words = ['netns', 'exec', namespace, process.execPath, main, ...process.argv.slice(2)]
  const child = spawn('ip', [...words, ...flags], { stdio: ['ignore', 'ignore', 'inherit'] })
  await once(child, 'close')
  if (child.exitCode !== 0) throw new Error('Cannot measure over the far network: see above')
}

async function measureInside(
  options: Options,
  program: string,
  clients: string,
  voice: Voice,
): Promise<void> {
  const far = { ...options, tools: options.tools ?? FAR_TOOLS }
  const bytes = options.farBytes
  await using field = await openField({ options: far, program, bytes, host: NEAR_ADDRESS })
  const single = bytes / SINGLE_STREAM_SHARE
  const network = `${DELAY_MS * 2} ms there and back, ${LOSS_PERCENT} % of packets lost each way, ${options.farControl}`
  for (const verb of options.farVerbs) {
    const rows: FarRow[] = []
    for (const size of [bytes, single])
      rows.push(...(await measureSize(verb, field, size, far, clients, voice)))
    const title = `${verb} over the far network`
    const about = `${network} · ${field.about}`
    voice.show({ title, about, text: formatFar(verb, rows), data: { verb, rows } })
  }
}

interface FarRow extends Row {
  bytes: number
}

/** All but the single stream move all of it. */
async function measureSize(
  verb: Verb,
  field: Field,
  bytes: number,
  options: Options,
  clients: string,
  voice: Voice,
): Promise<FarRow[]> {
  const isSingle = bytes !== options.farBytes
  const tools = field.tools.filter(({ key }) => (key === 'curl') === isSingle)
  const load = await makeFile(field.folder, bytes)
  const prefix = ['ip', 'netns', 'exec', clients]
  const { rows } = await runRounds(verb, tools, load, options.rounds, voice.report, prefix)
  await rm(load.path)
  return rows.map((row) => ({ ...row, bytes }))
}

function formatFar(verb: Verb, rows: readonly FarRow[]): string {
  const rateOf = ({ bytes, samples }: FarRow) =>
    spread(samples.map(({ wallSeconds }) => bytes / MIB / wallSeconds))
  const measured = rows.filter(({ samples }) => samples.length > 0)
  const of = (kind: Row['kind']) => measured.filter((row) => row.kind === kind)
  const single = Math.max(...of('floor').map((row) => rateOf(row).median))
  const best = Math.max(...of('peer').map((row) => rateOf(row).median))
  const ratio = (rate: number, to: number) => (Number.isFinite(to) ? (rate / to).toFixed(2) : '–')
  const lines = measured.map((row) => {
    const { min, median, max } = rateOf(row)
    const { samples, bytes } = row
    return [
      row.title,
      String(bytes / MIB),
      spread(samples.map(({ wallSeconds }) => wallSeconds)).median.toFixed(1),
      median.toFixed(2),
      `${min.toFixed(2)}–${max.toFixed(2)}`,
      ratio(median, single),
      ratio(median, best),
      spread(samples.map((each) => each.userSeconds + each.systemSeconds)).median.toFixed(2),
    ]
  })
  const heads = [
    `far ${verb}`,
    'MiB',
    'wall s',
    'MiB/s',
    'min–max',
    '× one stream',
    '× best peer',
    'CPU s',
  ]
  const failed = rows.flatMap(({ title, failure }) =>
    failure === undefined ? [] : `${title} failed: ${failure.split('\n')[0]}`,
  )
  return [formatTable(heads, lines), ...failed].join('\n')
}
