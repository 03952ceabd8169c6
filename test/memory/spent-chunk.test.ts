import { describe, expect, it } from 'vitest'
import { allocatePages, freeBehind, freeChunk } from '../../client/memory/spent-chunk.ts'

describe('freeChunk()', () => {
  it('gives back the memory of a chunk of its own', () => {
    const chunk = new Uint8Array(new ArrayBuffer(64))
    freeChunk(chunk)
    expect(chunk.length).toBe(0)
  })

  it('leaves memory alone that others may see', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(8)).fill(1)
    const slice = new Uint8Array(new ArrayBuffer(8)).fill(1).subarray(0, 4)
    for (const chunk of [shared, slice]) {
      freeChunk(chunk)
      expect(chunk[0]).toBe(1)
    }
  })
})

describe('allocatePages()', () => {
  it.each([1000, 5 * 1024 ** 2])('gives %d zeros that can be written, cut and freed', (size) => {
    const memory = allocatePages(size)
    expect(memory.equals(Buffer.alloc(size))).toBe(true)
    memory.fill(7)
    const slice = memory.subarray(10, 20)
    expect([...slice]).toEqual(Array(10).fill(7))
    freeChunk(memory)
    expect([memory.length, slice.length]).toEqual([0, 0])
  })

  it('takes large memory from outside the heap of C, to which it goes back whole', async () => {
    const memory = allocatePages(64 * 1024 ** 2).fill(1)
    const before = process.memoryUsage.rss()
    freeChunk(memory)
    expect(before - process.memoryUsage.rss()).toBeGreaterThan(32 * 1024 ** 2)
  })
})

describe('freeBehind()', () => {
  it('keeps a chunk until the next one is asked for', async () => {
    const chunks = [1, 2, 3].map((value) => new Uint8Array(new ArrayBuffer(4)).fill(value))
    async function* source() {
      yield* chunks
    }
    const seen: number[][] = []
    for await (const chunk of freeBehind(source())) seen.push([...chunk])
    expect(seen).toEqual([1, 2, 3].map((value) => Array(4).fill(value)))
    expect(chunks.map((chunk) => chunk.length)).toEqual([0, 0, 0])
  })
})
