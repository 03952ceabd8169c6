/** Door of `POST /v1/artifacts`. */
import { endpoints } from '../../schemas/api.ts'
import type { Intake } from '../intake/session.ts'
import { createTurns, sealBatch } from '../seal/batch.ts'
import type { Sealer } from '../seal/seal.ts'
import { type App, mount, reply } from './mount.ts'

/** Door for many small artifacts at once. */
export function mountBatch(app: App, intake: Intake, sealer: Sealer): void {
  const takeTurn = createTurns()
  mount(app, 'sealBatch', endpoints.sealBatch, async ({ body: { artifacts }, principal }) =>
    reply(
      200,
      await takeTurn(artifacts.length, () => sealBatch(intake, sealer, principal, artifacts)),
    ),
  )
}
