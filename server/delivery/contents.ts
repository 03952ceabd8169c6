/**
 * Step 6 for many small artifacts of a run at once: what a client needs to judge each of them, and its
 * bytes. Bytes that this server is the door of, or that share an object with others, are handed over
 * here; for all others the client gets grants, so that they do not pass through the server.
 */
import { freeChunk } from '../../client/disk/spent-chunk.ts'
import { BATCH_CONTENT_BYTES_MAX } from '../../schemas/batch.ts'
import { CONTENTS_BYTES_MAX, type Contents } from '../../schemas/contents.ts'
import { formatProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../access/scopes.ts'
import type { Heads } from '../log/heads.ts'
import { judgeStatements } from '../log/statements.ts'
import { createReceiptMaker } from '../log/tiles.ts'
import { findStored, type StoredArtifact } from '../records/artifacts.ts'
import { findLeavesOfRun, type LeafRow } from '../records/log.ts'
import { type Delivery, grantRead, isReadable, noArtifact } from './artifacts.ts'

type Item = Contents['items'][number]

export interface ContentsOptions {
  /** How long the answer waits for the signer, in ms. */
  receiptPatienceMs: number
  /** Runs `gather`, which takes memory for so many artifacts, when there is room for it. */
  takeTurn: <T>(count: number, gather: () => Promise<T>) => Promise<T>
}

/** What there is of each name, in order. Each is given or refused by itself, in the words of a single request. */
export async function deliverContents(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  run: { task: string; run: number; names: readonly string[] },
  { receiptPatienceMs, takeTurn }: ContentsOptions,
): Promise<Contents> {
  const { task } = run
  const names = run.names.filter((name) => isReadable(delivery, principal, ['get'], task, name))
  const stored = new Map(
    (await findStored(delivery.sql, task, run.run, names)).map((one) => [one.artifact.name, one]),
  )
  const leaves = Map.groupBy(
    await findLeavesOfRun(delivery.sql, task, run.run, [...stored.keys()]),
    ({ name }) => name,
  )
  const prove = await openReceipts(delivery, heads, leaves, receiptPatienceMs)
  const handsOver = chooseContents(delivery, run.names, stored)
  const gather = async (name: string): Promise<Item> => {
    try {
      const found = stored.get(name)
      const rows = leaves.get(name)
      if (found === undefined || rows === undefined) throw noArtifact({ ...run, name })
      judgeStatements(found.artifact, rows)
      const receipt = await prove(rows)
      if (!handsOver.has(name))
        return { outcome: 'granted', receipt, grant: await grantRead(delivery, found, true) }
      const bytes = await readWhole(delivery, found)
      const content = bytes.toString('base64')
      freeChunk(bytes)
      return { outcome: 'content', receipt, content }
    } catch (error) {
      if (!(error instanceof ArtifactError)) throw error
      return { outcome: 'refused', problem: formatProblem(error) }
    }
  }
  const items = await takeTurn(run.names.length, () => Promise.all(run.names.map(gather)))
  return { items }
}

/** Makes receipts under one head; `null` for a leaf that is not signed in time, or where nobody signs. */
async function openReceipts(
  { sql }: Delivery,
  heads: Heads,
  leaves: ReadonlyMap<string, readonly LeafRow[]>,
  patienceMs: number,
): Promise<(rows: readonly LeafRow[]) => Promise<string | null>> {
  if (heads.newest() === undefined) return async () => null
  const last = Math.max(0, ...Array.from(leaves.values(), ([seal]) => (seal?.idx ?? 0) + 1))
  const head = (await heads.waitFor(last, patienceMs)) ?? heads.newest()
  if (head === undefined) return async () => null
  const make = createReceiptMaker(sql, head, heads.tiles)
  return async ([seal]) => (seal !== undefined && seal.idx < head.size ? make(seal) : null)
}

/** The names whose bytes go into the answer: the first ones, until it is full. */
function chooseContents(
  { store }: Delivery,
  names: readonly string[],
  stored: ReadonlyMap<string, StoredArtifact>,
): Set<string> {
  const chosen = new Set<string>()
  let total = 0
  for (const name of names) {
    const found = stored.get(name)
    if (found === undefined || !store.handsOver(found.blobTag)) continue
    const sizeBytes = Number(found.artifact.sizeBytes)
    if (sizeBytes > BATCH_CONTENT_BYTES_MAX || total + sizeBytes > CONTENTS_BYTES_MAX) continue
    total += sizeBytes
    chosen.add(name)
  }
  return chosen
}

async function readWhole({ store }: Delivery, { blobKey, blobTag }: StoredArtifact) {
  const chunks: Uint8Array[] = []
  for await (const chunk of store.read(blobKey, blobTag)) chunks.push(chunk)
  return Buffer.concat(chunks)
}
