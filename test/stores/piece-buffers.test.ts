import { describe, expect, it } from 'vitest'
import {
  createPieceBuffers,
  PIECE_BYTES_MAX,
  PIECE_BYTES_MIN,
  type PieceBuffer,
} from '../../server/stores/piece-buffers.ts'

const SHARED_BYTES = 8 * PIECE_BYTES_MAX

function takeMany(count: number, buffers = createPieceBuffers(SHARED_BYTES)): PieceBuffer[] {
  return Array.from({ length: count }, () => buffers.take(Number.MAX_SAFE_INTEGER))
}

describe('buffers for pieces', () => {
  it('gives few the largest, and many together little more than they share', () => {
    const sizes = takeMany(300).map(({ bytes }) => bytes.length)
    expect(sizes.slice(0, 4)).toEqual(Array(4).fill(PIECE_BYTES_MAX))
    expect(sizes.at(-1)).toBe(PIECE_BYTES_MIN)
    const sum = sizes.reduce((total, size) => total + size, 0)
    expect(sum).toBeLessThan(SHARED_BYTES + 300 * PIECE_BYTES_MIN)
  })

  it('makes none larger than what shall go into it', () => {
    expect(createPieceBuffers().take(10).bytes.length).toBe(10)
  })

  it('counts what is given back, once', () => {
    const buffers = createPieceBuffers(SHARED_BYTES)
    for (const buffer of takeMany(100, buffers)) {
      buffer[Symbol.dispose]()
      buffer[Symbol.dispose]()
    }
    const sizes = takeMany(6, buffers).map(({ bytes }) => bytes.length)
    expect(sizes).toEqual(takeMany(6).map(({ bytes }) => bytes.length))
  })
})
