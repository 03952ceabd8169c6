/** Tiles, entries and receipts, from the rows of the log, up to what is signed and no further. */
import { type Hash, proveConsistency, proveInclusion } from '../../client/verify/merkle.ts'
import { formatReceipt } from '../../client/verify/proof.ts'
import { formatBase64 } from '../../client/verify/strict-text.ts'
import {
  entryWidth,
  formatEntries,
  TILE_WIDTH,
  type Tile,
  tileWidth,
} from '../../client/verify/tile.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { AnySql } from '../records/database.ts'
import { findLeaves, type LeafRow, readHead, readLeaves, readTileHashes } from '../records/log.ts'
import type { Heads, SignedHead } from './heads.ts'
import type { TileCache } from './tile-cache.ts'

/**
 * The bytes of a tile; `undefined` when the signed tree does not have it. A tail that is not signed
 * yet is not shown: a failover could lose it, and caches keep tiles for ever. Only its entries are,
 * to those who may read all of them and keep no copy: a witness reads them before it cosigns.
 */
export async function readTile(
  sql: AnySql,
  head: SignedHead,
  tile: Tile,
): Promise<Uint8Array | undefined> {
  const { level, index, width } = tile
  const widest =
    level === 'entries'
      ? entryWidth(index, (await readHead(sql)).size)
      : tileWidth(level, index, head.size)
  if (width > widest) return undefined
  const start = index * TILE_WIDTH
  if (level === 'entries') {
    const rows = await readLeaves(sql, start, start + width)
    return formatEntries(rows.map((row) => row.leaf))
  }
  return readTileHashes(sql, level, start, start + width)
}

export interface ProofQuestion {
  /** Leaves of a head that the answer shall be joined to. */
  since: number | undefined
  /** How long the answer waits for the signer, in ms. */
  patienceMs: number
}

/**
 * The receipt of a sealed artifact, as soon as a signed head covers it, and what joins that head to the
 * one asked about. `undefined` when nobody signs here. Throws `receipt_pending` when that takes longer
 * than the patience, and `log_inclusion`.
 */
export async function findProof(
  sql: AnySql,
  heads: Heads,
  artifact: Pick<Artifact, 'task' | 'run' | 'name'>,
  { since, patienceMs }: ProofQuestion,
): Promise<{ receipt: string; consistency: string[] | undefined } | undefined> {
  const [leaf] = await findLeaves(sql, artifact)
  if (leaf === undefined || heads.newest() === undefined) return undefined
  const head = await heads.waitFor(leaf.idx + 1, patienceMs)
  if (head !== undefined) {
    const prover = createProver(sql, head, heads.tiles)
    const receipt = await prover.receiptOf(leaf)
    return { receipt, consistency: await prover.consistencySince(since) }
  }
  throw new ArtifactError(
    'receipt_pending',
    `Cannot prove ${artifact.task}/${artifact.run}/${artifact.name} yet: it is not signed`,
  )
}

/** The receipt alone, as {@link findProof} has it. */
export async function findReceipt(
  sql: AnySql,
  heads: Heads,
  artifact: Pick<Artifact, 'task' | 'run' | 'name'>,
  patienceMs: number,
): Promise<string | undefined> {
  return (await findProof(sql, heads, artifact, { since: undefined, patienceMs }))?.receipt
}

/** What goes with an answer about artifacts, so that nobody has to ask for it apart. */
export interface Proofs {
  /** The receipt of a leaf that was asked about. */
  receiptOf(seal: LeafRow): Promise<string | undefined>
  /** From the head that was asked about to that of the receipts, each hash in Base 64. */
  consistency: string[] | undefined
}

/**
 * Proofs for some seals under one head. What there is none of is `undefined`, whatever the reason:
 * nobody signs, it takes too long, the tables were altered. Whoever needs it asks for it by itself, and
 * is told why.
 */
export async function proveSeals(
  sql: AnySql,
  heads: Heads,
  seals: readonly LeafRow[],
  { since, patienceMs }: ProofQuestion,
): Promise<Proofs> {
  const last = Math.max(0, ...seals.map(({ idx }) => idx + 1))
  const signed = heads.newest() === undefined ? undefined : await heads.waitFor(last, patienceMs)
  const head = signed ?? heads.newest()
  if (head === undefined) return { receiptOf: async () => undefined, consistency: undefined }
  const prover = createProver(sql, head, heads.tiles)
  return {
    receiptOf: async (seal) =>
      seal.idx < head.size ? prover.receiptOf(seal).catch(leaveOut) : undefined,
    consistency: await prover.consistencySince(since),
  }
}

function leaveOut(error: unknown): undefined {
  if (!(error instanceof ArtifactError)) throw error
  return undefined
}

/**
 * Makes proofs under a head. Every tile on the way is checked against the signed root, once for all of
 * them, also those from the cache: tables that were altered prove nothing at all.
 */
export function createProver(sql: AnySql, head: SignedHead, cache: TileCache) {
  const readNodes = createTileReader(head, {
    async fetchTile(tile) {
      const bytes = cache.find(tile) ?? (await readTile(sql, head, tile))
      if (bytes !== undefined) return bytes
      throw new ArtifactError('log_missing', `Cannot read tile ${tile.level}/${tile.index}`)
    },
    keepTile: cache.keep,
  })
  const proven = async (proof: Promise<Hash[]>): Promise<Hash[]> => {
    try {
      return await proof
    } catch (error) {
      // Whatever is wrong, the next proof asks the tables.
      cache.clear()
      throw error
    }
  }
  return {
    /** The receipt of a leaf that the head covers; throws `log_inclusion`. */
    async receiptOf(row: LeafRow): Promise<string> {
      const proof = await proven(proveInclusion(row.idx, head.size, readNodes))
      return formatReceipt({ extra: row.leaf, index: row.idx, proof, checkpoint: head.note })
    },
    /** That the first leaves of the tree are so many that were seen, if they are in it and can be proven. */
    async consistencySince(size: number | undefined): Promise<string[] | undefined> {
      if (size === undefined || size > head.size) return undefined
      if (size === head.size) return []
      const proof = await proven(proveConsistency(size, head.size, readNodes)).catch(leaveOut)
      return proof?.map(formatBase64)
    },
  }
}
