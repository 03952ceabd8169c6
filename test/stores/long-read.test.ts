/** Long reads over a store whose speed, refusals and faults are known to the byte. */
import { describe, expect, it } from 'vitest'
import {
  type AheadSettings,
  createReadAhead,
  type RangeOpener,
  type ReadAhead,
} from '../../server/stores/long-read.ts'
import type { ObjectBody, ObjectRange } from '../../server/stores/object-body.ts'
import { makeBytes } from '../support/content.ts'

const CHUNK_BYTES = 1000
const PIECE_BYTES = 4000
const bytes = makeBytes(50 * CHUNK_BYTES + 7)

/** What a chunk takes, in ms; a stream that is open as a whole, and one of a piece. */
interface Weather {
  wholeMs?: number
  pieceMs?: number
  /** Throws instead of the chunk that begins there. */
  cutAt?: number
  /** Pieces ahead that are refused, by their first byte. */
  refuses?: (start: number) => boolean
}

/** A store on a clock of its own, that keeps a list of what was asked. */
function openStore(weather: Weather) {
  const { wholeMs = 1, pieceMs = 1, refuses } = weather
  let nowMs = 0
  const asked: string[] = []
  /** Pieces that nobody reads yet. */
  const ahead = { waiting: 0, most: 0 }
  const bodyOf = (
    { start, end }: ObjectRange,
    takesMs: number,
    onBegin: () => void,
  ): ObjectBody => {
    const stop = end === undefined ? bytes.length : Number(end)
    async function* chunks() {
      onBegin()
      for (let at = Number(start); at < stop; at += CHUNK_BYTES) {
        nowMs += takesMs
        if (at === weather.cutAt) throw new Error('cut')
        yield bytes.subarray(at, Math.min(stop, at + CHUNK_BYTES))
      }
    }
    return { sizeBytes: BigInt(stop) - start, chunks: chunks() }
  }
  const opener: RangeOpener = {
    async open(range) {
      const { start, end } = range
      const isWhole = end === undefined || end - start > PIECE_BYTES
      asked.push(isWhole ? `all from ${start}` : `piece ${start}`)
      return bodyOf(range, isWhole ? wholeMs : pieceMs, () => undefined)
    },
    async openAhead(range) {
      asked.push(`ahead ${range.start}`)
      if (refuses?.(Number(range.start)) === true) return undefined
      ahead.waiting += 1
      ahead.most = Math.max(ahead.most, ahead.waiting)
      return bodyOf(range, pieceMs, () => {
        ahead.waiting -= 1
      })
    },
  }
  return { opener, asked, ahead, now: () => nowMs }
}

type Store = ReturnType<typeof openStore>

/** Slow is what brings less than 250 bytes a millisecond, once that is known for 10 ms. */
const makeAhead = (store: Store, more: Partial<AheadSettings> = {}) =>
  createReadAhead({
    pieceBytes: PIECE_BYTES,
    piecesMax: 3,
    slowMs: 10,
    slowBytesPerSecond: 250_000,
    now: store.now,
    ...more,
  })

async function readAll(ahead: ReadAhead, { opener }: Store, start = 0n): Promise<Buffer> {
  const found: Uint8Array[] = []
  const range = { start, end: undefined, signal: undefined }
  for await (const chunk of ahead.read(opener, range)) found.push(Buffer.from(chunk))
  return Buffer.concat(found)
}

