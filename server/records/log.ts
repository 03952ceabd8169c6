/** The rows of the transparency log: read and insert, nothing else. */
import type { AnySql, Sql, Transaction } from './database.ts'

/** Key of the advisory lock under which leaves get their index ("tlog"). */
const APPEND_LOCK = 0x74_6c_6f_67
/** Channel of NOTIFY after every batch; the payload is empty, the tables are the truth. */
const CHANNEL = 'artifact_log'

/** The tree after a batch. */
export interface StoredTree {
  size: number
  root: Uint8Array
  /** Roots of the complete subtrees, the largest first, 32 bytes each. */
  frontier: Uint8Array
}

export type LeafKind = 'seal' | 'remove' | 'revoke'

export interface LeafRow {
  idx: number
  kind: LeafKind
  task: string
  run: number
  name: string
  leaf: Uint8Array
  leafHash: Uint8Array
}

export interface NodeRow {
  level: number
  idx: number
  hash: Uint8Array
}

/**
 * Waits for the right to append, which lasts until the transaction ends, and returns the head. Two
 * statements, since the second one's snapshot must be taken after the lock; both are sent at once, the
 * lock first, and Postgres begins with the second when it has ended the first.
 */
export async function lockHead(tx: Transaction): Promise<StoredTree> {
  const lock = tx`select pg_advisory_xact_lock(${APPEND_LOCK})`.execute()
  const [head] = await Promise.all([readHead(tx), lock])
  return head
}

/** The tree after the last batch. */
export async function readHead(sql: AnySql): Promise<StoredTree> {
  const [head] = await sql<[Omit<StoredTree, 'size'> & { size: bigint }]>`
    select size, root, frontier from artifact.log_tree order by size desc limit 1`
  return { ...head, size: Number(head.size) }
}

/**
 * Appends leaves, the roots of tiles that they filled, and the tree they make: sent at once and done in
 * this order, so that those who wait for the right to append wait for one round trip.
 */
export async function appendBatch(
  tx: Transaction,
  before: StoredTree,
  leaves: readonly LeafRow[],
  nodes: readonly NodeRow[],
  after: StoredTree,
): Promise<void> {
  const statements = [
    tx`
      insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
      select idx, kind, task, run, name, decode(leaf, 'base64'), decode(leaf_hash, 'hex') from unnest(
        ${leaves.map((row) => row.idx)}::bigint[], ${leaves.map((row) => row.kind)}::text[],
        ${leaves.map((row) => row.task)}::text[], ${leaves.map((row) => row.run)}::int[],
        ${leaves.map((row) => row.name)}::text[],
        ${leaves.map((row) => Buffer.from(row.leaf).toString('base64'))}::text[],
        ${leaves.map((row) => Buffer.from(row.leafHash).toString('hex'))}::text[]
      ) as new (idx, kind, task, run, name, leaf, leaf_hash)`,
    tx`
      insert into artifact.log_tree (size, prev_size, root, frontier, last_idx)
      values (${after.size}, ${before.size}, ${after.root}, ${after.frontier}, ${after.size - 1})`,
    tx`select pg_notify(${CHANNEL}, '')`,
  ]
  if (nodes.length > 0)
    statements.push(tx`
      insert into artifact.log_node (level, idx, hash)
      select level, idx, decode(hash, 'hex') from unnest(
        ${nodes.map((node) => node.level)}::int[], ${nodes.map((node) => node.idx)}::bigint[],
        ${nodes.map((node) => Buffer.from(node.hash).toString('hex'))}::text[]
      ) as new (level, idx, hash)`)
  await Promise.all(statements.map((statement) => statement.execute()))
}

/** Leaves `[start, end)` in order; fewer when the log ends before. */
export async function readLeaves(sql: AnySql, start: number, end: number): Promise<LeafRow[]> {
  const rows = await sql<LeafColumns[]>`
    select idx, kind, task, run, name, leaf, leaf_hash as "leafHash" from artifact.log_leaf
    where idx >= ${start} and idx < ${end} order by idx`
  return rows.map(parseLeafRow)
}

