/** The newest signed head, as every server learns of it. */
import { parseCheckpoint } from '../../client/verify/checkpoint.ts'
import { parseNote } from '../../client/verify/signed-note.ts'
import type { Sql } from '../records/database.ts'
import { findCheckpoint, listenForLog } from '../records/log.ts'
import { createTileCache, type TileCache } from './tile-cache.ts'

export interface SignedHead {
  size: number
  root: Uint8Array
  /** The signed note, as the signer made it. */
  note: string
}

export interface Heads extends AsyncDisposable {
  /** What receipts under these heads share. */
  readonly tiles: TileCache
  /** `undefined` until the first one is signed. */
  newest(): SignedHead | undefined
  /** The newest head once it has at least `size` leaves; `undefined` when that takes longer than `patienceMs`. */
  waitFor(size: number, patienceMs: number): Promise<SignedHead | undefined>
}

/** Follows the checkpoints that the signer publishes. */
export async function openHeads(sql: Sql, onFault: (error: unknown) => void): Promise<Heads> {
  let head: SignedHead | undefined
  const waiting = new Set<() => void>()
  const readNewest = async (): Promise<void> => {
    const found = await findCheckpoint(sql)
    if (found === undefined || found.note === head?.note) return
    const { size, root } = parseCheckpoint(parseNote(found.note).text)
    head = { size, root, note: found.note }
    for (const wake of waiting) wake()
  }
  let reading = readNewest()
  const subscription = await listenForLog(sql, () => {
    reading = reading.then(readNewest).catch(onFault)
  })
  await reading

  return {
    tiles: createTileCache(),
    newest: () => head,
    async waitFor(size, patienceMs) {
      if (head !== undefined && head.size >= size) return head
      const { promise, resolve } = Promise.withResolvers<SignedHead | undefined>()
      const timer = setTimeout(resolve, patienceMs, undefined)
      const wake = () => {
        if (head !== undefined && head.size >= size) resolve(head)
      }
      waiting.add(wake)
      try {
        return await promise
      } finally {
        clearTimeout(timer)
        waiting.delete(wake)
      }
    },
    async [Symbol.asyncDispose]() {
      await subscription.unlisten()
      await reading
    },
  }
}
