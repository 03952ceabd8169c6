import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type GlobalOptions, globalOptions } from '../../client/commands/command.ts'
import {
  formatBarLine,
  formatPlainLine,
  type ProgressState,
  percentOf,
  startMeter,
} from '../../client/progress-line.ts'
import { openTerminal } from '../../client/terminal.ts'
import { showProgress } from '../../client/terminal-progress.ts'
import { type MemoryOptions, openMemoryProcess } from '../support/memory-process.ts'

const MIB = 1024n ** 2n
const half: ProgressState = {
  phase: 'sending',
  reference: 'turtle-db/7/db.dump',
  bytes: 60n * MIB,
  settledBytes: 48n * MIB,
  totalBytes: 120n * MIB,
  attempt: 1,
}

describe('percentOf()', () => {
  it('says 100 only when all is settled', () => {
    const sent = { ...half, bytes: 120n * MIB }
    expect(percentOf(half)).toBe(50)
    expect(percentOf(sent)).toBe(99)
    expect(percentOf({ ...sent, settledBytes: 120n * MIB })).toBe(100)
  })

  it('takes an empty artifact for done, and cannot tell about an unknown size', () => {
    expect(percentOf({ ...half, bytes: 0n, settledBytes: 0n, totalBytes: 0n })).toBe(100)
    expect(percentOf({ ...half, totalBytes: undefined })).toBeUndefined()
  })
})

describe('startMeter()', () => {
  function meter() {
    let now = 0
    const started = startMeter(() => new Date(now))
    return { ...started, at: (time: number) => (now = time) }
  }

  it('knows the speed after half a second', () => {
    const { add, rate, at } = meter()
    add(0n)
    at(400)
    add(400n)
    expect(rate()).toBeUndefined()
    at(1000)
    add(1000n)
    expect(rate()).toBe(1000)
  })

  it('forgets what is older than ten seconds', () => {
    const { add, rate, at } = meter()
    for (let second = 0; second <= 30; second++) {
      at(second * 1000)
      add(second < 20 ? 0n : BigInt(second - 20) * 500n)
    }
    expect(rate()).toBe(500)
  })

  it('slows down while nothing moves', () => {
    const { add, rate, at } = meter()
    add(0n)
    at(1000)
    add(1000n)
    at(10_000)
    expect(rate()).toBe(100)
  })

  it('begins anew when bytes are taken back', () => {
    const { add, rate, at } = meter()
    add(0n)
    at(1000)
    add(1000n)
    at(2000)
    add(500n)
    expect(rate()).toBeUndefined()
  })
})

describe('formatPlainLine()', () => {
  it('tells how far, how fast and how long', () => {
    expect(formatPlainLine(half, 20 * 1024 ** 2)).toBe(
      'sending turtle-db/7/db.dump: 50 %, 60.0 of 120.0 MiB, 20.0 MiB/s, 3 s left',
    )
  })

  it('tells what it can without a size', () => {
    expect(formatPlainLine({ ...half, totalBytes: undefined, attempt: 2 }, undefined)).toBe(
      'sending turtle-db/7/db.dump: 60.0 MiB, attempt 2',
    )
  })

  it('says when nothing moves', () => {
    expect(formatPlainLine(half, 0)).toContain('0 B/s, stalled')
  })

  it('counts files', () => {
    const files = { done: 3, failed: 1, total: 10 }
    expect(formatPlainLine({ ...half, files }, undefined)).toContain('3 of 10 files, 1 failed')
  })
})

