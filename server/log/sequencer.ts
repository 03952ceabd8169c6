/**
 * Step 5: to seal is to append. Records and their leaves are inserted by the same transaction, in
 * the order of the log, for as many uploads at once as are waiting (group commit).
 *
 *     lock -> records -> leaves, full tiles, tree -> uploads and events -> commit
 *
 * Any number of servers may do this: the lock makes them wait, and the chain of trees (`prev_size`
 * is unique) makes a second batch after the same tree impossible even without it.
 */
import { restoreFrontier } from '../../client/verify/frontier.ts'
import { formatLeaf, leafOfArtifact } from '../../client/verify/leaf.ts'
import { HASH_BYTES, hashLeaf, isSameHash } from '../../client/verify/merkle.ts'
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { alreadySealed } from '../intake/open.ts'
import { findArtifact, insertArtifacts, type NewArtifact } from '../records/artifacts.ts'
import type { Transaction } from '../records/database.ts'
import { appendUploadEvents } from '../records/events.ts'
import {
  appendBatch,
  type LeafRow,
  lockHead,
  type NodeRow,
  type StoredTree,
} from '../records/log.ts'
import type { Outbox } from '../records/outbox.ts'
import { endSealed } from '../records/upload-endings.ts'
import { formatUpload } from '../records/upload-row.ts'

/** Most artifacts in one transaction. */
const BATCH_MAX = 500

/** One verified upload that wants to be sealed. */
export interface Entry {
  artifact: NewArtifact
  /** Who holds the right to verify the upload. */
  holder: string
}

export interface Sequencer {
  /**
   * Seals one artifact and ends its upload; resolves with its record when the transaction is
   * committed. It is the record of another upload when that one sealed the same content before.
   * Throws `already_sealed` when the name holds other content, `overloaded` when the right to verify
   * was lost; nothing was inserted then.
   */
  seal(entry: Entry): Promise<Artifact>
}

interface Waiting {
  entry: Entry
  resolve(artifact: Artifact): void
  reject(error: unknown): void
}

/** Makes the sequencer of this process. */
export function createSequencer(outbox: Outbox, clock: () => Date): Sequencer {
  let queue: Waiting[] = []
  let isRunning = false

  async function drain(): Promise<void> {
    isRunning = true
    // Those who come at the same moment go together, the first one with them.
    await Promise.resolve()
    while (queue.length > 0) {
      const batch = queue.slice(0, BATCH_MAX)
      queue = queue.slice(BATCH_MAX)
      await settle(outbox, clock, batch)
    }
    isRunning = false
  }

  return {
    seal(entry) {
      const { promise, resolve, reject } = Promise.withResolvers<Artifact>()
      queue.push({ entry, resolve, reject })
      // Whoever comes while a transaction runs goes with the next one, all together.
      if (!isRunning) void drain()
      return promise
    },
  }
}

/** Settles every one of a batch; never throws. One that spoils the batch must not spoil the others. */
async function settle(outbox: Outbox, clock: () => Date, batch: readonly Waiting[]): Promise<void> {
  try {
    const outcomes = await sealBatch(
      outbox,
      clock,
      batch.map(({ entry }) => entry),
    )
    for (const [index, waiting] of batch.entries()) {
      const outcome = outcomes[index]
      if (outcome === undefined || outcome instanceof Error)
        waiting.reject(outcome ?? new Error('A batch lost one of its entries'))
      else waiting.resolve(outcome)
    }
  } catch (error) {
    const [only] = batch
    if (batch.length === 1) return only?.reject(error)
    for (const waiting of batch) await settle(outbox, clock, [waiting])
  }
}

