/**
 * Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere, or JSON lines.
 *
 *     {"kind":"progress","at":…,"phase":…,"reference":…,"bytes":"…","totalBytes":"…"|null,…}
 */
import type { CommandContext } from './commands/command.ts'
import { formatBarLine, formatPlainLine, type ProgressState, startMeter } from './progress-line.ts'
import { formatJson } from './terminal-format.ts'

/** One or several lines of progress. Dispose of it to end them; a final state is shown then. */
export interface ProgressView extends Disposable {
  /** Shows a state; lines are told apart by `key`. */
  update(key: string, state: ProgressState): void
  /** Ends a line, with `summary` in its place. */
  end(key: string, summary?: string): void
}

/** A line between plain lines of progress. */
const PLAIN_EVERY_MS = 10_000
const JSON_EVERY_MS = 1_000
/** What ends sooner gets no bar: it would only flicker. */
const BAR_AFTER_MS = 250
/** Bars that are drawn at once. */
const BARS_MAX = 20

/** The view that the user asked for, or that suits stderr. */
export async function showProgress(context: CommandContext): Promise<ProgressView> {
  const { globals, stderr, environment } = context
  const canDraw = stderr.isTerminal && !environment.dumbTerminal
  const wanted = globals.progress ?? 'auto'
  if (wanted === 'none' || (wanted === 'auto' && globals.quiet)) return { ...SILENT }
  if (wanted === 'json') return showJsonLines(context)
  return wanted === 'plain' || !canDraw ? showPlainLines(context) : showBars(context)
}

const SILENT: ProgressView = { update() {}, end() {}, [Symbol.dispose]() {} }

interface Line {
  state: ProgressState
  meter: ReturnType<typeof startMeter>
  startedAt: number
}

/** Remembers a line by its key; a new phase is a new line. */
function trackLines(clock: () => Date) {
  const lines = new Map<string, Line>()
  return {
    lines,
    track(key: string, state: ProgressState): { line: Line; isNew: boolean } {
      const known = lines.get(key)
      const isNew = known === undefined || known.state.phase !== state.phase
      const line = isNew ? { state, meter: startMeter(clock), startedAt: clock().getTime() } : known
      line.state = state
      line.meter.add(state.bytes)
      lines.set(key, line)
      return { line, isNew }
    },
  }
}

function showPlainLines({ terminal, clock }: CommandContext): ProgressView {
  const { lines, track } = trackLines(clock)
  const timer = setInterval(() => {
    for (const { state, meter } of lines.values())
      terminal.warn(formatPlainLine(state, meter.rate()))
  }, PLAIN_EVERY_MS)
  timer.unref()
  return {
    update: (key, state) => void track(key, state),
    end(key, summary) {
      lines.delete(key)
      if (summary !== undefined) terminal.warn(summary)
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}

function showJsonLines({ terminal, clock }: CommandContext): ProgressView {
  const { lines, track } = trackLines(clock)
  const written = new Map<string, number>()
  const write = (key: string, { state, meter }: Line) => {
    written.set(key, clock().getTime())
    terminal.warn(
      formatJson({ kind: 'progress', at: clock().toISOString(), ...describe(state, meter.rate()) }),
    )
  }
  return {
    update(key, state) {
      const { line, isNew } = track(key, state)
      if (isNew || clock().getTime() - (written.get(key) ?? 0) >= JSON_EVERY_MS) write(key, line)
    },
    end(key) {
      const line = lines.get(key)
      if (line !== undefined) write(key, line)
      lines.delete(key)
      written.delete(key)
    },
    [Symbol.dispose]() {
      for (const [key, line] of lines) write(key, line)
    },
  }
}

/** The object of a line of JSON progress; bytes are decimal strings. */
function describe(state: ProgressState, rate: number | undefined): Record<string, unknown> {
  return {
    phase: state.phase,
    reference: state.reference,
    bytes: String(state.bytes),
    settledBytes: String(state.settledBytes),
    totalBytes: state.totalBytes === undefined ? null : String(state.totalBytes),
    bytesPerSecond: rate === undefined ? null : Math.round(rate),
    attempt: state.attempt,
    ...(state.files === undefined ? {} : { files: state.files }),
  }
}

async function showBars({ terminal, stderr, clock }: CommandContext): Promise<ProgressView> {
  const { MultiBar } = await import('cli-progress')
  const { lines, track } = trackLines(clock)
  const open = () =>
    new MultiBar({
      stream: stderr.stream,
      hideCursor: true,
      // Its own handler would end the process before the command has cleaned up.
      gracefulExit: false,
      linewrap: false,
      fps: 10,
    })
  let bars: InstanceType<typeof MultiBar> | undefined
  const drawn = new Map<string, ReturnType<InstanceType<typeof MultiBar>['create']>>()
  const close = () => {
    if (bars === undefined) return
    bars.update()
    bars.stop()
    bars = undefined
    drawn.clear()
    terminal.speak = undefined
  }
  const draw = (key: string) => {
    bars ??= open()
    const current = bars
    const format = () => {
      const line = lines.get(key)
      return line === undefined ? '' : formatBarLine(line.state, line.meter.rate(), stderr.columns)
    }
    drawn.set(key, current.create(1, 0, {}, { format }))
    terminal.speak = (text) => {
      current.log(`${text}\n`)
      current.update()
    }
  }
  return {
    update(key, state) {
      const isNewPhase = lines.get(key)?.state.phase !== state.phase
      // A single line stays where it is when its phase is over, and the next phase goes below it.
      if (isNewPhase && drawn.has(key) && drawn.size === 1) close()
      const line = track(key, state).line
      const isLate = clock().getTime() - line.startedAt >= BAR_AFTER_MS
      if (!drawn.has(key) && isLate && drawn.size < BARS_MAX) draw(key)
    },
    end(key, summary) {
      const bar = drawn.get(key)
      if (bar !== undefined && drawn.size === 1) close()
      else if (bar !== undefined) bars?.remove(bar)
      drawn.delete(key)
      lines.delete(key)
      if (summary !== undefined) terminal.warn(summary)
    },
    [Symbol.dispose]: close,
  }
}