describe('formatBarLine()', () => {
  it('draws what is done', () => {
    expect(formatBarLine(half, 20 * 1024 ** 2, 110)).toBe(
      'Sending    turtle-db/7/db.dump  [=============              ]   50 %  60.0 of 120.0 MiB  20.0 MiB/s  3 s left',
    )
  })

  it('draws it in 80 columns too', () => {
    expect(formatBarLine(half, 20 * 1024 ** 2, 80)).toBe(
      'Sending db.dump [=======        ]  50 % 60.0 of 120.0 MiB 20.0 MiB/s 3 s left',
    )
  })

  it('keeps the bar where it is while the numbers change', () => {
    const near = { ...half, bytes: 9n * MIB }
    const ends = [half, near].map((state) => formatBarLine(state, 1e7, 110).indexOf(']'))
    expect(ends[0]).toBe(ends[1])
  })

  it.each([24, 40, 60, 80, 100, 200])('fits into %i columns', (columns) => {
    const reference = `turtle-db/7/${'x'.repeat(100)}`
    const line = formatBarLine({ ...half, reference }, 1024, columns)
    expect([...line].length).toBeLessThan(columns)
    expect(line).toContain('Sending')
  })

  it('shows names of elsewhere without their escape sequences', () => {
    expect(formatBarLine({ ...half, reference: 'a\u001b[2J' }, undefined, 100)).not.toContain(
      '\u001b',
    )
  })
})

describe('showProgress()', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  async function open(globals: Partial<GlobalOptions>, memory: MemoryOptions = {}) {
    const process = openMemoryProcess(memory)
    const { stdout, stderr } = process.context
    const terminal = openTerminal({
      stdout,
      stderr,
      quiet: globals.quiet ?? false,
      plain: true,
    })
    const all = { ...globalOptions.parse({}), ...globals }
    const view = await showProgress({ ...process.context, terminal, globals: all })
    return { process, view, terminal }
  }

  it('writes a plain line every ten seconds where there is no terminal', async () => {
    const { process, view } = await open({})
    using _ = view
    view.update('', half)
    vi.advanceTimersByTime(9_999)
    expect(process.stderr).toBe('')
    vi.advanceTimersByTime(1)
    expect(process.stderr).toMatch(/^sending turtle-db\/7\/db\.dump: 50 %.*\n$/)
    vi.advanceTimersByTime(10_000)
    expect(process.stderr.trimEnd().split('\n')).toHaveLength(2)
  })

  it('writes JSON lines at most once a second, and the last state', async () => {
    const { process, view } = await open({ progress: 'json' })
    for (let step = 0n; step <= 20n; step++) {
      view.update('', { ...half, bytes: step })
      process.pass(100)
    }
    view[Symbol.dispose]()
    const lines = process.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.map(({ bytes }) => bytes)).toEqual(['0', '10', '20', '20'])
    expect(lines[0]).toMatchObject({
      kind: 'progress',
      phase: 'sending',
      reference: 'turtle-db/7/db.dump',
      totalBytes: String(120n * MIB),
    })
  })

  it.each([{ quiet: true }, { progress: 'none' as const }])(
    'says nothing with %j',
    async (globals) => {
      const { process, view } = await open(globals, { isTerminal: true })
      view.update('', half)
      process.pass(60_000)
      view.update('', half)
      vi.advanceTimersByTime(60_000)
      view[Symbol.dispose]()
      expect(process.stderr).toBe('')
    },
  )

  it('draws a bar on a terminal, and what is said goes above it', async () => {
    const { process, view, terminal } = await open({}, { isTerminal: true, columns: 120 })
    view.update('', half)
    process.pass(1000)
    view.update('', half)
    terminal.say('hello')
    view[Symbol.dispose]()
    expect(process.stderr).toContain('Sending    turtle-db/7/db.dump  [')
    expect(process.stderr).toContain('hello\n')
    expect(process.stderr.indexOf('hello')).toBeLessThan(process.stderr.lastIndexOf('Sending'))
    expect(process.stderr.endsWith('\n')).toBe(true)
    terminal.say('after')
    expect(process.stderr.endsWith('after\n')).toBe(true)
  })

  it('draws no bar for what ends at once', async () => {
    const { process, view } = await open({}, { isTerminal: true })
    view.update('', half)
    view.update('', { ...half, bytes: 120n * MIB })
    view[Symbol.dispose]()
    expect(process.stderr).toBe('')
  })

  it('keeps off a dumb terminal', async () => {
    const { process, view } = await open({}, { isTerminal: true, variables: { TERM: 'dumb' } })
    view.update('', half)
    vi.advanceTimersByTime(10_000)
    view[Symbol.dispose]()
    expect(process.stderr).not.toContain('\u001b')
    expect(process.stderr).toContain('sending turtle-db')
  })
})
