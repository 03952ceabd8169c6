/** Door of `POST …/contents`. */
import { endpoints } from '../../schemas/api.ts'
import type { Delivery } from '../delivery/artifacts.ts'
import { deliverContents } from '../delivery/contents.ts'
import type { Heads } from '../log/heads.ts'
import { createTurns } from '../seal/batch.ts'
import { type App, mount, reply } from './mount.ts'

/** How long the answer waits for the signer. */
const RECEIPT_PATIENCE_MS = 5000

/** Door to many small artifacts at once. */
export function mountContents(app: App, delivery: Delivery, heads: Heads): void {
  const options = { receiptPatienceMs: RECEIPT_PATIENCE_MS, takeTurn: createTurns() }
  mount(
    app,
    'getContents',
    endpoints.getContents,
    async ({ params, body, principal }) => {
      const wanted = { ...params, names: body.names }
      return reply(200, await deliverContents(delivery, heads, principal, wanted, options))
    },
    { anonymous: delivery.settings.publicRead },
  )
}
