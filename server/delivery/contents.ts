/**
 * Step 6 in one answer: what a client needs to judge artifacts, and their bytes. Of many small ones those
 * that this server is the door of, or that share an object with others, are handed over here, and so is
 * a small one that is asked for alone; for all others the client gets grants, so that they do not pass
 * through the server.
 */
import { freeChunk } from '../../client/disk/spent-chunk.ts'
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { BATCH_CONTENT_BYTES_MAX } from '../../schemas/batch.ts'
import {
  CONTENTS_BYTES_MAX,
  type Contents,
  type Delivery as DeliveryReply,
} from '../../schemas/contents.ts'
import { formatProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../access/scopes.ts'
import type { Heads } from '../log/heads.ts'
import { judgeStatements } from '../log/statements.ts'
import { type ProofQuestion, proveSeals } from '../log/tiles.ts'
import { findStored, type StoredArtifact } from '../records/artifacts.ts'
import { findLeaves, findLeavesOfRun, type LeafRow } from '../records/log.ts'
import {
  type Address,
  type Delivery,
  getArtifact,
  getArtifactParts,
  grantRead,
  isReadable,
  noArtifact,
} from './artifacts.ts'

type Content = DeliveryReply['content']

export interface ContentsOptions extends ProofQuestion {
  /** Runs `gather`, which takes memory for so many artifacts, when there is room for it. */
  takeTurn: <T>(count: number, gather: () => Promise<T>) => Promise<T>
}

/** All that it takes to get one artifact. Throws `not_found` for what is not there or not theirs. */
export async function deliverOne(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  address: Address,
  { takeTurn, ...question }: ContentsOptions,
): Promise<DeliveryReply> {
  const { sql } = delivery
  const stored = await getArtifact(delivery, principal, ['get'], address)
  const { artifact } = stored
  const leaves = await findLeaves(sql, artifact)
  const [seal] = leaves
  if (seal === undefined) throw new Error(`${artifact.reference} is sealed without a leaf`)
  const [parts, proofs] = await Promise.all([
    listParts(delivery, artifact),
    proveSeals(sql, heads, [seal], question),
  ])
  // Whoever asks for one saves the way to the store, which is a connection more.
  const isSmall = BigInt(artifact.sizeBytes) <= BigInt(BATCH_CONTENT_BYTES_MAX)
  const content = await takeTurn(1, () => giveContent(delivery, stored, leaves, isSmall))
  const receipt = (await proofs.receiptOf(seal)) ?? null
  return { artifact, parts, receipt, consistency: proofs.consistency, content }
}

/** The part digests; an only part is the whole. */
async function listParts(delivery: Delivery, artifact: Artifact): Promise<Part[]> {
  const { partCount, sizeBytes, sha256 } = artifact
  if (partCount > 1) return (await getArtifactParts(delivery, artifact)).parts
  return partCount === 0 ? [] : [{ number: 1, sizeBytes: Number(sizeBytes), sha256 }]
}

/** What there is of each name, in order. Each is given or refused by itself, in the words of a single request. */
export async function deliverContents(
  delivery: Delivery,
  heads: Heads,
  principal: Principal,
  run: { task: string; run: number; names: readonly string[] },
  { takeTurn, ...question }: ContentsOptions,
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
  const seals = Array.from(leaves.values(), ([seal]) => seal).filter((seal) => seal !== undefined)
  const proofs = await proveSeals(delivery.sql, heads, seals, question)
  const wanted = run.names.flatMap((name) => stored.get(name) ?? [])
  const handsOver = chooseContents(delivery, wanted)
  const gather = async (name: string): Promise<Contents['items'][number]> => {
    const found = stored.get(name)
    const rows = leaves.get(name)
    const [seal] = rows ?? []
    if (found === undefined || rows === undefined || seal === undefined)
      return refuse(noArtifact({ ...run, name }))
    const content = await giveContent(delivery, found, rows, handsOver.has(name))
    if (content.outcome === 'refused') return content
    return { ...content, receipt: (await proofs.receiptOf(seal)) ?? null }
  }
  const items = await takeTurn(run.names.length, () => Promise.all(run.names.map(gather)))
  return { items, consistency: proofs.consistency }
}

/** The bytes, or the grant of them; a refusal when that was said of the artifact, or the store has lost it. */
async function giveContent(
  delivery: Delivery,
  stored: StoredArtifact,
  leaves: readonly LeafRow[],
  handsOver: boolean,
): Promise<Content> {
  try {
    judgeStatements(stored.artifact, leaves)
    if (!handsOver) return { outcome: 'granted', grant: await grantRead(delivery, stored, true) }
    const bytes = await readWhole(delivery, stored)
    const content = bytes.toString('base64')
    freeChunk(bytes)
    return { outcome: 'content', content }
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    return refuse(error)
  }
}

function refuse(error: ArtifactError): Content & { outcome: 'refused' } {
  return { outcome: 'refused', problem: formatProblem(error) }
}

/** The names whose bytes go into the answer: the first ones, until it is full. */
function chooseContents({ store }: Delivery, wanted: readonly StoredArtifact[]): Set<string> {
  const chosen = new Set<string>()
  let total = 0
  for (const { artifact, blobTag } of wanted) {
    if (!store.handsOver(blobTag)) continue
    const sizeBytes = Number(artifact.sizeBytes)
    if (sizeBytes > BATCH_CONTENT_BYTES_MAX || total + sizeBytes > CONTENTS_BYTES_MAX) continue
    total += sizeBytes
    chosen.add(artifact.name)
  }
  return chosen
}

async function readWhole(
  { store }: Delivery,
  { artifact, blobKey, blobTag }: StoredArtifact,
): Promise<Buffer> {
  const whole = Buffer.allocUnsafeSlow(Number(artifact.sizeBytes))
  let filled = 0
  // Copied: a chunk may be good only until the next one is asked for.
  for await (const chunk of store.read(blobKey, blobTag)) {
    if (filled + chunk.length > whole.length)
      throw new ArtifactError('size_mismatch', `Cannot get ${artifact.reference}: it has grown`, {
        expected: `${whole.length} bytes`,
      })
    whole.set(chunk, filled)
    filled += chunk.length
  }
  return whole.subarray(0, filled)
}
