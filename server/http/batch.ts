/** Door of `POST /v1/artifacts`. */
import { endpoints } from '../../schemas/api.ts'
import type { Artifact } from '../../schemas/artifact.ts'
import type { SealedBatch } from '../../schemas/batch.ts'
import { formatReference } from '../../schemas/reference.ts'
import type { Intake } from '../intake/session.ts'
import type { Heads } from '../log/heads.ts'
import { proveSeals } from '../log/tiles.ts'
import type { Sql } from '../records/database.ts'
import { findLeavesOfRun, type LeafRow } from '../records/log.ts'
import { createTurns, sealBatch } from '../seal/batch.ts'
import type { Sealer } from '../seal/seal.ts'
import { type App, mount, reply } from './mount.ts'

/** How long what is sealed waits for the signer. */
const RECEIPT_PATIENCE_MS = 5000

/** Door for many small artifacts at once. */
export function mountBatch(app: App, intake: Intake, sealer: Sealer, heads: Heads): void {
  const takeTurn = createTurns()
  mount(app, 'sealBatch', endpoints.sealBatch, async ({ body, principal }) => {
    const { outcomes } = await takeTurn(body.artifacts.length, () =>
      sealBatch(intake, sealer, principal, body),
    )
    if (!body.receipts) return reply(200, { outcomes })
    return reply(200, await addReceipts(intake, heads, outcomes, body.since))
  })
}

/** The outcomes with the receipts that are there in time. */
async function addReceipts(
  { sql }: Intake,
  heads: Heads,
  outcomes: SealedBatch['outcomes'],
  since: number | undefined,
): Promise<SealedBatch> {
  const sealed = outcomes.flatMap((one) => (one.outcome === 'sealed' ? [one.artifact] : []))
  const seals = new Map((await findSeals(sql, sealed)).map((seal) => [formatReference(seal), seal]))
  const question = { since, patienceMs: RECEIPT_PATIENCE_MS }
  const proofs = await proveSeals(sql, heads, [...seals.values()], question)
  const proven = outcomes.map(async (one) => {
    const seal = one.outcome === 'sealed' ? seals.get(one.artifact.reference) : undefined
    return seal === undefined ? one : { ...one, receipt: await proofs.receiptOf(seal) }
  })
  return { outcomes: await Promise.all(proven), consistency: proofs.consistency }
}

/** The leaves that sealed some artifacts; those of a run are asked for together. */
async function findSeals(sql: Sql, artifacts: readonly Artifact[]): Promise<LeafRow[]> {
  const runs = Map.groupBy(artifacts, ({ task, run }) => `${task}/${run}`)
  const found = Array.from(runs.values(), async (those) => {
    const [first] = those
    if (first === undefined) return []
    const names = those.map(({ name }) => name)
    return findLeavesOfRun(sql, first.task, first.run, names)
  })
  return (await Promise.all(found)).flat().filter(({ kind }) => kind === 'seal')
}
