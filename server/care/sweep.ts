/**
 * What nobody asks for and must happen all the same: uploads expire, a seal whose verifier died goes
 * on, the store forgets what no artifact needs. Any number of servers may sweep at once: every step
 * is one conditional change of state.
 */

import type { Intake } from '../intake/session.ts'
import { discardBlob, expireUpload } from '../intake/uploads.ts'
import { deleteEvents } from '../records/events.ts'
import { deleteEndedSignIns } from '../records/sign-ins.ts'
import {
  deleteEnded,
  findExpired,
  findStranded,
  findUnpurged,
  markPurged,
  markSealedPurged,
} from '../records/upload-endings.ts'
import { findUpload } from '../records/uploads.ts'
import type { Sealer } from '../seal/seal.ts'

export interface SweepSettings {
  /** Events are kept this long for those who reconnect. */
  eventTtlSeconds: number
  /** Ended uploads are kept this long for those who ask what became of them. */
  endedTtlSeconds: number
}

const BATCH = 100
/**
 * Until then a late part could bring an object back: S3 takes a header-signed request for 15 minutes,
 * whatever the grant said.
 */
const LATE_PART_SECONDS = 16 * 60

/**
 * One round. `onFault` hears what went wrong with one upload, or one object of the store; the round
 * goes on, and the next one tries again.
 */
export async function sweep(
  intake: Intake,
  sealer: Sealer,
  settings: SweepSettings,
  onFault: (step: string, subject: string, error: unknown) => void,
): Promise<void> {
  await expireAbandoned(intake, onFault)
  await recoverStranded(intake, sealer)
  await purgeLeftovers(intake, onFault)
  await intake.store.tidy((subject, error) => onFault('tidy', subject, error))
  const now = intake.clock().getTime()
  await deleteEvents(intake.sql, new Date(now - settings.eventTtlSeconds * 1000))
  await deleteEndedSignIns(intake.sql, new Date(now))
  await deleteEnded(intake.sql, new Date(now - settings.endedTtlSeconds * 1000))
}

async function expireAbandoned(
  intake: Intake,
  onFault: (step: string, uploadId: string, error: unknown) => void,
): Promise<void> {
  for (const id of await findExpired(intake.sql, intake.clock(), BATCH)) {
    const record = await findUpload(intake.sql, id)
    if (record === undefined) continue
    await expireUpload(intake, record).catch((error: unknown) => onFault('expire', id, error))
  }
}

async function recoverStranded(intake: Intake, sealer: Sealer): Promise<void> {
  const stranded = await findStranded(intake.sql, intake.clock(), BATCH)
  await Promise.all(stranded.map((upload) => sealer.recover(upload)))
}

async function purgeLeftovers(
  intake: Intake,
  onFault: (step: string, uploadId: string, error: unknown) => void,
): Promise<void> {
  const now = intake.clock()
  const before = new Date(now.getTime() - LATE_PART_SECONDS * 1000)
  await markSealedPurged(intake.sql, before, now)
  for (const record of await findUnpurged(intake.sql, before, BATCH)) {
    await discardBlob(intake, record)
      .then(() => markPurged(intake.sql, [record.id], now))
      .catch((error: unknown) => onFault('purge', record.id, error))
  }
}
