/** Door of `POST /v1/artifacts`. */
import { endpoints } from '../../schemas/api.ts'
import type { Intake } from '../intake/session.ts'
import { sealBatch } from '../seal/batch.ts'
import type { Sealer } from '../seal/seal.ts'
import { type App, mount, reply } from './mount.ts'

/** Door for many small artifacts at once. */
export function mountBatch(app: App, intake: Intake, sealer: Sealer): void {
  mount(app, 'sealBatch', endpoints.sealBatch, async ({ body, principal }) =>
    reply(200, await sealBatch(intake, sealer, principal, body.artifacts)),
  )
}
