/** A list that is written while it grows says what the whole would have said. */
import { describe, expect, it } from 'vitest'
import { openJsonList } from '../../client/commands/json-list.ts'
import { formatJson } from '../../client/terminal-format.ts'

function openWritten() {
  const written: Uint8Array[] = []
  const terminal = { write: async (bytes: Uint8Array) => void written.push(bytes) }
  return { written, list: openJsonList(terminal, 'artifacts') }
}

const LEAD = { task: 'a', run: 1 }
const AFTER = { failed: [{ name: 'x' }] }

describe('openJsonList()', () => {
  it.each([
    ['no item', [], LEAD, AFTER],
    ['one', [{ name: 'a' }], LEAD, AFTER],
    ['several, of every kind', [{ size: 5n }, null, 'b\u202e"', [1]], LEAD, AFTER],
    ['no lead', [1, 2], {}, AFTER],
    ['nothing after it', [1, 2], LEAD, {}],
    ['a lead that is not known', [], { task: 'a', run: undefined }, AFTER],
  ])('writes what the whole would be: %s', async (_, items, lead, after) => {
    const { written, list } = openWritten()
    for (const item of items) await list.add(lead, item)
    await list.end(lead, after)
    const whole = `${formatJson({ ...lead, artifacts: items, ...after })}\n`
    expect(Buffer.concat(written).toString()).toBe(whole)
  })

  it('writes in order, and long before the end', async () => {
    const { written, list } = openWritten()
    const items = Array.from({ length: 3000 }, (_, index) => ({ index, text: 'x'.repeat(100) }))
    await Promise.all(items.map((item) => list.add(LEAD, item)))
    expect(written.length).toBeGreaterThan(3)
    await list.end(LEAD, AFTER)
    const whole = JSON.parse(Buffer.concat(written).toString())
    expect(whole).toEqual({ ...LEAD, artifacts: items, ...AFTER })
  })
})