/** Hashes `[start, end)` of one level: leaf hashes at level 0, roots of full tiles above. */
export async function readHashes(
  sql: AnySql,
  level: number,
  start: number,
  end: number,
): Promise<Uint8Array[]> {
  const rows = await sql<{ hash: Uint8Array }[]>`
    select ${level === 0 ? sql`leaf_hash` : sql`hash`} as hash
    from ${level === 0 ? sql`artifact.log_leaf` : sql`artifact.log_node`}
    where idx >= ${start} and idx < ${end} ${level === 0 ? sql`` : sql`and level = ${level}`}
    order by idx`
  return rows.map((row) => row.hash)
}

/** The same end to end, as a tile has them; shorter when some are missing. */
export async function readTileHashes(
  sql: AnySql,
  level: number,
  start: number,
  end: number,
): Promise<Uint8Array> {
  const isLeaves = level === 0
  const hash = isLeaves ? sql`leaf_hash` : sql`hash`
  // One value instead of a row each: half of the work, for the two programs together.
  const [row] = await sql<[{ hashes: Uint8Array }]>`
    select coalesce(string_agg(${hash}, ''::bytea order by idx), ''::bytea) as hashes
    from ${isLeaves ? sql`artifact.log_leaf` : sql`artifact.log_node`}
    where idx >= ${start} and idx < ${end} ${isLeaves ? sql`` : sql`and level = ${level}`}`
  return row.hashes
}

/** The leaf that sealed a name, and what was said about it later, in order. */
export async function findLeaves(
  sql: AnySql,
  artifact: { task: string; run: number; name: string },
): Promise<LeafRow[]> {
  return findLeavesOfRun(sql, artifact.task, artifact.run, [artifact.name])
}

/**
 * The same for many names of one run, in the order of the log. Seals and what came later are asked
 * for apart, since each kind has an index of its own, and together they would be a scan of the log.
 */
export async function findLeavesOfRun(
  sql: AnySql,
  task: string,
  run: number,
  names: readonly string[],
): Promise<LeafRow[]> {
  const columns = sql`idx, kind, task, run, name, leaf, leaf_hash as "leafHash"`
  const named = sql`task = ${task} and run = ${run} and name = any(${[...names]}::text[])`
  const rows = await sql<LeafColumns[]>`
    select ${columns} from artifact.log_leaf where kind = 'seal' and ${named}
    union all
    select ${columns} from artifact.log_leaf where kind <> 'seal' and ${named}
    order by idx`
  return rows.map(parseLeafRow)
}

/** The newest signed head of a log, `undefined` while there is none. Without an origin: of the log that is signed now. */
export async function findCheckpoint(
  sql: AnySql,
  origin?: string,
): Promise<{ size: number; note: string } | undefined> {
  const [row] = await sql<[{ size: bigint; note: string }?]>`
    select size, note from artifact.log_checkpoint
    where origin = ${
      origin ??
      sql`(select key.origin from artifact.log_key as key order by since desc, key.origin limit 1)`
    }
    order by size desc, cosignatures desc limit 1`
  return row === undefined ? undefined : { size: Number(row.size), note: row.note }
}

/** Records a signed head with the cosignatures it has; again is the same. */
export async function insertCheckpoint(
  sql: AnySql,
  origin: string,
  size: number,
  note: string,
  cosignatures = 0,
): Promise<void> {
  await sql`
    insert into artifact.log_checkpoint (origin, size, note, cosignatures)
    values (${origin}, ${size}, ${note}, ${cosignatures})
    on conflict do nothing`
  await sql`select pg_notify(${CHANNEL}, '')`
}

/** Tells everyone which key signs. The first key of an origin stays. */
export async function insertLogKey(sql: AnySql, origin: string, vkey: string): Promise<void> {
  await sql`insert into artifact.log_key (origin, vkey) values (${origin}, ${vkey}) on conflict do nothing`
}

/** The key that signs now, or `undefined` when no signer was ever here. */
export async function findLogKey(
  sql: AnySql,
): Promise<{ origin: string; vkey: string } | undefined> {
  const [row] = await sql<[{ origin: string; vkey: string }?]>`
    select origin, vkey from artifact.log_key order by since desc, origin limit 1`
  return row
}

type LeafColumns = Omit<LeafRow, 'idx'> & { idx: bigint }

const parseLeafRow = (row: LeafColumns): LeafRow => ({ ...row, idx: Number(row.idx) })

/** Calls `onNews` after every batch and every checkpoint, and once whenever the connection is (re)made. */
export async function listenForLog(
  sql: Sql,
  onNews: () => void,
): Promise<{ unlisten(): Promise<void> }> {
  return sql.listen(CHANNEL, onNews, onNews)
}
