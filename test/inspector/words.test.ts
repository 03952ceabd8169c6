/** Words and numbers of the pages, as both sides make them. */
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { formatBytes } from '../../client/terminal-format.ts'
import { createAnnouncer, formatNews } from '../../server/inspector/browser/announcer.js'
import {
  formatDuration,
  formatExactBytes,
  formatSize,
  groupDigest,
  revealText,
} from '../../server/inspector/browser/measures.js'
import { createRateMeter } from '../../server/inspector/browser/rate-meter.js'
import type { UploadFacts } from '../../server/inspector/browser/upload-facts.js'
import {
  averageRate,
  describeUpload,
  formatCount,
  STALLED_MS,
} from '../../server/inspector/browser/upload-words.js'

const START = Date.parse('2026-11-21T20:00:00Z')
const facts: UploadFacts = {
  id: '00000000-0000-4000-8000-000000000000',
  task: 't',
  run: 0,
  name: 'n',
  state: 'open',
  bytes: '0',
  totalBytes: '1000',
  verifiedBytes: '0',
  attempt: 1,
  restartedAt: null,
  progressAt: new Date(START).toISOString(),
  openedAt: new Date(START).toISOString(),
  movedAt: new Date(START).toISOString(),
  who: 'nightly',
  sha256: null,
  problem: null,
}
const view = (more: Partial<UploadFacts>, at = START, rate?: number) =>
  describeUpload({ ...facts, ...more }, { now: at, rate, formatClock: () => '14:02' })

describe('numbers', () => {
  it.each([
    [0n, '0 B'],
    [1023n, '1023 B'],
    [1024n, '1.0 KiB'],
    [1024n ** 2n * 120n, '120.0 MiB'],
    [9_223_372_036_854_775_807n, '8.0 EiB'],
  ])('writes %s bytes as %s', (bytes, text) => expect(formatSize(bytes)).toBe(text))

  // A browser loads its own modules alone, so the command line has a twin of this one.
  it('writes sizes as the command line does', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), (bytes) => {
        expect(formatSize(bytes)).toBe(formatBytes(bytes))
      }),
    )
  })

  it('writes exact bytes in groups', () => {
    expect(formatExactBytes(9_007_199_254_740_993n)).toBe('9,007,199,254,740,993 bytes')
    expect(formatExactBytes(1)).toBe('1 byte')
  })

  it.each([
    [-1, '0 s'],
    [59.9, '59 s'],
    [60, '1 min'],
    [61, '1 min 1 s'],
    [7620, '2 h 7 min'],
    [3 * 86_400 + 4 * 3600, '3 d 4 h'],
  ])('writes %s seconds as %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text))

  it('groups a digest so that its letters stay together', () => {
    expect(groupDigest('ab'.repeat(32))).toEqual(Array(8).fill('abababab'))
  })

  it('shows what cannot be seen', () => {
    expect(revealText('a\u202eb\u200b\u0007ü語')).toBe('a\\u{202e}b\\u{200b}\\u{7}ü語')
  })
})

