import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { GRANTS_MAX, type PartGrant } from '../../schemas/upload.ts'
import { call, PATIENT_TRIES } from '../api.ts'
import type { Connection } from './connection.ts'

/** Fetches grants just in time: what is asked for while one request runs goes into the next. */
export interface GrantBatcher {
  /** A fresh grant. Throws as the endpoint `requestGrants` does. */
  request(part: Part): Promise<PartGrant>
}

interface Waiter {
  part: Part
  resolve: (grant: PartGrant) => void
  reject: (error: unknown) => void
}

/**
 * A batcher for one upload, at most `batchMax` grants in a request. Grants that came with the
 * opening are handed out first, once.
 */
export function createGrantBatcher(
  connection: Connection,
  uploadId: string,
  options: { batchMax: number; ready: readonly PartGrant[]; signal: AbortSignal },
): GrantBatcher {
  const ready = new Map(options.ready.map((grant) => [grant.number, grant]))
  const batchMax = Math.min(options.batchMax, GRANTS_MAX)
  const waiting: Waiter[] = []
  let isRunning = false

  const fetchBatch = async (batch: Waiter[]): Promise<void> => {
    const { grants } = await call(
      connection,
      'requestGrants',
      {
        params: { id: uploadId },
        body: {
          parts: batch.map(({ part: { number, sizeBytes, sha256 } }) => ({
            number,
            sizeBytes,
            sha256,
          })),
        },
      },
      { signal: options.signal, tries: PATIENT_TRIES },
    )
    const byNumber = new Map(grants.map((grant) => [grant.number, grant]))
    for (const { part, resolve, reject } of batch) {
      const grant = byNumber.get(part.number)
      if (grant !== undefined) resolve(grant)
      else reject(missingGrant(part))
    }
  }
  const run = async (): Promise<void> => {
    if (isRunning) return
    isRunning = true
    while (waiting.length > 0) {
      const batch = waiting.splice(0, batchMax)
      try {
        await fetchBatch(batch)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    isRunning = false
  }
  return {
    request(part) {
      const known = ready.get(part.number)
      ready.delete(part.number)
      if (known !== undefined) return Promise.resolve(known)
      const { promise, resolve, reject } = Promise.withResolvers<PartGrant>()
      waiting.push({ part, resolve, reject })
      void run()
      return promise
    },
  }
}

function missingGrant(part: Part): ArtifactError {
  return new ArtifactError('bad_reply', `Cannot send part ${part.number}: the server gave no grant`)
}