/** The record or the refusal of each, in order. Throws when nothing at all was done. */
async function sealBatch(
  outbox: Outbox,
  clock: () => Date,
  entries: readonly Entry[],
): Promise<(Artifact | Error)[]> {
  return outbox.change(async (tx) => {
    const tree = await lockHead(tx)
    const sealedAt = clock()
    const wanted = entries.map(({ artifact }) => artifact)
    const fresh = await insertArtifacts(tx, wanted, sealedAt)
    const sealed = wanted.flatMap(({ uploadId, parts }) => {
      const record = fresh.get(uploadId)
      return record === undefined ? [] : [{ record, parts }]
    })
    const outcomes: (Artifact | Error)[] = []
    for (const artifact of wanted)
      outcomes.push(fresh.get(artifact.uploadId) ?? (await judgeTaken(tx, artifact)))
    const growth = sealed.length > 0 ? grow(tree, sealed) : undefined
    await endUploads(tx, entries, outcomes, sealedAt, growth)
    return outcomes
  })
}

/**
 * The log grows, the uploads of what is sealed end, and the watchers hear of it. What can be is sent
 * at once: all who seal, on every server, wait for this transaction.
 */
async function endUploads(
  tx: Transaction,
  entries: readonly Entry[],
  outcomes: readonly (Artifact | Error)[],
  at: Date,
  growth: Growth | undefined,
): Promise<void> {
  const records = new Map<string, Artifact>()
  for (const [index, { artifact }] of entries.entries()) {
    const outcome = outcomes[index]
    if (outcome !== undefined && !(outcome instanceof Error))
      records.set(artifact.uploadId, outcome)
  }
  const wanted = entries.filter(({ artifact }) => records.has(artifact.uploadId))
  if (wanted.length === 0) return
  const rights = wanted.map(({ artifact, holder }) => ({ id: artifact.uploadId, holder }))
  // Neither sends anything more once the other has failed: the transaction is over then.
  const [ended] = await Promise.all([
    endSealed(tx, rights, at),
    growth && appendBatch(tx, growth.before, growth.leaves, growth.nodes, growth.after),
  ])
  // Throwing takes the records back too: they are the next holder's to insert.
  if (ended.length < wanted.length)
    throw new ArtifactError('overloaded', 'Cannot go on sealing: another server does')
  const uploads = ended.map((upload) => formatUpload(upload, records.get(upload.id)))
  await appendUploadEvents(tx, uploads, at)
}

/** The name was taken: by the same content, which is as good, or by other content. */
async function judgeTaken(tx: Transaction, offered: NewArtifact): Promise<Artifact | Error> {
  const { task, run, name, sha256, sizeBytes } = offered
  const artifact = (await findArtifact(tx, task, run, name))?.artifact
  if (artifact === undefined) throw new Error(`${task}/${run}/${name} is neither new nor known`)
  const isSame = artifact.sha256 === sha256 && artifact.sizeBytes === sizeBytes.toString()
  return isSame ? artifact : alreadySealed(artifact, sha256, sizeBytes.toString())
}

/** What a batch adds to the log. */
interface Growth {
  before: StoredTree
  leaves: LeafRow[]
  nodes: NodeRow[]
  after: StoredTree
}

/** A leaf for each record, in order. */
function grow(
  before: StoredTree,
  sealed: readonly { record: Artifact; parts: readonly Part[] }[],
): Growth {
  const frontier = restoreFrontier(before.size, splitHashes(before.frontier))
  if (!isSameHash(frontier.root(), before.root))
    throw new Error(`The tree of ${before.size} leaves does not agree with its own frontier`)
  const leaves: LeafRow[] = []
  const nodes: NodeRow[] = []
  for (const { record, parts } of sealed) {
    const leaf = formatLeaf(leafOfArtifact(record, parts))
    const leafHash = hashLeaf(leaf)
    const { task, run, name } = record
    leaves.push({ idx: frontier.size, kind: 'seal', task, run, name, leaf, leafHash })
    for (const { level, index, hash } of frontier.append(leafHash))
      nodes.push({ level, idx: index, hash })
  }
  const after = {
    size: frontier.size,
    root: frontier.root(),
    frontier: Buffer.concat(frontier.hashes),
  }
  return { before, leaves, nodes, after }
}

/** The hashes of a stored frontier. */
export function splitHashes(bytes: Uint8Array): Uint8Array[] {
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, index) =>
    bytes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES),
  )
}
