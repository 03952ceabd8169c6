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
import { makeFile, makeFolder } from './loads.ts'
import type { FarLoad, FarWire, Options } from './options.ts'
import { Measured } from './readme-tables.ts'
import { type Row, runRounds, type Surroundings, type Verb } from './rounds.ts'
import type { Voice } from './section.ts'
import { cleanWhenStopped } from './stopping.ts'
import { formatTable, spread } from './table.ts'
import type { Load, Tool } from './tools.ts'

const MIB = 1024 ** 2
/** A single stream is slow here, and as slow with less to move. */
const SINGLE_STREAM_SHARE = 8
/** By default these move a file of some 100 MiB as one stream. */
const ONE_STREAM: Record<Verb, readonly string[]> = {
  upload: ['curl', 'rclone'],
  get: ['curl', 'rclone', 'lib-storage'],
}
const SMALL_BYTES = 1024
const FOLDER_FILES = 100
const FOLDER_EACH_BYTES = 4096
/** Floors that hash know no network. */
const FAR_TOOLS = ['ours-s3', 'ours-files', 'aws', 'rclone', 'restic', 'lib-storage', 'curl']

/** Measures over the far network; what keeps this machine from it is said in place of a table. */
export async function measureFar(options: Options, program: string, voice: Voice): Promise<void> {
  if (options.farWire !== undefined)
    return await measureInside(options, program, options.farWire, voice)
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
      ...['--far-clients', wire.clients, '--far-wire', String(wire.pid), '--json', json],
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
  { clients, pid }: FarWire,
  voice: Voice,
): Promise<void> {
  const far = { ...options, tools: options.tools ?? FAR_TOOLS }
  await using field = await openField({
    options: far,
    program,
    bytes: options.farBytes,
    host: NEAR_ADDRESS,
  })
  // All tools meet the same weather, and another one in the next round: a single packet decides much.
  const begin = ['bash', '-c', 'kill -USR1 "$0" && exec "$@"', String(pid)]
  const over: Over = {
    field,
    options: far,
    voice,
    surroundings: {
      prefix: [...begin, 'ip', 'netns', 'exec', clients],
      beginRound: () => void process.kill(pid, 'SIGUSR2'),
    },
  }
  const wire = `${DELAY_MS * 2} ms there and back, ${LOSS_PERCENT} % of packets lost at random each way, the same for every tool and others in every round`
  const about = `${wire} · ${options.farControl}, packets of 1,500 bytes · ${field.about}`
  for (const load of options.farLoads)
    for (const verb of options.farVerbs) {
      const rows = await MEASURES[load](verb, over)
      const title = `${verb} over the far network: ${load}`
      voice.show({ title, about, text: formatFar(verb, rows), data: { verb, rows } })
    }
}

interface Over {
  field: Field
  options: Options
  voice: Voice
  /** Of every command: it runs on the other end. */
  surroundings: Surroundings
}

const MEASURES: Record<FarLoad, (verb: Verb, over: Over) => Promise<FarRow[]>> = {
  async large(verb, over) {
    const { field, options } = over
    const isSingle = ({ key }: Tool) => ONE_STREAM[verb].includes(key)
    const many = field.tools.filter((tool) => !isSingle(tool))
    const load = await makeFile(field.folder, options.farBytes)
    const rows = await measureLoad(verb, many, load, over)
    const less = await makeFile(field.folder, options.farBytes / SINGLE_STREAM_SHARE)
    return [...rows, ...(await measureLoad(verb, field.tools.filter(isSingle), less, over))]
  },
  async small(verb, over) {
    const load = await makeFile(over.field.folder, SMALL_BYTES)
    return measureLoad(verb, over.field.tools, load, over)
  },
  async folder(verb, over) {
    const load = await makeFolder(over.field.folder, FOLDER_FILES, FOLDER_EACH_BYTES)
    return measureLoad(verb, over.field.tools, load, over)
  },
}

interface FarRow extends Row {
  load: Pick<Load, 'title' | 'bytes'>
}

async function measureLoad(
  verb: Verb,
  tools: readonly Tool[],
  load: Load,
  { options, voice, surroundings }: Over,
): Promise<FarRow[]> {
  const { rows } = await runRounds(verb, tools, load, options.rounds, voice.report, surroundings)
  await rm(load.path, { recursive: true })
  const { title, bytes } = load
  return rows.map((row) => ({ ...row, load: { title, bytes } }))
}

function formatFar(verb: Verb, rows: readonly FarRow[]): string {
  const rateOf = ({ load, samples }: FarRow) =>
    spread(samples.map(({ wallSeconds }) => load.bytes / MIB / wallSeconds))
  const measured = rows.filter(({ samples }) => samples.length > 0)
  const of = (kind: Row['kind']) => measured.filter((row) => row.kind === kind)
  const single = Math.max(...of('floor').map((row) => rateOf(row).median))
  const best = Math.max(...of('peer').map((row) => rateOf(row).median))
  const ratio = (rate: number, to: number) => (Number.isFinite(to) ? (rate / to).toFixed(2) : '–')
  const lines = measured.map((row) => {
    const { samples, load } = row
    const { median } = rateOf(row)
    const wall = spread(samples.map(({ wallSeconds }) => wallSeconds))
    return [
      row.title,
      load.title,
      wall.median.toFixed(2),
      `${wall.min.toFixed(2)}–${wall.max.toFixed(2)}`,
      median < 0.1 ? '–' : median.toFixed(2),
      ratio(median, single),
      ratio(median, best),
      spread(samples.map((each) => each.userSeconds + each.systemSeconds)).median.toFixed(2),
    ]
  })
  const heads = [
    `far ${verb}`,
    'moved',
    'wall s',
    'min–max',
    'MiB/s',
    '× one stream',
    '× best peer',
    'CPU s',
  ]
  const failed = rows.flatMap(({ title, failure }) =>
    failure === undefined ? [] : `${title} failed: ${failure.split('\n')[0]}`,
  )
  return [formatTable(heads, lines), ...failed].join('\n')
}
