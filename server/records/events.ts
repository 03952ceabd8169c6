/** What people watch: an outbox in order of commit, read by id and announced by NOTIFY. */
import type { Event } from '../../schemas/event.ts'
import { Event as EventSchema } from '../../schemas/event.ts'
import type { Upload } from '../../schemas/upload.ts'
import type { AnySql, Sql, Transaction } from './database.ts'

/** Channel of NOTIFY; the payload is empty, the table is the truth. */
const CHANNEL = 'artifact_event'
/** Key of the advisory lock that makes ids grow in order of commit ("evnt"). */
const APPEND_LOCK = 0x65_76_6e_74

/**
 * Appends the present state of uploads, in order. The lock is held until the transaction ends, so
 * this comes last in it: a reader that saw id n has seen everything below n.
 *
 * One statement is enough for that: an id is drawn for a row that the join has let out, and it lets
 * none out before `held` has its row, which is when the lock is. What the snapshot of the statement
 * saw before does not matter, since it reads no event.
 */
export async function appendUploadEvents(
  tx: Transaction,
  uploads: readonly Upload[],
  at: Date,
): Promise<void> {
  await tx`
    with held as materialized (select pg_advisory_xact_lock(${APPEND_LOCK})),
    appended as (
      insert into artifact.event (at, kind, task, run, name, upload_id, body)
      select ${at}, 'upload', body->>'task', (body->>'run')::int, body->>'name', (body->>'id')::uuid, body
      from held cross join
        jsonb_array_elements(${tx.json(uploads.map((upload) => ({ ...upload })))})
        with ordinality as news (body, place)
      order by place
    )
    select pg_notify(${CHANNEL}, '')`
}

/** Appends the present state of one upload. */
export async function appendUploadEvent(tx: Transaction, upload: Upload, at: Date): Promise<void> {
  await appendUploadEvents(tx, [upload], at)
}

/** Some events in order. */
export interface EventPage {
  events: Event[]
  /** Id of the last row that was read; goes on from there. */
  last: bigint
  /** Whether there was nothing more. */
  isEnd: boolean
  /** Ids of rows that this server cannot read, as when a newer one has written them. They are left out. */
  unread: bigint[]
}

/** Events after `after` in order, from at most `limit` rows. */
export async function readEvents(sql: AnySql, after: bigint, limit: number): Promise<EventPage> {
  const rows = await sql<{ id: bigint; at: Date; kind: string; body: unknown }[]>`
    select id, at, kind, body from artifact.event where id > ${after} order by id limit ${limit}`
  const page: EventPage = {
    events: [],
    last: rows.at(-1)?.id ?? after,
    isEnd: rows.length < limit,
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

/** The first and last id that are kept; both 0 when none is. */
export async function findEventRange(sql: AnySql): Promise<{ first: bigint; last: bigint }> {
  const [row] = await sql<[{ first: bigint | null; last: bigint | null }]>`
    select min(id) as first, max(id) as last from artifact.event`
  return { first: row.first ?? 0n, last: row.last ?? 0n }
}

/** Events that one statement deletes, so that none meets the time limit of a statement. */
const DELETED_AT_ONCE = 10_000

/** Forgets the events before a moment. */
export async function deleteEvents(sql: AnySql, before: Date): Promise<void> {
  for (;;) {
    const { count } = await sql`
      delete from artifact.event where id = any(array(
        select id from artifact.event where at < ${before} order by at limit ${DELETED_AT_ONCE}))`
    if (count < DELETED_AT_ONCE) return
  }
}

/** Calls `onNews` after every append by any server, and once whenever the connection is (re)made. */
export async function listenForEvents(
  sql: Sql,
  onNews: () => void,
): Promise<{ unlisten(): Promise<void> }> {
  return sql.listen(CHANNEL, onNews, onNews)
}
