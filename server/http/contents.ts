/** Door of `POST …/contents`. */
import { endpoints } from '../../schemas/api.ts'
import type { Delivery } from '../delivery/artifacts.ts'
import { type ContentsItem, deliverContents } from '../delivery/contents.ts'
import type { Heads } from '../log/heads.ts'
import type { Room } from '../room.ts'
import { type App, mount } from './mount.ts'

/** How long the answer waits for the signer. */
const RECEIPT_PATIENCE_MS = 5000
/** What an answer holds at a time: records and receipts, contents that were read, and what is sent next. */
const ANSWER_BYTES = 5 * 1024 ** 2
/** Sent at once. */
const PIECE_BYTES = 128 * 1024

/** Door to many small artifacts at once. */
export function mountContents(app: App, delivery: Delivery, heads: Heads, room: Room): void {
  mount(
    app,
    'getContents',
    endpoints.getContents,
    async ({ params, body, principal, signal, stay: bodyStay }) => {
      bodyStay?.[Symbol.dispose]()
      const wanted = { ...params, names: body.names }
      const items = deliverContents(delivery, heads, principal, wanted, RECEIPT_PATIENCE_MS)
      const stay = await room.enter(ANSWER_BYTES, signal)
      return { type: 'application/json', stay, pieces: encodeItems(items) }
    },
    { anonymous: delivery.settings.publicRead },
  )
}

/** `{"items":[…]}` in pieces, each good until the next one is asked for. */
async function* encodeItems(items: AsyncIterable<ContentsItem>): AsyncGenerator<Uint8Array> {
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  let used = piece.write('{"items":[')
  let between = ''
  for await (const item of items) {
    const text = between + JSON.stringify(item)
    between = ','
    const sizeBytes = Buffer.byteLength(text)
    if (used + sizeBytes > piece.length) {
      yield piece.subarray(0, used)
      used = 0
    }
    if (sizeBytes > piece.length) yield Buffer.from(text)
    else used += piece.write(text, used)
  }
  if (used > piece.length - 2) {
    yield piece.subarray(0, used)
    used = 0
  }
  used += piece.write(']}', used)
  yield piece.subarray(0, used)
}
