/** Step 6 begins here: records, part digests, grants for the bytes, checksums of a run. */

import { formatChecksumLine } from '../../client/verify/checksums-file.ts'
import type { Artifact, ArtifactParts } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import type { Grant } from '../../schemas/upload.ts'
import { isAllowed, isAllowedSomewhere, type Principal, type Verb } from '../access/scopes.ts'
import { checkServable } from '../log/statements.ts'
import {
  findArtifact,
  findLatestRun,
  findParts,
  listArtifacts,
  type StoredArtifact,
} from '../records/artifacts.ts'
import type { Sql } from '../records/database.ts'
import { hasRun } from '../records/tasks.ts'
import type { Store } from '../stores/store.ts'

export interface Delivery {
  sql: Sql
  store: Store
  settings: {
    /** Names under `public/` are readable without a token. */
    publicRead: boolean
    grantTtlSeconds: number
  }
}

export interface Address {
  task: string
  run: RunSelector
  name: string
}

/**
 * The record, if any of the verbs is the principal's on this name. Throws `not_found` both when it is not there and when it
 * is not theirs to see, so that the answer tells nothing.
 */
export async function getArtifact(
  delivery: Delivery,
  principal: Principal,
  verbs: readonly Verb[],
  { task, run, name }: Address,
): Promise<StoredArtifact> {
  const stored = isReadable(delivery, principal, verbs, task, name)
    ? await findArtifact(delivery.sql, task, run, name)
    : undefined
  if (stored !== undefined) return stored
  throw noArtifact({ task, run, name })
}

/** The error for what is not there, and for what is not theirs to see. */
export function noArtifact({ task, run, name }: Address): ArtifactError {
  return new ArtifactError(
    'not_found',
    `Cannot find ${task}/${run}/${name}: there is no such artifact`,
  )
}

/** The part digests of a sealed artifact, in order. */
export async function getArtifactParts(
  delivery: Delivery,
  artifact: Artifact,
): Promise<ArtifactParts> {
  const parts = await findParts(delivery.sql, artifact)
  if (parts === undefined) throw new Error(`${artifact.reference} lost its record`)
  return { reference: artifact.reference, partSizeBytes: artifact.partSizeBytes, parts }
}

/** A grant for the bytes. Throws `artifact_revoked` or `artifact_removed` when that was said of it; `bound` signs If-Match into it, which a plain redirect cannot carry. */
export async function grantContent(
  delivery: Delivery,
  stored: StoredArtifact,
  bound: boolean,
): Promise<Grant> {
  await checkServable(delivery.sql, stored.artifact)
  return grantRead(delivery, stored, bound)
}

/** {@link grantContent} of what is known to be neither revoked nor removed. */
export function grantRead(
  delivery: Delivery,
  { artifact, blobKey, blobTag }: StoredArtifact,
  bound: boolean,
): Promise<Grant> {
  return delivery.store.grantRead(blobKey, blobTag, {
    fileName: artifact.name.split('/').at(-1) ?? artifact.name,
    contentType: artifact.contentType,
    ttlSeconds: delivery.settings.grantTtlSeconds,
    bound,
  })
}

/** The number of a run; `latest` is the highest one with anything sealed. Throws `not_found`. */
export async function resolveRun(
  delivery: Delivery,
  principal: Principal,
  task: string,
  run: RunSelector,
): Promise<number> {
  if (isAllowedSomewhere(principal, 'list', task)) {
    if (run !== 'latest' && (await hasRun(delivery.sql, task, run))) return run
    const latest = run === 'latest' ? await findLatestRun(delivery.sql, task) : undefined
    if (latest !== undefined) return latest
  }
  throw new ArtifactError('not_found', `Cannot find ${task}/${run}: there is no such run`)
}

const PAGE = 1000

/** SHA256SUMS of a run, line by line; holds one page in memory. Only what the principal may list. */
export async function* formatChecksums(
  delivery: Delivery,
  principal: Principal,
  task: string,
  run: number,
): AsyncIterable<string> {
  let after = ''
  for (;;) {
    const artifacts = await listArtifacts(delivery.sql, task, run, {
      prefix: '',
      after,
      limit: PAGE,
    })
    const lines = artifacts
      .filter((artifact) => isAllowed(principal, 'list', task, artifact.name))
      .map(formatChecksumLine)
    if (lines.length > 0) yield lines.join('')
    const last = artifacts.at(-1)
    if (last === undefined || artifacts.length < PAGE) return
    after = last.name
  }
}

/** Whether any of the verbs is the principal's on this name, or it is anybody's to read. */
export function isReadable(
  delivery: Delivery,
  principal: Principal,
  verbs: readonly Verb[],
  task: string,
  name: string,
): boolean {
  if (delivery.settings.publicRead && name.startsWith('public/')) return true
  return verbs.some((verb) => isAllowed(principal, verb, task, name))
}
