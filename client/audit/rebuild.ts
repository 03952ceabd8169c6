/**
 * The tree of a log, built again from its entries, and what its server shows held against it. No
 * hash of the server is believed: its tiles are compared with those that the entries make.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { readLogFile } from '../api.ts'
import type { Connection } from '../transfer/connection.ts'
import { openTiles, present } from '../trust/log-files.ts'
import { parseLeaf } from '../verify/leaf.ts'
import { checkRules } from '../verify/log-rules.ts'
import { HASH_BYTES, hashLeaf, isSameHash, type TreeHead } from '../verify/merkle.ts'
import { formatTilePath, hashInTile, TILE_WIDTH } from '../verify/tile.ts'
import { createTileReader } from '../verify/tile-reader.ts'
import type { BuiltTile, TreeBuilder } from '../verify/tree-builder.ts'
import type { AuditMemory } from './audit-memory.ts'
import { readEntries } from './entries.ts'
import type { Findings } from './findings.ts'

/** Full tiles that are compared when not all of them are asked for: about so many. */
const TILE_SAMPLE = 64

export interface RebuildParts {
  connection: Connection
  memory: AuditMemory
  findings: Findings
  signal: AbortSignal | undefined
  /** Compare every tile [a sample of the full ones, and all partial ones]. */
  full: boolean
  /** From 0 to below 1; chooses the sample. */
  random: () => number
  /** Told of leaves that were read, now and then. */
  onProgress?: ((leaves: number, size: number) => void) | undefined
}

/** What a rebuild has done. */
export interface RebuildCount {
  leaves: number
  tiles: number
}

/**
 * Adds the leaves up to the head, and finds what is wrong with them. Answers whether the leaves make
 * the signed tree. Throws only what is no finding: trouble of the network, a token that is refused.
 */
export async function rebuildTo(
  head: TreeHead,
  tree: TreeBuilder,
  parts: RebuildParts,
  count: RebuildCount,
): Promise<boolean> {
  const { findings } = parts
  const share = TILE_SAMPLE / Math.max(1, Math.ceil((head.size - tree.size) / TILE_WIDTH))
  const isChosen = () => parts.full || parts.random() < share
  const start = tree.size
  const isWhole = await holding(findings, 'entries', async () => {
    for await (const { first, entries } of readEntries(
      parts.connection,
      start,
      head.size,
      parts.signal,
    )) {
      const built = entries.flatMap((entry, at) => {
        acceptEntry(entry, first + at, parts)
        return tree.append(hashLeaf(entry))
      })
      count.leaves += entries.length
      await compareTiles(built.filter(isChosen), parts, count)
      parts.onProgress?.(tree.size, head.size)
    }
  })
  if (!isWhole) return false
  await compareTiles(tree.edge(), parts, count)
  const { root } = tree.head()
  if (isSameHash(root, head.root)) return true
  findings.add(
    'tree',
    new ArtifactError(
      'log_fork',
      `Cannot rebuild the log of ${head.size}: the entries make another tree`,
      {
        expected: `root ${hex(head.root)}`,
        found: `root ${hex(root)}`,
      },
    ),
  )
  await nameForgedLeaves(head, start, parts)
  return false
}

/** Runs a check; what it holds against the log becomes a finding, and the answer is no. */
export async function holding(
  findings: Findings,
  check: Parameters<Findings['add']>[0],
  action: () => Promise<void>,
): Promise<boolean> {
  try {
    await action()
    return true
  } catch (error) {
    if (!isFault(error)) throw error
    findings.add(check, error)
    return false
  }
}

/** Whether an error says that something is wrong with the log, rather than with the way to it. */
export function isFault(error: unknown): error is ArtifactError {
  return error instanceof ArtifactError && error.code.startsWith('log_')
}

/** Judges one leaf by itself and by those before it, and remembers what it seals. */
function acceptEntry(bytes: Uint8Array, index: number, { memory, findings }: RebuildParts): void {
  try {
    const leaf = parseLeaf(bytes)
    checkRules(leaf, index, memory.findSeal)
    if (leaf.kind === 'seal') memory.addSeal({ name: leaf.name, index, leaf: bytes })
  } catch (error) {
    if (!isFault(error)) throw error
    const { code, message, expected, found } = error
    // Only a leaf that can be read says which one it is.
    if (code === 'log_record') findings.add('names', error)
    else
      findings.add(
        'entries',
        new ArtifactError(code, `${message} (leaf ${index})`, { expected, found }),
      )
  }
}

async function compareTiles(
  built: readonly BuiltTile[],
  { connection, findings, signal }: RebuildParts,
  count: RebuildCount,
): Promise<void> {
  await Promise.all(
    built.map(async ({ tile, bytes }) => {
      const path = formatTilePath(tile)
      count.tiles += 1
      await holding(findings, 'tiles', async () => {
        const shown = await present(path, () =>
          readLogFile(connection, `/${path}`, bytes.length, { signal }),
        )
        const slot = findDifference(bytes, shown)
        if (slot === undefined) return
        throw new ArtifactError(
          'log_inclusion',
          `Cannot accept ${path}: hash ${slot} is not what the entries make${
            tile.level === 0 ? ` (leaf ${tile.index * TILE_WIDTH + slot})` : ''
          }`,
          {
            expected: hex(hashInTile(bytes, slot)),
            found: hex(hashInTile(shown, slot)) || 'nothing',
          },
        )
      })
    }),
  )
}

/** Number of the first hash that differs. */
function findDifference(built: Uint8Array, shown: Uint8Array): number | undefined {
  const slots = Math.max(built.length, shown.length) / HASH_BYTES
  for (let slot = 0; slot < slots; slot += 1)
    if (!isSameHash(hashInTile(built, slot), hashInTile(shown, slot))) return slot
  return undefined
}

/**
 * Names the leaves that are not those that were signed, as far as the tiles still tell: each tile is
 * used only when it leads to the signed root.
 */
async function nameForgedLeaves(
  head: TreeHead,
  start: number,
  { connection, findings, signal }: RebuildParts,
): Promise<void> {
  const readNodes = createTileReader(head, openTiles(connection, signal))
  for await (const { first, entries } of readEntries(connection, start, head.size, signal)) {
    const nodes = entries.map((_, at) => ({ height: 0, index: first + at }))
    await holding(findings, 'tiles', async () => {
      const hashes = await readNodes(nodes)
      for (const [at, entry] of entries.entries()) {
        const expected = hashes[at] ?? new Uint8Array()
        const found = hashLeaf(entry)
        if (isSameHash(expected, found)) continue
        findings.add(
          'entries',
          new ArtifactError(
            'log_fork',
            `Cannot accept leaf ${first + at}: it is not the one that was signed`,
            {
              expected: `hash ${hex(expected)}`,
              found: `hash ${hex(found)}`,
            },
          ),
        )
      }
    })
  }
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
