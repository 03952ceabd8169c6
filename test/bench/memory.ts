/**
 * Memory of client and server: for a large file, over many transfers in one process, with several
 * clients at once, and at the limits of a plan of parts. What is resident counts, of one process, at its peak.
 */
import { dirname, extname, join } from 'node:path'
import { z } from 'zod'
import { type CrowdLoad, measureCrowd } from './crowd.ts'
import { type Field, findRoomObstacle, openField } from './field.ts'
import { formatSize, makeFile } from './loads.ts'
import { measure, run, type Sample } from './measure.ts'
import type { Options } from './options.ts'
import { type Ours, readProfile, startOurs } from './ours.ts'
import { readResidentBytes } from './process-tree.ts'
import { runRounds, type Verb } from './rounds.ts'
import type { Voice } from './section.ts'
import { getSparse, SPARSE_BYTES, uploadSparse } from './sparse.ts'
import { formatTable } from './table.ts'

const MIB = 1024 ** 2
const TRANSFERS = 100
const LOOP_FILE_BYTES = 4 * MIB
/** Of an artifact of 1 TiB, before it is interrupted. */
const SPARSE_MOVED_BYTES = 3 * 1024 ** 3
const SELF_CHECK_MOVED_BYTES = 256 * MIB
const PARTS_MAX = 10_000
const SMALLEST_PART_BYTES = 64 * 1024

/** Clients that are at one server at the same moment, and what each of them moves both ways. */
const CROWDS: readonly (CrowdLoad & { clients: number })[] = [
  { clients: 6, files: 1000, each: 4096 },
  { clients: 32, files: 300, each: 4096 },
  { clients: 6, files: 1, each: 128 * MIB },
]
const SELF_CHECK_CROWDS: typeof CROWDS = [{ clients: 2, files: 3, each: 1024 }]

interface Line {
  what: string
  where: string
  client: number
  server: number
}

/** Measures ours alone: peaks are not comparable between tools that do not do the same. */
export async function measureMemory(
  options: Options,
  program: string,
  voice: Voice,
): Promise<void> {
  const keys = ['ours-s3', 'ours-files'].filter((key) => options.tools?.includes(key) ?? true)
  const ours = { ...options, tools: keys }
  const lines: Line[] = []
  const left: string[] = []
  const tell = (...found: Line[]) => {
    lines.push(...found)
    for (const { what, where, client, server } of found)
      voice.report(
        `${what}, ${where}: client ${formatMib(client)}, server ${formatMib(server)} MiB`,
      )
  }
  const obstacle = findRoomObstacle(options.memoryBytes, ours)
  if (obstacle === undefined) {
    await using field = await openField({ options: ours, program, bytes: options.memoryBytes })
    tell(...(await measureLarge(field, options.memoryBytes, voice)))
  } else left.push(`${formatSize(options.memoryBytes)} left out: ${obstacle}.`)
  await using field = await openField({ options: ours, program, bytes: LOOP_FILE_BYTES })
  tell(await measureManyParts(field, program, options))
  const onS3 = field.ours.find(({ tool }) => tool.key === 'ours-s3')
  if (onS3 === undefined) left.push('1 TiB left out: without an S3 store there is no room for it.')
  else tell(await measureSparse('upload', uploadSparse, onS3, field, options))
  const onFiles = field.ours.find(({ tool }) => tool.key === 'ours-files')
  if (onFiles !== undefined) tell(await measureSparse('get', getSparse, onFiles, field, options))
  for (const each of field.ours) tell(...(await measureLoop(field, each, program, options)))
  for (const each of field.ours) tell(...(await measureCrowds(field, each, options)))
  const rows = lines.map(({ what, where, client, server }) => [
    what,
    where,
    formatMib(client),
    formatMib(server),
  ])
  const table = formatTable(['memory', 'store', 'client MiB', 'server MiB'], rows)
  voice.show({
    title: 'memory',
    about: field.about,
    text: [table, ...left].join('\n'),
    data: { lines, left },
  })
}

const formatMib = (bytes: number) => (bytes / MIB).toFixed(0)

