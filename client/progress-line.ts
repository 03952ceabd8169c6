/** How far something is, as one line: the arithmetic and the words, without a terminal. */
import { formatBytes, formatDuration, sanitise } from './terminal-format.ts'

/** What one line shows. */
export interface ProgressState {
  /** One word, for example `sending`. */
  phase: string
  /** What it is about. */
  reference: string
  bytes: bigint
  /** Bytes that are certain; 100 % is shown for them alone. */
  settledBytes: bigint
  /** `undefined` while the size is not known. */
  totalBytes: bigint | undefined
  attempt: number
  files?: { done: number; failed: number; total: number | undefined } | undefined
}

/** Speed over the last ten seconds. */
export interface RateMeter {
  /** Takes a sample; going back, as when a part is sent again, begins anew. */
  add(bytes: bigint): void
  /** Bytes in a second; `undefined` until half a second was seen. */
  rate(): number | undefined
}

const WINDOW_MS = 10_000
const SHORTEST_MS = 500
/** Samples nearer than this are one sample, which bounds their number. */
const STEP_MS = 100
/** Percent, amount, speed and time left, as long as they mostly are. */
const NUMBERS_WIDTH = 45
const BAR_WIDTH_MAX = 30
const BAR_WIDTH_MIN = 7
/** Of a name where there is little room. */
const NAME_WIDTH = 16

/** A meter that begins now. */
export function startMeter(clock: () => Date): RateMeter {
  let samples: { at: number; bytes: bigint }[] = []
  return {
    add(bytes) {
      const at = clock().getTime()
      const last = samples.at(-1)
      if (last !== undefined && bytes < last.bytes) samples = []
      else if (last !== undefined && samples.length > 1 && at - last.at < STEP_MS) samples.pop()
      samples.push({ at, bytes })
      while (samples.length > 2 && at - (samples[1]?.at ?? at) >= WINDOW_MS) samples.shift()
    },
    rate() {
      const first = samples[0]
      const last = samples.at(-1)
      if (first === undefined || last === undefined) return undefined
      // Up to now, not up to the last sample: what has stalled gets slower.
      const elapsed = clock().getTime() - first.at
      if (elapsed < SHORTEST_MS) return undefined
      return (Number(last.bytes - first.bytes) * 1000) / elapsed
    },
  }
}

/** Hundredths done, 0 to 100; 100 only when all is settled. `undefined` while the size is not known. */
export function percentOf(state: ProgressState): number | undefined {
  const { bytes, settledBytes, totalBytes } = state
  if (totalBytes === undefined) return undefined
  if (totalBytes === 0n || settledBytes >= totalBytes) return 100
  const percent = Number((bytes * 100n) / totalBytes)
  return Math.max(0, Math.min(99, percent))
}

/** For a log: `sending turtle-db/7/db.dump: 45 %, 120.0 of 266.0 MiB, 80.1 MiB/s, 2 s left`. */
export function formatPlainLine(state: ProgressState, rate: number | undefined): string {
  const percent = percentOf(state)
  const pieces = [
    ...(percent === undefined ? [] : [`${percent} %`]),
    formatAmount(state),
    ...formatPace(state, rate),
    ...formatExtras(state),
  ]
  return `${state.phase} ${sanitise(state.reference)}: ${pieces.join(', ')}`
}

/** For a terminal: the same with a bar, less than `columns` wide; what has no room is left out. */
export function formatBarLine(
  state: ProgressState,
  rate: number | undefined,
  columns: number,
): string {
  const percent = percentOf(state)
  const room = Math.max(20, columns - 1)
  const numbers = [
    ...(percent === undefined ? [] : [`${String(percent).padStart(3)} %`]),
    formatAmount(state),
    ...formatPace(state, rate),
    ...formatExtras(state),
  ]
  const reference = sanitise(state.reference)
  const phase = capitalise(state.phase)
  const heads = [
    { words: [phase.padEnd(9), shorten(reference, Math.floor(room / 3))], space: '  ' },
    { words: [phase, shorten(reference.split('/').at(-1) ?? '', NAME_WIDTH)], space: ' ' },
  ]
  for (const { words, space } of heads) {
    const rest = numbers.join(space)
    // Room for the usual numbers, so that the bar keeps its length while they change.
    const taken = words.join(space).length + Math.max(rest.length, NUMBERS_WIDTH) + 2 * space.length
    const width = Math.min(BAR_WIDTH_MAX, room - taken - 2)
    if (percent !== undefined && width >= BAR_WIDTH_MIN)
      return [...words, drawBar(percent, width), rest].join(space)
  }
  return shorten([phase, ...numbers].join('  '), room)
}

function drawBar(percent: number, width: number): string {
  const filled = Math.floor((percent * width) / 100)
  return `[${'='.repeat(filled)}${' '.repeat(width - filled)}]`
}

/** `60.0 of 120.0 MiB`; both units when they differ. */
function formatAmount({ bytes, totalBytes }: ProgressState): string {
  if (totalBytes === undefined) return formatBytes(bytes)
  const [done = '', unit] = formatBytes(bytes < totalBytes ? bytes : totalBytes).split(' ')
  const total = formatBytes(totalBytes)
  return total.endsWith(` ${unit}`) ? `${done} of ${total}` : `${done} ${unit} of ${total}`
}

function formatPace(state: ProgressState, rate: number | undefined): string[] {
  if (rate === undefined) return []
  const pace = `${formatBytes(rate)}/s`
  const rest = state.totalBytes === undefined ? 0n : state.totalBytes - state.bytes
  if (rest <= 0n) return [pace]
  return rate < 1 ? [pace, 'stalled'] : [pace, `${formatDuration(Number(rest) / rate)} left`]
}

function formatExtras({ attempt, files }: ProgressState): string[] {
  const pieces = attempt > 1 ? [`attempt ${attempt}`] : []
  if (files === undefined) return pieces
  const total = files.total === undefined ? '' : ` of ${files.total}`
  pieces.push(`${files.done}${total} files`)
  if (files.failed > 0) pieces.push(`${files.failed} failed`)
  return pieces
}

/** Cut in the middle, where a path says least. */
function shorten(text: string, width: number): string {
  const letters = [...text]
  if (letters.length <= width) return text
  const left = Math.floor((width - 1) / 2)
  return `${letters.slice(0, left).join('')}…${letters.slice(letters.length - (width - 1 - left)).join('')}`
}

function capitalise(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}
