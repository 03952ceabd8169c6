/**
 * What people watch: an outbox, read in the order of its ids and announced by NOTIFY.
 *
 * Ids are drawn before the commit, and transactions commit in any order: what is seen last can have an
 * id below what was seen before. So a trigger says beforehand, by a shared advisory lock that ends with
 * the transaction, from which id on its events will be (`artifact.hold_event_place`), and readers go no
 * further than the lowest id that somebody may still commit. Nobody waits for anybody's disk.
 */
import type { Event } from '../../schemas/event.ts'
import { Event as EventSchema } from '../../schemas/event.ts'
import type { Upload } from '../../schemas/upload.ts'
import type { AnySql, Sql, Transaction } from './database.ts'

/** Channel of NOTIFY; the payload is empty, the table is the truth. */
const CHANNEL = 'artifact_event'
/** First key of the advisory locks of appenders ("evnt"), as the trigger takes them; the second one is an id, modulo 2^32. */
const APPEND_LOCKS = 0x65_76_6e_74

/**
 * Appends the present state of uploads, in order. It comes last in a transaction, after the change
 * that it tells of: of two that change one upload, the second one draws its ids when the first one
 * has ended. Whoever watches is told by the {@link Outbox}.
 */
export async function appendUploadEvents(
  tx: Transaction,
  uploads: readonly Upload[],
  at: Date,
): Promise<void> {
  await tx`${insertingEvents(tx, uploads, at)}`
}

/**
 * The statement that does so, or a part of one whose other parts make the change: then `change` is the
 * name of those rows, one at most, and without it nothing is appended. Also within another statement the
 * trigger has its lock before the first id is drawn.
 */
export function insertingEvents(
  sql: AnySql,
  uploads: readonly Upload[],
  at: Date,
  change?: ReturnType<AnySql>,
) {
  return sql`
    insert into artifact.event (at, kind, task, run, name, upload_id, body)
    select ${at}, 'upload', body->>'task', (body->>'run')::int, body->>'name', (body->>'id')::uuid, body
    from ${change === undefined ? sql`` : sql`${change} cross join`}
      jsonb_array_elements(${sql.json(uploads.map((upload) => ({ ...upload })))})
      with ordinality as news (body, place)
    order by place`
}

/** Appends the present state of one upload. */
export async function appendUploadEvent(tx: Transaction, upload: Upload, at: Date): Promise<void> {
  await appendUploadEvents(tx, [upload], at)
}

/** How far events can be read in order at this moment. */
export interface EventHorizon {
  /** Every event up to this id is visible to statements that begin from now on, or will never be; 0 before the first. */
  last: bigint
  /** Whether events with higher ids are visible already, behind one that may still come. */
  isHeldBack: boolean
}

/**
 * Reads how far that is. An event that is not visible here, and whose id is below that of a visible one,
 * was drawn before this statement began. So its lock was there by then, and the locks are looked at after
 * the snapshot was taken: either its lock is among them, or its transaction had ended.
 */
export async function readEventHorizon(sql: AnySql): Promise<EventHorizon> {
  const [row] = await sql<[{ newest: bigint; pending: bigint | null }]>`
    with seen as materialized (select coalesce(max(id), 0) as newest from artifact.event)
    select newest, (
      select min(newest + ${signedOf(sql`objid::bigint - newest`, sql)}) from pg_locks
      where locktype = 'advisory' and classid = ${APPEND_LOCKS}::bigint::oid and objsubid = 2
        and database = (select oid from pg_database where datname = current_database())
    ) as pending from seen`
  const { newest, pending } = row
  const last = pending === null || pending > newest ? newest : pending - 1n
  return { last, isHeldBack: last < newest }
}

/** A number modulo 2^32, nearest to zero: how far the id of a lock is from another one. */
function signedOf(number: ReturnType<AnySql>, sql: AnySql) {
  return sql`(((${number} + 2147483648) & 4294967295) - 2147483648)`
}

/** Some events in order. */
export interface EventPage {
  events: Event[]
  /** Id of the last row that was read; goes on from there. */
  last: bigint
  /** Whether there was nothing more that can be read in order. */
  isEnd: boolean
  /** Whether there will be as soon as a transaction ends that is under way. */
  isHeldBack: boolean
  /** Ids of rows that this server cannot read, as when a newer one has written them. They are left out. */
  unread: bigint[]
}

/** Events after `after` in order, without gap, from at most `limit` rows. */
export async function readEvents(sql: AnySql, after: bigint, limit: number): Promise<EventPage> {
  const horizon = await readEventHorizon(sql)
  const { isHeldBack } = horizon
  if (horizon.last <= after) return { events: [], last: after, isEnd: true, isHeldBack, unread: [] }
  const rows = await sql<{ id: bigint; at: Date; kind: string; body: unknown }[]>`
    select id, at, kind, body from artifact.event
    where id > ${after} and id <= ${horizon.last} order by id limit ${limit}`
  const page: EventPage = {
    events: [],
    last: rows.at(-1)?.id ?? after,
    isEnd: rows.length < limit,
    isHeldBack,
    unread: [],
  }
  for (const { id, at, kind, body } of rows) {
    const event = { id: id.toString(), kind, at: at.toISOString(), upload: body }
    const { success, data } = EventSchema.safeParse(event)
    if (success) page.events.push(data)
    else page.unread.push(id)
  }
  return page
}

/** Ids of the visible events after `after`. */
export async function listEventIds(sql: AnySql, after: bigint): Promise<bigint[]> {
  const rows = await sql<{ id: bigint }[]>`
    select id from artifact.event where id > ${after} order by id`
  return rows.map(({ id }) => id)
}

/** The first and last id that are kept; both 0 when none is. */
export async function findEventRange(sql: AnySql): Promise<{ first: bigint; last: bigint }> {
  const [row] = await sql<[{ first: bigint | null; last: bigint | null }]>`
    select min(id) as first, max(id) as last from artifact.event`
  return { first: row.first ?? 0n, last: row.last ?? 0n }
}

/** Events that one statement deletes, so that none meets the time limit of a statement. */
const DELETED_AT_ONCE = 10_000

/**
 * Forgets the events before a moment, but for the newest of all: appenders take its id for the lowest
 * that theirs can follow, and a number that is 2^31 too low would be taken for another one.
 */
export async function deleteEvents(sql: AnySql, before: Date): Promise<void> {
  for (;;) {
    const { count } = await sql`
      delete from artifact.event where id = any(array(
        select id from artifact.event
        where at < ${before} and id < (select max(id) from artifact.event)
        order by at limit ${DELETED_AT_ONCE}))`
    if (count < DELETED_AT_ONCE) return
  }
}

/** Tells all servers that there are events to read. */
export async function announceEvents(sql: AnySql): Promise<void> {
  await sql`select pg_notify(${CHANNEL}, '')`
}

/** Calls `onNews` soon after appends by any server, and once whenever the connection is (re)made. */
export async function listenForEvents(
  sql: Sql,
  onNews: () => void,
): Promise<{ unlisten(): Promise<void> }> {
  return sql.listen(CHANNEL, onNews, onNews)
}
