/** Doors of `POST …/contents` and `GET …/delivery`. */
import { endpoints } from '../../schemas/api.ts'
import { nameCaller } from '../access/scopes.ts'
import type { Delivery } from '../delivery/artifacts.ts'
import { deliverContents, deliverOne, type ManyContents } from '../delivery/contents.ts'
import type { Heads } from '../log/heads.ts'
import type { Room } from '../room.ts'
import { type App, mount, reply } from './mount.ts'

/** How long an answer waits for the signer. */
const PATIENCE_MS = 5000
/** What an answer holds at a time: records and receipts, contents that were read, and what is sent next. */
const ANSWER_BYTES = 5 * 1024 ** 2
/** Sent at once. */
const PIECE_BYTES = 128 * 1024

/** Doors to artifacts with all that it takes to judge them: many small ones of a run, or one. */
export function mountContents(app: App, delivery: Delivery, heads: Heads, room: Room): void {
  const { publicRead: anonymous } = delivery.settings
  mount(
    app,
    'getContents',
    endpoints.getContents,
    async ({ params, body, principal, signal, stay: bodyStay }) => {
      bodyStay?.[Symbol.dispose]()
      const wanted = { ...params, names: body.names }
      const question = { since: body.since, patienceMs: PATIENCE_MS }
      const stay = await room.enter(nameCaller(principal), ANSWER_BYTES, signal)
      // Looked up once there is room: what is known of each takes some, too.
      const answer = () => deliverContents(delivery, heads, principal, wanted, question)
      return { type: 'application/json', stay, pieces: encodeContents(answer) }
    },
    { anonymous },
  )
  mount(
    app,
    'getDelivery',
    endpoints.getDelivery,
    async ({ params, query, principal }) => {
      const question = { since: query.since, patienceMs: PATIENCE_MS }
      const answer = await deliverOne(delivery, heads, principal, params, question)
      return reply(200, answer, { 'cache-control': 'no-store' })
    },
    { anonymous },
  )
}

/** `{"consistency":[…],"items":[…]}` in pieces, each good until the next one is asked for. */
async function* encodeContents(answer: () => Promise<ManyContents>): AsyncGenerator<Uint8Array> {
  const { items, consistency } = await answer()
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  const before = consistency === undefined ? '' : `"consistency":${JSON.stringify(consistency)},`
  let used = piece.write(`{${before}"items":[`)
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
