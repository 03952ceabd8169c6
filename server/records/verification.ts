/** Verifications of stored bytes after the seal: insert only; and the turns in which they are taken. */
import type { Verification, VerificationOutcome } from '../../schemas/verification.ts'
import type { AnySql, Sql } from './database.ts'

/** Key of the advisory lock of whoever reads stored bytes again ("rvfy"). */
const TURN_LOCK = 0x72_76_66_79
/** Leaves that get their first turn at once. */
const NEW_TURNS_MAX = 1000

/** An artifact whose turn it is. */
export interface Turn {
  /** Index of the leaf that sealed it. */
  idx: number
  task: string
  run: number
  name: string
  /** When its bytes were read last. */
  seenAt: Date
}

export interface NewVerification {
  at: Date
  outcome: VerificationOutcome
  /** Code of the check that failed. */
  code: string | undefined
  expected: string | undefined
  found: string | undefined
  bytes: bigint
  seconds: number
  server: string
}

/**
 * Runs `work` on a connection that alone, among all servers, may take turns. Returns `undefined`
 * without running it when another one has the right. The right ends with the connection, also when
 * this process dies.
 */
export async function holdTurns<T>(
  sql: Sql,
  work: (held: AnySql) => Promise<T>,
): Promise<T | undefined> {
  const held = await sql.reserve()
  try {
    const [row] = await held<[{ isMine: boolean }]>`
      select pg_try_advisory_lock(${TURN_LOCK}) as "isMine"`
    if (!row.isMine) return undefined
    try {
      return await work(held)
    } finally {
      await held`select pg_advisory_unlock(${TURN_LOCK})`
    }
  } finally {
    held.release()
  }
}

/**
 * The artifact whose bytes were not looked at for the longest time, if that was before `before`.
 * What was sealed since the last call gets its turn first: leaves are in order of their seals.
 */
export async function findTurn(
  sql: AnySql,
  before: Date,
  except: readonly number[],
): Promise<Turn | undefined> {
  await sql`
    insert into artifact.verification_turn (idx, seen_at)
    select leaf.idx, sealed.sealed_at
    from artifact.log_leaf as leaf join artifact.artifact as sealed using (task, run, name)
    where leaf.kind = 'seal'
      and leaf.idx > (select coalesce(max(idx), -1) from artifact.verification_turn)
    order by leaf.idx limit ${NEW_TURNS_MAX}
    on conflict do nothing`
  const [row] = await sql<[(Omit<Turn, 'idx'> & { idx: bigint })?]>`
    select turn.idx, leaf.task, leaf.run, leaf.name, turn.seen_at as "seenAt"
    from artifact.verification_turn as turn join artifact.log_leaf as leaf using (idx)
    where turn.seen_at <= ${before} and turn.idx <> all (${[...except]}::bigint[])
    order by turn.seen_at, turn.idx limit 1`
  return row === undefined ? undefined : { ...row, idx: Number(row.idx) }
}

/** Records what was seen, and sends the artifact to the end of the queue. */
export async function insertVerification(
  sql: AnySql,
  turn: Turn,
  seen: NewVerification,
): Promise<void> {
  await sql`
    with recorded as (
      insert into artifact.verification
        (task, run, name, at, outcome, code, expected, found, bytes, seconds, server)
      values (${turn.task}, ${turn.run}, ${turn.name}, ${seen.at}, ${seen.outcome},
        ${seen.code ?? null}, ${seen.expected ?? null}, ${seen.found ?? null}, ${seen.bytes},
        ${seen.seconds}, ${seen.server})
      returning at
    )
    update artifact.verification_turn set seen_at = recorded.at from recorded
    where idx = ${turn.idx}`
}

/** There is nothing to read any more: the bytes were removed. */
export async function endTurns(sql: AnySql, { idx }: Turn): Promise<void> {
  await sql`update artifact.verification_turn set seen_at = 'infinity' where idx = ${idx}`
}

interface VerificationRow {
  at: Date
  outcome: VerificationOutcome
  code: string | null
  expected: string | null
  found: string | null
  bytes: bigint
  seconds: number
  server: string
}

/** Verifications of an artifact, the latest first, those before `before`. */
export async function listVerifications(
  sql: AnySql,
  artifact: { task: string; run: number; name: string },
  page: { before: Date | undefined; limit: number },
): Promise<Verification[]> {
  const rows = await sql<VerificationRow[]>`
    select at, outcome, code, expected, found, bytes, seconds, server from artifact.verification
    where task = ${artifact.task} and run = ${artifact.run} and name = ${artifact.name}
      ${page.before === undefined ? sql`` : sql`and at < ${page.before}`}
    order by at desc limit ${page.limit}`
  return rows.map(formatVerification)
}

/** An artifact that did not agree when its bytes were read last. */
export interface VerificationFault {
  task: string
  run: number
  name: string
  last: Verification
}

/** What does not agree now, the latest found first: faults that no later look took back. */
export async function listFaults(sql: AnySql, limit: number): Promise<VerificationFault[]> {
  const rows = await sql<(VerificationRow & { task: string; run: number; name: string })[]>`
    select task, run, name, at, outcome, code, expected, found, bytes, seconds, server
    from artifact.verification as fault
    where outcome <> 'agreed' and not exists (
      select from artifact.verification as later
      where later.task = fault.task and later.run = fault.run and later.name = fault.name
        and later.at > fault.at)
    order by at desc limit ${limit}`
  return rows.map((row) => ({
    task: row.task,
    run: row.run,
    name: row.name,
    last: formatVerification(row),
  }))
}

function formatVerification(row: VerificationRow): Verification {
  return {
    at: row.at.toISOString(),
    outcome: row.outcome,
    ...(row.code === null ? {} : { code: row.code }),
    ...(row.expected === null ? {} : { expected: row.expected }),
    ...(row.found === null ? {} : { found: row.found }),
    bytes: row.bytes.toString(),
    seconds: row.seconds,
    server: row.server,
  }
}