describe('createReadAhead()', () => {
  it('asks once where one stream keeps up', async () => {
    const store = openStore({ wholeMs: 3 })
    expect((await readAll(makeAhead(store), store)).equals(bytes)).toBe(true)
    expect(store.asked).toEqual(['all from 0'])
  })

  it('asks once where it is the reader who takes his time', async () => {
    let readerMs = 0
    const store = openStore({ wholeMs: 3 })
    const ahead = makeAhead(store, { now: () => store.now() + readerMs })
    const range = { start: 0n, end: undefined, signal: undefined }
    for await (const _ of ahead.read(store.opener, range)) readerMs += 1000
    expect(store.asked).toEqual(['all from 0'])
  })

  it('lets pieces run ahead of a slow stream, in order, each asked for once', async () => {
    const store = openStore({ wholeMs: 5 })
    expect((await readAll(makeAhead(store), store, 7n)).equals(bytes.subarray(7))).toBe(true)
    // Known to be slow after two chunks; from there on in pieces, the first one read as it comes.
    const pieces = Array.from({ length: 12 }, (_, index) => 2007 + index * PIECE_BYTES)
    expect(store.asked).toEqual([
      'all from 7',
      ...pieces.map((start, index) => `${index === 0 ? 'piece' : 'ahead'} ${start}`),
    ])
    expect(store.ahead).toEqual({ waiting: 0, most: 3 })
  })

  it('keeps the pieces of all readers together within bounds', async () => {
    const store = openStore({ wholeMs: 5 })
    const ahead = makeAhead(store, { piecesMax: 6 })
    const all = await Promise.all(Array.from({ length: 5 }, () => readAll(ahead, store)))
    expect(all.every((found) => found.equals(bytes))).toBe(true)
    expect(store.ahead.waiting).toBe(0)
    // Three readers have two each, and the one whose turn has come; the others stay with one stream.
    expect(store.ahead.most).toBeGreaterThan(3)
    expect(store.ahead.most).toBeLessThanOrEqual(6 + 3)
  })

  it('goes back to one stream where pieces are slower still', async () => {
    const store = openStore({ wholeMs: 5, pieceMs: 20 })
    expect((await readAll(makeAhead(store), store)).equals(bytes)).toBe(true)
    expect(store.asked.filter((line) => line.startsWith('all'))).toEqual([
      'all from 0',
      `all from ${2000 + 2 * PIECE_BYTES}`,
    ])
  })

  it('leaves a short rest to the stream that brings it', async () => {
    const store = openStore({ wholeMs: 5 })
    const start = BigInt(bytes.length - 2 * PIECE_BYTES)
    expect(await readAll(makeAhead(store), store, start)).toHaveLength(2 * PIECE_BYTES)
    expect(store.asked).toEqual([`all from ${start}`])
  })

  it('asks again for a piece that was refused, and for fewer at once', async () => {
    const refused = 2000 + 2 * PIECE_BYTES
    const store = openStore({ wholeMs: 5, refuses: (start) => start === refused })
    expect((await readAll(makeAhead(store), store)).equals(bytes)).toBe(true)
    const after = store.asked.slice(store.asked.indexOf(`piece ${refused}`))
    expect(after.length).toBeGreaterThan(0)
    // What was on its way then was three; later ones wait for their turn.
    expect(store.asked.filter((line) => line === `ahead ${refused}`)).toHaveLength(1)
    expect(after.filter((line) => line.startsWith('ahead')).length).toBeGreaterThan(0)
  })

  it('throws the fault of a piece in its turn, after all before it, and lets go of the others', async () => {
    const cutAt = 2000 + 2 * PIECE_BYTES
    const weather: Weather = { wholeMs: 5, cutAt }
    const store = openStore(weather)
    const ahead = makeAhead(store)
    let readBytes = 0
    const signals: (AbortSignal | undefined)[] = []
    const opener: RangeOpener = {
      open: store.opener.open,
      openAhead(range, hold) {
        signals.push(range.signal)
        return store.opener.openAhead(range, hold)
      },
    }
    const reading = async () => {
      const range = { start: 0n, end: undefined, signal: undefined }
      for await (const chunk of ahead.read(opener, range)) readBytes += chunk.length
    }
    await expect(reading()).rejects.toThrow('cut')
    expect(readBytes).toBe(cutAt)
    expect(signals.length).toBeGreaterThan(2)
    expect(signals.every((signal) => signal?.aborted)).toBe(true)
    // All that was taken was given back: the next reader has its three.
    delete weather.cutAt
    Object.assign(store.ahead, { waiting: 0, most: 0 })
    expect((await readAll(ahead, store)).equals(bytes)).toBe(true)
    expect(store.ahead).toEqual({ waiting: 0, most: 3 })
  })

  it('refuses a piece of another size', async () => {
    const store = openStore({ wholeMs: 5 })
    const opener: RangeOpener = {
      open: store.opener.open,
      openAhead: ({ end = 0n, ...range }, hold) =>
        store.opener.openAhead({ ...range, end: end - 1n }, hold),
    }
    const read = readAll(makeAhead(store), { ...store, opener })
    await expect(read).rejects.toMatchObject({
      code: 'store_unavailable',
      expected: `${PIECE_BYTES} bytes`,
      found: `${PIECE_BYTES - 1} bytes`,
    })
  })
})
