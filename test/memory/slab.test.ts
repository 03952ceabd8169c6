import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createBase64Slab, createSlab, takeBase64 } from '../../client/memory/slab.ts'

describe('a slab', () => {
  it('gives every taker bytes of its own, in one memory while that lasts', () => {
    const slab = createSlab(10)
    const taken = [4, 6, 0, 3].map((count) => slab.take(count))
    taken.forEach((bytes, index) => void bytes.fill(index + 1))
    expect(taken.map((bytes) => [...bytes])).toEqual([
      [1, 1, 1, 1],
      [2, 2, 2, 2, 2, 2],
      [],
      [4, 4, 4],
    ])
    const [first, second, , late] = taken
    expect(second?.buffer).toBe(first?.buffer)
    expect(late?.buffer).not.toBe(first?.buffer)
  })

  it('decodes Base64 as Node does, odd characters and odd lengths too', () => {
    const anyText = fc.oneof(
      fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('base64')),
      fc.string({ unit: fc.constantFrom('A', 'z', '+', '/', '=', '-', ' ', '\n', 'ä', '漢') }),
    )
    fc.assert(
      fc.property(fc.array(anyText), (texts) => {
        const slab = createBase64Slab(texts)
        const found = texts.map((text) => takeBase64(slab, text).toString('hex'))
        expect(found).toEqual(texts.map((text) => Buffer.from(text, 'base64').toString('hex')))
      }),
    )
  })
})
