/**
 * The second thing that a witness can vouch for: every leaf can be read, a name is sealed once, and
 * what is said later is about that seal. It reads the leaves itself and hashes them itself.
 */
import type { Checkpoint } from '../../client/verify/checkpoint.ts'
import { type Leaf, parseLeaf } from '../../client/verify/leaf.ts'
import { checkRules } from '../../client/verify/log-rules.ts'
import { hashLeaf, isSameHash } from '../../client/verify/merkle.ts'
import { entryWidth, formatTilePath, parseEntries, TILE_WIDTH } from '../../client/verify/tile.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { WitnessState } from './witness-state.ts'

/** Of one bundle. */
const PATIENCE_MS = 10_000
const BUNDLE_BYTES_MAX = TILE_WIDTH * (65_535 + 2)

export interface EntrySource {
  /** Address of the server that has the log, without a slash at the end. */
  url: string
  /** It may read all entries. */
  token: string
}

/** Reads the leaves of a log up to a head, from where the last reading ended. */
export function createEntryAudit(
  state: WitnessState,
  source: EntrySource,
): (head: Checkpoint) => Promise<void> {
  let turn: Promise<void> = Promise.resolve()
  return (head) => {
    // One after the other: each goes on where the one before has ended.
    turn = turn.catch(() => undefined).then(() => readUpTo(head, state, source))
    return turn
  }
}

/**
 * Throws `log_record` for a leaf that breaks a rule, `log_fork` when the leaves do not make the tree
 * that was signed; what was read up to there is remembered only if it is the beginning of that tree.
 */
async function readUpTo(head: Checkpoint, state: WitnessState, source: EntrySource): Promise<void> {
  const frontier = state.readAudited(head.origin)
  // A head that another request has overtaken: whether it is of the same tree is not known here.
  if (head.size < frontier.size) throw new Error(`More than ${head.size} leaves were read already`)
  const seals = new Map<string, number>()
  const find = (name: string) => seals.get(name) ?? state.findSeal(head.origin, name)
  while (frontier.size < head.size) {
    const index = Math.floor(frontier.size / TILE_WIDTH)
    const width = entryWidth(index, head.size)
    const entries = await fetchEntries(source, index, width)
    for (const entry of entries.slice(frontier.size % TILE_WIDTH)) {
      const leaf = readLeaf(entry, frontier.size)
      checkRules(leaf, frontier.size, find)
      if (leaf.kind === 'seal') seals.set(leaf.name, frontier.size)
      frontier.append(hashLeaf(entry))
    }
  }
  if (!isSameHash(frontier.root(), head.root))
    throw new ArtifactError(
      'log_fork',
      `Cannot cosign ${head.origin}: its entries make another tree`,
      {
        expected: Buffer.from(head.root).toString('hex'),
        found: Buffer.from(frontier.root()).toString('hex'),
      },
    )
  state.accept(
    head.origin,
    frontier,
    Array.from(seals, ([name, index]) => ({ name, index })),
  )
}

/** A leaf that cannot be read says nothing that anybody could vouch for. */
function readLeaf(entry: Uint8Array, index: number): Leaf {
  try {
    return parseLeaf(entry)
  } catch (cause) {
    throw new ArtifactError('log_record', `Cannot accept leaf ${index}: it cannot be read`, {
      cause,
    })
  }
}

async function fetchEntries(
  { url, token }: EntrySource,
  index: number,
  width: number,
): Promise<Uint8Array[]> {
  const path = formatTilePath({ level: 'entries', index, width })
  const reply = await fetch(`${url}/${path}`, {
    headers: { authorization: `Bearer ${token}` },
    // The token goes to the server that was named, and nowhere else.
    redirect: 'error',
    signal: AbortSignal.timeout(PATIENCE_MS),
  })
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of reply.body ?? []) {
    sizeBytes += chunk.length
    if (sizeBytes > BUNDLE_BYTES_MAX) throw new Error(`${path} is too large`)
    chunks.push(chunk)
  }
  if (reply.status !== 200) throw new Error(`${path}: status ${reply.status}`)
  return parseEntries(Buffer.concat(chunks), width)
}
