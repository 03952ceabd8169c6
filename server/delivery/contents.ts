/**
 * Step 6 for many small artifacts of a run at once: what a client needs to judge each of them, and its
 * bytes. Bytes that this server is the door of, or that share an object with others, are handed over
 * here; for all others the client gets grants, so that they do not pass through the server.
 */
import { createSlab, type Slab } from '../../client/disk/slab.ts'
import { BATCH_CONTENT_BYTES_MAX } from '../../schemas/batch.ts'
import { CONTENTS_BYTES_MAX, type Contents } from '../../schemas/contents.ts'
import { cutIntoGroups } from '../../schemas/groups.ts'
import { formatProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../access/scopes.ts'
import type { Heads } from '../log/heads.ts'
import { judgeStatements } from '../log/statements.ts'
import { createReceiptMaker } from '../log/tiles.ts'
import { findStored, type StoredArtifact } from '../records/artifacts.ts'
import { findLeavesOfRun, type LeafRow } from '../records/log.ts'
import { type Delivery, grantRead, isReadable, noArtifact } from './artifacts.ts'

/** One artifact of an answer. */
export type ContentsItem = Contents['items'][number]

/** Bytes of contents that are read together, and held until they are told. */
const GROUP_BYTES_MAX = 1024 ** 2

/** What is told of one name, but for its bytes, which are read when it is its turn. */
type Found =
  | { kind: 'refused'; item: ContentsItem }
  | { kind: 'found'; stored: StoredArtifact; receipt: string | null; handsOver: boolean }

/**
 * What there is of each name, in order. Each is given or refused by itself, in the words of a single
 * request. Bytes are read as the items are asked for, some at a time: whoever takes them slowly holds
 * little. The answer waits up to `receiptPatienceMs` for the signer.
 */
export async function* deliverContents(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  run: { task: string; run: number; names: readonly string[] },
  receiptPatienceMs: number,
): AsyncGenerator<ContentsItem> {
  const found = await findAll(delivery, heads, principal, run, receiptPatienceMs)
  for (const group of cutIntoGroups(found, weigh, { weightMax: GROUP_BYTES_MAX })) {
    const slab = createSlab(group.reduce((sum, one) => sum + weigh(one), 0))
    try {
      const contents = await Promise.all(group.map((one) => readContent(delivery, one, slab)))
      for (const tell of contents) yield tell()
    } finally {
      slab.release()
    }
  }
}

function weigh(found: Found): number {
  return found.kind === 'found' && found.handsOver ? Number(found.stored.artifact.sizeBytes) : 0
}

async function findAll(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  run: { task: string; run: number; names: readonly string[] },
  receiptPatienceMs: number,
): Promise<Found[]> {
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
  const handedOver = chooseContents(delivery, run.names, stored)
  return Promise.all(
    run.names.map((name) =>
      orRefused<Found>(
        async () => {
          const found = stored.get(name)
          const rows = leaves.get(name)
          if (found === undefined || rows === undefined) throw noArtifact({ ...run, name })
          judgeStatements(found.artifact, rows)
          const receipt = await prove(rows)
          return { kind: 'found', stored: found, receipt, handsOver: handedOver.has(name) }
        },
        (item) => ({ kind: 'refused', item }),
      ),
    ),
  )
}

/** Reads one, and returns what makes its item: of all that are read the text is made one by one. */
async function readContent(
  delivery: Delivery,
  found: Found,
  slab: Slab,
): Promise<() => ContentsItem> {
  if (found.kind === 'refused') return () => found.item
  const { stored, receipt, handsOver } = found
  return orRefused<() => ContentsItem>(
    async () => {
      if (!handsOver) {
        const grant = await grantRead(delivery, stored, true)
        return () => ({ outcome: 'granted', receipt, grant })
      }
      const bytes = await readWhole(delivery, stored, slab)
      return () => ({ outcome: 'content', receipt, content: bytes.toString('base64') })
    },
    (item) => () => item,
  )
}

async function orRefused<T>(
  action: () => Promise<T>,
  refuse: (item: ContentsItem) => T,
): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    return refuse({ outcome: 'refused', problem: formatProblem(error) })
  }
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

async function readWhole(
  { store }: Delivery,
  { artifact, blobKey, blobTag }: StoredArtifact,
  slab: Slab,
): Promise<Buffer> {
  const bytes = slab.take(Number(artifact.sizeBytes))
  let used = 0
  for await (const chunk of store.read(blobKey, blobTag)) {
    if (used + chunk.length > bytes.length)
      throw new ArtifactError(
        'precondition_failed',
        `Cannot read ${blobKey}: it is another object`,
        {
          expected: `${bytes.length} bytes`,
          found: 'more',
        },
      )
    bytes.set(chunk, used)
    used += chunk.length
  }
  // Of what is cut short there is less, and its digest says so.
  return bytes.subarray(0, used)
}