async function measureLarge(field: Field, bytes: number, voice: Voice): Promise<Line[]> {
  const load = await makeFile(field.folder, bytes)
  const lines: Line[] = []
  for (const verb of ['upload', 'get'] as const) {
    const { rows } = await runRounds(verb, field.tools, load, 1, voice.report)
    for (const { title, samples, failure } of rows) {
      if (failure !== undefined) throw new Error(failure)
      lines.push(describePeak(`${verb} ${load.title}`, title, samples))
    }
  }
  return lines
}

function describePeak(what: string, title: string, samples: readonly Sample[]): Line {
  return {
    what,
    where: title.replace('artifact, ', ''),
    client: Math.max(...samples.map(({ peakBytes }) => peakBytes)),
    server: Math.max(...samples.map(({ serverPeakBytes }) => serverPeakBytes)),
  }
}

const Loop = z.object({ heapBytes: z.array(z.number()), residentBytes: z.array(z.number()) })

/** Two lines: after a tenth of the transfers, when all is warm, and after the last. */
async function measureLoop(
  field: Field,
  { place, pid, tool }: Ours,
  program: string,
  { isSelfCheck }: Options,
): Promise<Line[]> {
  const count = isSelfCheck ? TRANSFERS / 10 : TRANSFERS
  const warm = count / 10
  const load = await makeFile(field.folder, LOOP_FILE_BYTES)
  const { url, token } = await readProfile(place)
  const module = join(dirname(program), '..', 'client', `client${extname(program)}`)
  const loop = async (transfers: number) => {
    const script = join(import.meta.dirname, 'transfer-loop.ts')
    const copy = join(field.folder, 'copy')
    const words = [
      process.execPath,
      '--expose-gc',
      script,
      module,
      String(transfers),
      load.path,
      copy,
    ]
    const environment = { ...place.environment, ARTIFACT_URL: url, ARTIFACT_TOKEN: token }
    return Loop.parse(JSON.parse(await run({ words, environment })))
  }
  await loop(warm)
  const serverBefore = readResidentBytes(pid)
  const { residentBytes } = await loop(count)
  const serverAfter = readResidentBytes(pid)
  const where = tool.title.replace('artifact, ', '')
  const at = (index: number) => residentBytes[index - 1] ?? 0
  await run({ words: ['rm', load.path] })
  return [
    { what: `resident after ${warm} transfers`, where, client: at(warm), server: serverBefore },
    { what: `resident after ${count} more`, where, client: at(count), server: serverAfter },
  ]
}

async function measureCrowds(field: Field, ours: Ours, { isSelfCheck }: Options): Promise<Line[]> {
  const where = ours.tool.title.replace('artifact, ', '')
  const lines: Line[] = []
  for (const { clients, ...load } of isSelfCheck ? SELF_CHECK_CROWDS : CROWDS)
    for (const { what, client, server } of await measureCrowd(ours, field.folder, clients, load))
      lines.push({ what, where, client, server })
  return lines
}

/** As many parts as there can be, each as small as a server can be told. */
async function measureManyParts(field: Field, program: string, options: Options): Promise<Line> {
  const bytes = Math.min(options.memoryBytes, PARTS_MAX * SMALLEST_PART_BYTES)
  const parts = Math.ceil(bytes / SMALLEST_PART_BYTES)
  const flags = ['--part-size-bytes', String(SMALLEST_PART_BYTES)]
  await using ours = await startOurs({ program, version: '', folder: field.folder, flags })
  const load = await makeFile(field.folder, bytes)
  const { sample } = await measure(
    ours.command('upload', '--quiet', load.path, 'bench'),
    ours.tool.watched,
  )
  await run({ words: ['rm', load.path] })
  return describePeak(
    `upload ${parts} parts of ${formatSize(SMALLEST_PART_BYTES)}`,
    'embedded default',
    [sample],
  )
}

async function measureSparse(
  verb: Verb,
  move: typeof uploadSparse,
  ours: Ours,
  { folder }: Field,
  { isSelfCheck }: Options,
): Promise<Line> {
  const bytes = isSelfCheck ? SELF_CHECK_MOVED_BYTES : SPARSE_MOVED_BYTES
  const sample = await move(ours, folder, bytes)
  const what = `${verb} ${formatSize(SPARSE_BYTES)} sparse, its first ${formatSize(bytes)}`
  return describePeak(what, ours.tool.title, [sample])
}
