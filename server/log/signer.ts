/**
 * The signer: its own trust domain, with its own key and its own memory. It reads the leaves, hashes
 * them itself, and signs a head only if it continues what it signed before and seals no name twice.
 *
 *     read -> check -> remember (durable) -> sign -> publish
 *
 * Witnesses are asked between signing and publishing. A head is not held back for those who do not
 * answer: it is published again, with their cosignatures, when they do.
 *
 * It believes nothing that Postgres says about roots. A crash between any two steps is mended by the
 * next round: what was remembered and not signed is signed then, and signing is deterministic.
 */
import { formatCheckpoint, openCheckpoint } from '../../client/verify/checkpoint.ts'
import type { Frontier } from '../../client/verify/frontier.ts'
import { type Leaf, parseLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf, isSameHash, type ReadHashes, type TreeHead } from '../../client/verify/merkle.ts'
import type { NoteSigner } from '../../client/verify/note-key.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Sql } from '../records/database.ts'
import {
  findCheckpoint,
  insertCheckpoint,
  type LeafRow,
  readHead,
  readLeaves,
  type StoredTree,
} from '../records/log.ts'
import type { Cosigner } from './cosign.ts'
import type { SignerState } from './signer-state.ts'
import { readTile } from './tiles.ts'

/** Leaves that are checked and remembered at once. */
const BATCH = 1000

export interface SignerParts {
  sql: Sql
  state: SignerState
  signer: NoteSigner
  /** Asks witnesses before a head is published. */
  cosigner?: Cosigner | undefined
}

/**
 * Throws `log_rollback` when this signer has signed, and shown, more than it remembers: its memory
 * is an old copy, and going on with it could fork the log.
 */
export async function checkMemory({ sql, state, signer }: SignerParts): Promise<void> {
  const shown = await findCheckpoint(sql, state.origin)
  if (shown === undefined) return
  const { size } = openCheckpoint(shown.note, trustLog(signer.key))
  const remembered = state.readFrontier().size
  if (size <= remembered) return
  throw new ArtifactError(
    'log_rollback',
    `Cannot sign for ${state.origin}: the signer's state is older than what it has signed`,
    { expected: `at least ${size} leaves`, found: `${remembered} leaves` },
  )
}

/**
 * One round: signs the newest head and publishes it; `undefined` when it is published already.
 * Throws `log_rollback` when the log shrank, `log_fork` when it is another one than before or was
 * tampered with, `log_record` when a name is sealed twice. It signs nothing then, now or later.
 */
export async function signHead(parts: SignerParts): Promise<string | undefined> {
  const { sql, state } = parts
  const tree = await readHead(sql)
  const frontier = state.readFrontier()
  if (tree.size < frontier.size)
    throw new ArtifactError('log_rollback', `Cannot sign for ${state.origin}: the log shrank`, {
      expected: `at least ${frontier.size} leaves`,
      found: `${tree.size} leaves`,
    })
  await catchUp(sql, state, frontier, tree)
  if (!isSameHash(frontier.root(), tree.root))
    throw new ArtifactError('log_fork', `Cannot sign for ${state.origin}: it is another log`, {
      expected: `root ${hex(frontier.root())} of ${tree.size} leaves`,
      found: `root ${hex(tree.root)}`,
    })
  return publish(parts, tree.size, tree.root)
}

/** Checks and remembers every leaf up to the tree's size, by the signer's own hashing. */
async function catchUp(
  sql: Sql,
  state: SignerState,
  frontier: Frontier,
  tree: StoredTree,
): Promise<void> {
  while (frontier.size < tree.size) {
    const end = Math.min(frontier.size + BATCH, tree.size)
    const rows = await readLeaves(sql, frontier.size, end)
    const seals = new Map<string, number>()
    // A copy, so that a leaf that is refused leaves nothing of its batch behind.
    const next = frontier.fork()
    const leafHashes: Uint8Array[] = []
    for (const row of rows) {
      const leaf = readNext(row, next.size)
      acceptLeaf(state, seals, leaf, next.size)
      const leafHash = hashLeaf(row.leaf)
      next.append(leafHash)
      leafHashes.push(leafHash)
    }
    if (next.size !== end) throw gap(next.size)
    if (end === tree.size && !isSameHash(next.root(), tree.root))
      throw new ArtifactError(
        'log_fork',
        `Cannot sign for ${state.origin}: root and leaves differ`,
        {
          expected: `root ${hex(next.root())} of ${tree.size} leaves`,
          found: `root ${hex(tree.root)}`,
        },
      )
    state.accept(
      next,
      Array.from(seals, ([name, index]) => ({ name, index })),
    )
    for (const leafHash of leafHashes) frontier.append(leafHash)
  }
}

/** The leaf of a row that comes next, which says what its columns say. */
function readNext(row: LeafRow, index: number): Leaf {
  if (row.idx !== index) throw gap(index)
  const leaf = parseLeaf(row.leaf)
  const columns = `${row.kind} ${row.task}/${row.run}/${row.name}`
  if (`${leaf.kind} ${leaf.name}` === columns) return leaf
  throw new ArtifactError('log_record', `Cannot sign leaf ${index}: its row says something else`, {
    expected: `${leaf.kind} ${leaf.name}`,
    found: columns,
  })
}

/** A name is sealed once; what is said about a seal later must be about that very leaf. */
function acceptLeaf(
  state: SignerState,
  seals: Map<string, number>,
  leaf: Leaf,
  index: number,
): void {
  const sealedAt = seals.get(leaf.name) ?? state.findSeal(leaf.name)
  if (leaf.kind === 'seal') {
    if (sealedAt !== undefined)
      throw new ArtifactError('log_record', `Cannot sign leaf ${index}: it seals a name again`, {
        expected: `${leaf.name} at leaf ${sealedAt} alone`,
        found: `${leaf.name} at leaf ${index} too`,
      })
    seals.set(leaf.name, index)
  } else if (leaf.of !== sealedAt)
    throw new ArtifactError('log_record', `Cannot sign leaf ${index}: it is about no such seal`, {
      expected: `of ${sealedAt ?? 'a sealed name'}`,
      found: `of ${leaf.of}`,
    })
}

async function publish(
  { sql, state, signer, cosigner }: SignerParts,
  size: number,
  root: Uint8Array,
): Promise<string | undefined> {
  const known = state.readNote()
  const shown = await findCheckpoint(sql, state.origin)
  const isShown = known?.size === size && shown?.size === size
  if (isShown && cosigner?.isWaiting(shown.note) !== true) return undefined
  const note = signNote(formatCheckpoint({ origin: state.origin, size, root }), [signer])
  if (!isShown) state.keepNote(size, note)
  const cosigned = await cosigner?.cosign(note, { size, root }, readTreeOf(sql, { size, root }))
  if (isShown && cosigned?.isNew !== true) return undefined
  await insertCheckpoint(sql, state.origin, size, cosigned?.note ?? note, cosigned?.count)
  return cosigned?.note ?? note
}

/** Nodes below a root that the signer has computed itself: a tile that was altered gives no proof. */
function readTreeOf(sql: Sql, head: TreeHead): ReadHashes {
  return createTileReader(head, {
    async fetchTile(tile) {
      const bytes = await readTile(sql, { ...head, note: '' }, tile)
      if (bytes !== undefined) return bytes
      throw new ArtifactError('log_missing', `Cannot read tile ${tile.level}/${tile.index}`)
    },
  })
}

function gap(index: number): ArtifactError {
  return new ArtifactError('log_fork', `Cannot sign: leaf ${index} is missing`)
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
