import { describe, expect, it } from 'vitest'
import { createBudget } from '../../client/transfer/budget.ts'
import { connect } from '../../client/transfer/connection.ts'
import { createGrantBatcher } from '../../client/transfer/grant-batcher.ts'
import { createMeter } from '../../client/transfer/meter.ts'
import { sendAll } from '../../client/transfer/send-all.ts'
import { openStreamSource } from '../../client/transfer/source.ts'
import { PARTS_MAX } from '../../schemas/primitives.ts'

/** Hashes a stream in parts of one byte, as an upload does, without sending it anywhere. */
async function hashStream(sizeBytes: number, declared?: bigint, memoryBytes?: number) {
  await using connection = connect({ url: 'http://127.0.0.1:1' })
  const { signal } = new AbortController()
  let read = 0
  async function* stream() {
    while (read < sizeBytes) {
      const chunk = Buffer.alloc(Math.min(1000, sizeBytes - read))
      read += chunk.length
      yield chunk
    }
  }
  const context = {
    connection,
    uploadId: '',
    grants: createGrantBatcher(connection, '', { batchMax: 1, ready: [], signal }),
    meter: createMeter('t/0/n', undefined),
    signal,
    lastMove: { atMs: 0 },
  }
  const source = openStreamSource(stream(), declared)
  const plan = { partSizeBytes: 1, held: new Map<number, string>(), isSending: false }
  const outcome = sendAll(context, createBudget({ memoryBytes }), source, plan)
  return outcome.then(
    ({ digest }) => ({ parts: digest.parts.length, code: undefined, read }),
    (error: unknown) => ({
      parts: 0,
      code: error instanceof Error && 'code' in error ? error.code : error,
      read,
    }),
  )
}

describe('sendAll()', () => {
  it('takes a stream of as many parts as there may be', async () => {
    expect(await hashStream(PARTS_MAX)).toMatchObject({ parts: PARTS_MAX })
  })

  it('stops at the first part too many', async () => {
    const outcome = await hashStream(PARTS_MAX + 5000)
    expect(outcome.code).toBe('limit_exceeded')
    expect(outcome.read).toBeLessThanOrEqual(PARTS_MAX + 1000)
  })

  it('reads nothing when the declared size has too many parts', async () => {
    const outcome = await hashStream(PARTS_MAX + 1, BigInt(PARTS_MAX + 1))
    expect(outcome).toMatchObject({ code: 'limit_exceeded', read: 0 })
  })
})
