/** How long commands take to start, against Node itself with an empty program. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openField } from './field.ts'
import { type Command, measure, run, type Sample } from './measure.ts'
import type { Options } from './options.ts'
import { type Ours, readProfile } from './ours.ts'
import type { Voice } from './section.ts'
import { formatTable, spread } from './table.ts'

const RUNS_PER_ROUND = 4

/** Measures `--help` and `info` in turns with `node -e 0`. */
export async function measureStarts(
  options: Options,
  program: string,
  voice: Voice,
): Promise<void> {
  const alone = { ...options, tools: ['ours-files'] }
  await using field = await openField({ options: alone, program, bytes: 0 })
  const [ours] = field.ours
  if (ours === undefined) return
  const file = join(field.folder, 'small')
  await writeFile(file, 'small\n')
  const [reference = ''] = (await run(ours.command('upload', '--quiet', file, 'bench'))).split('\n')
  const commands: [title: string, command: Command][] = [
    ['node -e 0', { words: [process.execPath, '-e', '0'] }],
    ['artifact --help', ours.command('--help')],
    ['artifact upload --help', ours.command('upload', '--help')],
    ['artifact info, of a local server', ours.command('info', reference)],
  ]
  const rows = commands.map(([title, command]) => ({ title, command, samples: [] as Sample[] }))
  for (let index = 0; index < options.rounds * RUNS_PER_ROUND; index++)
    for (const { command, samples } of rows) samples.push((await measure(command)).sample)
  const base = spread((rows[0]?.samples ?? []).map(({ wallSeconds }) => wallSeconds)).median
  const lines = rows.map(({ title, samples }) => {
    const wall = spread(samples.map(({ wallSeconds }) => wallSeconds * 1000))
    const cpu = spread(samples.map((each) => (each.userSeconds + each.systemSeconds) * 1000))
    return [
      title,
      wall.median.toFixed(0),
      `${wall.min.toFixed(0)}–${wall.max.toFixed(0)}`,
      cpu.median.toFixed(0),
      (wall.median / 1000 / base).toFixed(2),
    ]
  })
  const trip = await measureRoundTrip(ours, reference, options.rounds * RUNS_PER_ROUND)
  lines.push([
    'its record over HTTP, no program started',
    trip.median.toFixed(0),
    `${trip.min.toFixed(0)}–${trip.max.toFixed(0)}`,
    '–',
    '–',
  ])
  const heads = ['start', 'wall ms', 'min–max', 'CPU ms', '× node -e 0']
  const text = formatTable(heads, lines)
  const about = `${field.about} · ${options.rounds * RUNS_PER_ROUND} starts of each, in turns`
  voice.show({ title: 'start', about, text, data: { rows } })
}

/** Milliseconds that a client which runs already waits for the record, on a socket that is open. */
async function measureRoundTrip({ place }: Ours, reference: string, count: number) {
  const { url, token } = await readProfile(place)
  const [task, taskRun, name] = reference.split('/')
  const record = `${url}/v1/tasks/${task}/runs/${taskRun}/artifacts/${name}`
  const milliseconds: number[] = []
  for (let index = 0; index < count; index++) {
    const began = performance.now()
    const reply = await fetch(record, { headers: { authorization: `Bearer ${token}` } })
    await reply.json()
    if (!reply.ok) throw new Error(`Cannot read ${record}: ${reply.status}`)
    milliseconds.push(performance.now() - began)
  }
  return spread(milliseconds)
}
