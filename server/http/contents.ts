/** Doors of `POST …/contents` and `GET …/delivery`. */
import { endpoints } from '../../schemas/api.ts'
import type { Delivery } from '../delivery/artifacts.ts'
import { deliverContents, deliverOne } from '../delivery/contents.ts'
import type { Heads } from '../log/heads.ts'
import { createTurns } from '../seal/batch.ts'
import { type App, mount, reply } from './mount.ts'

/** How long the answer waits for the signer. */
const RECEIPT_PATIENCE_MS = 5000

/** Doors to artifacts with all that it takes to judge them: one, or many small ones of a run. */
export function mountContents(app: App, delivery: Delivery, heads: Heads): void {
  const options = { patienceMs: RECEIPT_PATIENCE_MS, takeTurn: createTurns() }
  const { publicRead: anonymous } = delivery.settings
  mount(
    app,
    'getContents',
    endpoints.getContents,
    async ({ params, body: { names, since }, principal }) => {
      const wanted = { ...params, names }
      const asked = { ...options, since }
      return reply(200, await deliverContents(delivery, heads, principal, wanted, asked))
    },
    { anonymous },
  )
  mount(
    app,
    'getDelivery',
    endpoints.getDelivery,
    async ({ params, query: { since }, principal }) => {
      const asked = { ...options, since }
      const answer = await deliverOne(delivery, heads, principal, params, asked)
      return reply(200, answer, { 'cache-control': 'no-store' })
    },
    { anonymous },
  )
}
