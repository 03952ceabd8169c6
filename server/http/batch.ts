/** Door of `POST /v1/artifacts`. */
import { endpoints } from '../../schemas/api.ts'
import type { Intake } from '../intake/session.ts'
import type { Sequencer } from '../log/sequencer.ts'
import { sealBatch } from '../seal/batch.ts'
import { type App, mount, reply } from './mount.ts'

/** Door for many small artifacts at once. */
export function mountBatch(app: App, intake: Intake, sequencer: Sequencer): void {
  mount(app, 'sealBatch', endpoints.sealBatch, async ({ body, principal }) =>
    reply(200, await sealBatch(intake, sequencer, principal, body.artifacts)),
  )
}