describe('a view', () => {
  it('never says that all is done before it is', () => {
    expect(view({ bytes: '999999', totalBytes: '1000000' }).percent).toBe('99 %')
    expect(view({ bytes: '1000' }).percent).toBe('100 %')
  })

  it('claims no position, percentage or time while the size is not known', () => {
    const open = view({ bytes: '10', totalBytes: null }, START, 5)
    expect(open).toMatchObject({ sent: null, percent: '', left: '', pace: '5 B/s' })
  })

  it('rounds the time that is left up, and says none while nothing moves', () => {
    expect(view({ bytes: '1' }, START, 500).left).toBe('2 s left')
    expect(view({ bytes: '1' }, START, 0)).toMatchObject({ left: '', pace: '' })
    expect(view({ bytes: '1' }, START + STALLED_MS, 500)).toMatchObject({
      state: 'stalled',
      left: '',
      pace: '',
    })
  })

  it('has a bar of its own for what is read back', () => {
    const one = view({ state: 'verifying', bytes: '1000', verifiedBytes: '250' })
    expect(one).toMatchObject({ sent: 1000, verified: 250, percent: '25 %', word: 'Verifying' })
    expect(one.amount).toBe('250 of 1000 B read back')
    const stream = { state: 'verifying', totalBytes: null, bytes: '8', verifiedBytes: '2' } as const
    expect(view(stream)).toMatchObject({ verified: 250 })
  })

  it('knows that nothing is all of nothing', () => {
    expect(view({ totalBytes: '0' })).toMatchObject({ sent: 1000, percent: '100 %' })
  })

  it.each([
    [2, '2nd'],
    [3, '3rd'],
    [4, '4th'],
    [11, '11th'],
    [22, '22nd'],
    [113, '113th'],
  ])('calls attempt %s the %s', (attempt, text) => {
    const restartedAt = new Date(START).toISOString()
    expect(view({ attempt, restartedAt }).attempt).toBe(`${text} attempt, restarted at 14:02`)
    expect(view({ attempt }).attempt).toBe(`${text} attempt`)
  })

  it('admits that it does not know how an upload ended', () => {
    expect(view({ state: 'unknown' })).toMatchObject({
      word: 'Ended',
      amount: 'ended while this page was not connected',
    })
  })

  it('counts in words', () => {
    expect([0, 1, 2].map(formatCount)).toEqual([
      'No upload is running',
      '1 upload is running',
      '2 uploads are running',
    ])
  })
})

describe('speed', () => {
  it('is the slope of what was reported, and fades when nothing comes', () => {
    const meter = createRateMeter()
    expect(meter.rate(START)).toBeUndefined()
    for (let second = 0; second <= 5; second++) meter.add(START + second * 1000, second * 100)
    expect(meter.rate(START + 5000)).toBe(100)
    expect(meter.rate(START + 6000)).toBe(100)
    expect(meter.rate(START + 15_000)).toBeLessThan(50)
  })

  it('begins anew when an upload goes back', () => {
    const meter = createRateMeter()
    meter.add(START, 1000)
    meter.add(START + 2000, 5000)
    meter.add(START + 3000, 100)
    expect(meter.rate(START + 3000)).toBeUndefined()
  })

  it('forgets what is long ago', () => {
    const meter = createRateMeter()
    for (let second = 0; second <= 100; second++)
      meter.add(START + second * 1000, second < 50 ? second * 1000 : 50_000 + second * 10)
    expect(meter.rate(START + 100_000)).toBeCloseTo(10, 0)
  })

  it('is an average before two reports came, and not after a restart', () => {
    const moved = { bytes: '500', progressAt: new Date(START + 5000).toISOString() }
    expect(averageRate({ ...facts, ...moved })).toBe(100)
    expect(averageRate({ ...facts, ...moved, attempt: 2 })).toBeUndefined()
    expect(averageRate(facts)).toBeUndefined()
  })
})

describe('news', () => {
  const of = (kind: string, count: number) =>
    Array.from({ length: count }, (_, index) => ({ kind, text: `${kind} ${index}` }))

  it('is told one by one while it is little, and as numbers when it is much', () => {
    expect(formatNews(of('sealed', 2))).toBe('sealed 0. sealed 1.')
    expect(formatNews([...of('sealed', 40), ...of('failed', 1)])).toBe(
      'Uploads: 40 sealed, 1 failed.',
    )
  })

  it('are told together, of each upload the last alone', () => {
    vi.useFakeTimers()
    try {
      const region = { textContent: '' }
      const announcer = createAnnouncer(region)
      for (const text of ['a: 50 % sent', 'a is verified', 'a is sealed'])
        announcer.say({ about: 'a', kind: 'news', text })
      announcer.say({ about: 'b', kind: 'news', text: 'b has failed' })
      vi.runAllTimers()
      expect(region.textContent).toBe('a is sealed. b has failed.')
    } finally {
      vi.useRealTimers()
    }
  })
})
