/** Door of `POST /v1/artifacts`. */
import pLimit from 'p-limit'
import { endpoints } from '../../schemas/api.ts'
import { BATCH_MAX } from '../../schemas/batch.ts'
import type { Intake } from '../intake/session.ts'
import { sealBatch } from '../seal/batch.ts'
import type { Sealer } from '../seal/seal.ts'
import { type App, mount, reply } from './mount.ts'

/**
 * Artifacts of each kind of batch that are under way at once. The right to verify runs from the
 * moment a batch is on record: one that waited behind many thousands of artifacts would have lost it
 * before its turn comes.
 */
const ARTIFACTS_AT_ONCE = 4 * BATCH_MAX
/** Batches up to this size do not wait for larger ones. */
const FEW = 16

/** Door for many small artifacts at once. */
export function mountBatch(app: App, intake: Intake, sealer: Sealer): void {
  const few = pLimit(ARTIFACTS_AT_ONCE / FEW)
  const many = pLimit(ARTIFACTS_AT_ONCE / BATCH_MAX)
  mount(app, 'sealBatch', endpoints.sealBatch, async ({ body, principal }) => {
    const turn = body.artifacts.length <= FEW ? few : many
    return reply(200, await turn(() => sealBatch(intake, sealer, principal, body.artifacts)))
  })
}
