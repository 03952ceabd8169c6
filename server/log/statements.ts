/**
 * Statements about sealed artifacts. They are leaves of the log like the seal itself: that an artifact
 * was revoked, or that its bytes were removed, cannot be said or unsaid quietly.
 */
import { restoreFrontier } from '../../client/verify/frontier.ts'
import { formatLeaf, parseLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { MakeStatement, Statement } from '../../schemas/statement.ts'
import type { Intake } from '../intake/session.ts'
import type { StoredArtifact } from '../records/artifacts.ts'
import type { AnySql, Transaction } from '../records/database.ts'
import { appendBatch, findLeaves, type LeafRow, lockHead } from '../records/log.ts'
import { WHOLE_SESSION } from '../stores/store.ts'
import { splitHashes } from './sequencer.ts'

/** What was said about an artifact since it was sealed, in order. */
export async function listStatements(
  sql: AnySql,
  artifact: { task: string; run: number; name: string },
): Promise<Statement[]> {
  const rows = await findLeaves(sql, artifact)
  return rows.flatMap(readStatement)
}

/**
 * Says it, once: again is the same, and the first reason stays. After `remove` the store forgets the
 * bytes; should that fail, the same request does it again.
 */
export async function makeStatement(
  intake: Pick<Intake, 'sql' | 'store' | 'clock'>,
  { artifact, blobKey }: StoredArtifact,
  { kind, reason }: MakeStatement,
  by: string,
): Promise<Statement> {
  const statement = await intake.sql.begin(async (tx) => {
    const rows = await findLeaves(tx, artifact)
    const known = rows.flatMap(readStatement).find((one) => one.kind === kind)
    return known ?? (await append(tx, artifact, { kind, reason, by, at: intake.clock() }))
  })
  if (kind === 'remove')
    await intake.store.discard({
      key: blobKey,
      sizeBytes: BigInt(artifact.sizeBytes),
      partSizeBytes: artifact.partSizeBytes,
      contentType: artifact.contentType,
      session: WHOLE_SESSION,
    })
  return statement
}

/** Throws `artifact_removed` or `artifact_revoked`, whichever was said of it. */
export async function checkServable(
  sql: AnySql,
  artifact: { task: string; run: number; name: string },
): Promise<void> {
  judgeStatements(artifact, await findLeaves(sql, artifact))
}

/** {@link checkServable} by the leaves of the artifact. */
export function judgeStatements(
  artifact: { task: string; run: number; name: string },
  leaves: readonly LeafRow[],
): void {
  const statements = leaves.flatMap(readStatement)
  const worst = statements.find(({ kind }) => kind === 'remove') ?? statements[0]
  if (worst === undefined) return
  const [code, state] =
    worst.kind === 'remove'
      ? (['artifact_removed', 'its bytes were removed'] as const)
      : (['artifact_revoked', 'it was revoked'] as const)
  const reference = `${artifact.task}/${artifact.run}/${artifact.name}`
  throw new ArtifactError(code, `Cannot get ${reference}: ${state} at ${worst.at}`, {
    found: worst.reason,
  })
}

async function append(
  tx: Transaction,
  artifact: { task: string; run: number; name: string },
  said: { kind: Statement['kind']; reason: string; by: string; at: Date },
): Promise<Statement> {
  const before = await lockHead(tx)
  // Under the lock: whoever said the same a moment ago is seen now.
  const rows = await findLeaves(tx, artifact)
  const known = rows.flatMap(readStatement).find(({ kind }) => kind === said.kind)
  if (known !== undefined) return known
  const [seal] = rows
  if (seal === undefined) throw new Error(`${artifact.name} is sealed without a leaf`)
  const { task, run, name } = artifact
  const at = said.at.toISOString()
  const leaf = formatLeaf({
    kind: said.kind,
    name: `${task}/${run}/${name}`,
    of: seal.idx,
    reason: said.reason,
    time: at,
    by: said.by,
  })
  const frontier = restoreFrontier(before.size, splitHashes(before.frontier))
  const leafHash = hashLeaf(leaf)
  const index = frontier.size
  const nodes = frontier
    .append(leafHash)
    .map(({ level, index: idx, hash }) => ({ level, idx, hash }))
  const row: LeafRow = { idx: index, kind: said.kind, task, run, name, leaf, leafHash }
  await appendBatch(tx, before, [row], nodes, {
    size: frontier.size,
    root: frontier.root(),
    frontier: Buffer.concat(frontier.hashes),
  })
  return { kind: said.kind, reason: said.reason, at, index, by: said.by }
}

function readStatement(row: LeafRow): Statement[] {
  const leaf = parseLeaf(row.leaf)
  if (leaf.kind === 'seal') return []
  const { kind, reason, time, by } = leaf
  return [{ kind, reason, at: time, index: row.idx, by }]
}
