/** Results as tables of Markdown, which people read as they are. */
import { availableParallelism } from 'node:os'
import type { Sample } from './measure.ts'
import type { Result, Row } from './rounds.ts'

const GIB = 1024 ** 3
const MIB = 1024 ** 2
/** Of all processors while a command ran. */
const NOISE_SHARE = 0.15

export interface Spread {
  min: number
  median: number
  max: number
}

/** Of an odd number of values the middle one, of an even number the mean of the middle two. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  const middle = (sorted.length - 1) / 2
  return {
    min: at(0),
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    max: at(sorted.length - 1),
  }
}

/** Median wall seconds of a row. */
export function medianWall({ samples }: Row): number {
  return spread(samples.map(({ wallSeconds }) => wallSeconds)).median
}

/** The table of one result, under a line that says what was done. */
export function formatResult(result: Result): string {
  const { verb, load, rows } = result
  const measured = rows.filter(({ samples }) => samples.length > 0)
  const peers = measured.filter(({ kind }) => kind === 'peer').map(medianWall)
  const best = Math.min(...peers)
  // Of what is small the start of a program is most of the work, which no size can be made of.
  const isLarge = load.files === 1 && load.bytes >= 64 * MIB
  const per = isLarge ? '/GiB' : 'in all'
  const scale = isLarge ? GIB / load.bytes : 1
  const heads = [
    ...[`${verb} ${load.title}`, 'wall s', 'min–max'],
    ...(load.files > 1 ? ['files/s'] : []),
    ...[`CPU s ${per}`, `server CPU s ${per}`, `store CPU s ${per}`],
    ...['peak MiB', 'server peak MiB', '× best peer', 'others’ CPU s'],
  ]
  const lines = measured.map((row) => {
    const of = (read: (sample: Sample) => number) => spread(row.samples.map(read))
    const wall = of(({ wallSeconds }) => wallSeconds)
    const number = (value: number, digits = 2) => (value === 0 ? '–' : value.toFixed(digits))
    return [
      row.title,
      wall.median.toFixed(2),
      `${wall.min.toFixed(2)}–${wall.max.toFixed(2)}`,
      ...(load.files > 1 ? [(load.files / wall.median).toFixed(0)] : []),
      number(of(({ userSeconds, systemSeconds }) => (userSeconds + systemSeconds) * scale).median),
      number(of(({ serverCpuSeconds }) => serverCpuSeconds * scale).median),
      number(of(({ storeCpuSeconds }) => storeCpuSeconds * scale).median),
      number(of(({ peakBytes }) => peakBytes / MIB).max, 0),
      number(of(({ serverPeakBytes }) => serverPeakBytes / MIB).max, 0),
      Number.isFinite(best) ? (wall.median / best).toFixed(2) : '–',
      number(of(({ otherCpuSeconds }) => otherCpuSeconds).max),
    ]
  })
  const failed = rows.flatMap(({ title, failure }) =>
    failure === undefined ? [] : `${title} failed: ${failure.split('\n')[0]}`,
  )
  const notes = [...failed, ...formatRatios(measured), ...formatNoise(measured)]
  // Of a list Markdown makes lines; of lines alone it makes one paragraph.
  return [formatTable(heads, lines), '', ...notes.map((note) => `- ${note}`)].join('\n').trimEnd()
}

/** One line for each of ours: its wall time against everybody else's. */
function formatRatios(rows: readonly Row[]): string[] {
  const others = rows.filter(({ kind }) => kind !== 'ours')
  return rows
    .filter(({ kind }) => kind === 'ours')
    .map((row) => {
      const ratios = others.map(
        (other) => `${(medianWall(row) / medianWall(other)).toFixed(2)} × ${other.title}`,
      )
      return ratios.length === 0 ? '' : `${row.title}: ${ratios.join(' · ')}`
    })
    .filter(Boolean)
}

/** What else the machine did would count as slowness of whoever was measured then. */
function formatNoise(rows: readonly Row[]): string[] {
  const samples = rows.flatMap((row) => row.samples)
  const isNoisy = ({ otherCpuSeconds, wallSeconds }: Sample) =>
    otherCpuSeconds > NOISE_SHARE * availableParallelism() * wallSeconds
  const noisy = samples.filter(isNoisy).length
  const share = `${NOISE_SHARE * 100} %`
  return noisy === 0
    ? []
    : [
        `Not quiet: in ${noisy} of ${samples.length} runs others used more than ${share} of the machine.`,
      ]
}

/** A table of Markdown, padded so that it reads as plain text too; all columns but the first to the right. */
export function formatTable(
  heads: readonly string[],
  lines: readonly (readonly string[])[],
): string {
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...lines.map((line) => (line[column] ?? '').length)),
  )
  const row = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`
  const rule = widths.map((width, column) =>
    column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  )
  return [row(heads), row(rule), ...lines.map(row)].join('\n')
}
