/**
 * Step 6 in one answer: what a client needs to judge artifacts, and their bytes. Of many small ones those
 * that this server is the door of, or that share an object with others, are handed over here, and so is
 * a small one that is asked for alone; for all others the client gets grants, so that they do not pass
 * through the server.
 */
import { createSlab, type Slab } from '../../client/memory/slab.ts'
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { BATCH_CONTENT_BYTES_MAX } from '../../schemas/batch.ts'
import {
  CONTENTS_BYTES_MAX,
  type Contents,
  type Delivery as DeliveryReply,
} from '../../schemas/contents.ts'
import { cutIntoGroups } from '../../schemas/groups.ts'
import { formatProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../access/scopes.ts'
import type { Heads } from '../log/heads.ts'
import { judgeStatements } from '../log/statements.ts'
import { type ProofQuestion, proveSeals } from '../log/tiles.ts'
import { findStored, type StoredArtifact } from '../records/artifacts.ts'
import { findLeaves, findLeavesOfRun } from '../records/log.ts'
import {
  type Address,
  type Delivery,
  getArtifact,
  getArtifactParts,
  grantRead,
  isReadable,
  noArtifact,
} from './artifacts.ts'

/** One artifact of an answer. */
export type ContentsItem = Contents['items'][number]

/** One that is not given. */
type Refused = ContentsItem & { outcome: 'refused' }

/** Bytes of contents that are read together, and held until they are told. */
const GROUP_BYTES_MAX = 1024 ** 2

/** What is told of one name, but for its bytes, which are read when it is its turn. */
type Found =
  | { kind: 'refused'; item: Refused }
  | { kind: 'found'; stored: StoredArtifact; receipt: string | null; handsOver: boolean }

/** All that it takes to get one artifact. Throws `not_found` for what is not there or not theirs. */
export async function deliverOne(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  address: Address,
  question: ProofQuestion,
): Promise<DeliveryReply> {
  const stored = await getArtifact(delivery, principal, ['get'], address)
  const { artifact } = stored
  const leaves = await findLeaves(delivery.sql, artifact)
  const [seal] = leaves
  if (seal === undefined) throw new Error(`${artifact.reference} is sealed without a leaf`)
  const [parts, proofs] = await Promise.all([
    listParts(delivery, artifact),
    proveSeals(delivery.sql, heads, [seal], question),
  ])
  const content = await orRefused<DeliveryReply['content']>(
    async () => {
      judgeStatements(artifact, leaves)
      return await giveContent(delivery, stored)
    },
    (refusal) => refusal,
  )
  const receipt = (await proofs.receiptOf(seal)) ?? null
  return { artifact, parts, receipt, consistency: proofs.consistency, content }
}

/** The part digests; an only part is the whole. */
async function listParts(delivery: Delivery, artifact: Artifact): Promise<Part[]> {
  const { partCount, sizeBytes, sha256 } = artifact
  if (partCount > 1) return (await getArtifactParts(delivery, artifact)).parts
  return partCount === 0 ? [] : [{ number: 1, sizeBytes: Number(sizeBytes), sha256 }]
}

/** The bytes of a small one: whoever asks for it alone saves the way to the store, a connection more. */
async function giveContent(
  delivery: Delivery,
  stored: StoredArtifact,
): Promise<DeliveryReply['content']> {
  const sizeBytes = Number(stored.artifact.sizeBytes)
  if (sizeBytes > BATCH_CONTENT_BYTES_MAX)
    return { outcome: 'granted', grant: await grantRead(delivery, stored, true) }
  const slab = createSlab(sizeBytes)
  try {
    const bytes = await readWhole(delivery, stored, slab)
    return { outcome: 'content', content: bytes.toString('base64') }
  } finally {
    slab.release()
  }
}

/** An answer about many. */
export interface ManyContents {
  /** Bytes are read as the items are asked for, some at a time: whoever takes them slowly holds little. */
  items: AsyncGenerator<ContentsItem>
  /** From the head that was asked about to that of the receipts. */
  consistency: string[] | undefined
}

/**
 * What there is of each name, in order. Each is given or refused by itself, in the words of a single
 * request.
 */
export async function deliverContents(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  run: { task: string; run: number; names: readonly string[] },
  question: ProofQuestion,
): Promise<ManyContents> {
  const { found, consistency } = await findAll(delivery, heads, principal, run, question)
  return { items: readAll(delivery, found), consistency }
}

async function* readAll(delivery: Delivery, found: readonly Found[]): AsyncGenerator<ContentsItem> {
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
  question: ProofQuestion,
): Promise<{ found: Found[]; consistency: string[] | undefined }> {
  const { task } = run
  const names = run.names.filter((name) => isReadable(delivery, principal, ['get'], task, name))
  const stored = new Map(
    (await findStored(delivery.sql, task, run.run, names)).map((one) => [one.artifact.name, one]),
  )
  const leaves = Map.groupBy(
    await findLeavesOfRun(delivery.sql, task, run.run, [...stored.keys()]),
    ({ name }) => name,
  )
  const seals = Array.from(leaves.values(), ([seal]) => seal).filter((seal) => seal !== undefined)
  const proofs = await proveSeals(delivery.sql, heads, seals, question)
  const handedOver = chooseContents(delivery, run.names, stored)
  const found = await Promise.all(
    run.names.map((name) =>
      orRefused<Found>(
        async () => {
          const found = stored.get(name)
          const rows = leaves.get(name)
          const [seal] = rows ?? []
          if (found === undefined || rows === undefined || seal === undefined)
            throw noArtifact({ ...run, name })
          judgeStatements(found.artifact, rows)
          const receipt = (await proofs.receiptOf(seal)) ?? null
          return { kind: 'found', stored: found, receipt, handsOver: handedOver.has(name) }
        },
        (item) => ({ kind: 'refused', item }),
      ),
    ),
  )
  return { found, consistency: proofs.consistency }
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

async function orRefused<T>(action: () => Promise<T>, refuse: (item: Refused) => T): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    return refuse({ outcome: 'refused', problem: formatProblem(error) })
  }
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
