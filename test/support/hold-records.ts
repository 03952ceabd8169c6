/** Stops every server at the commit point of a seal: the bytes are checked, the record is not there yet. */
import type { Sql } from '../../server/records/database.ts'

/** Keeps every server from inserting a record until it is disposed of. `sql` is a superuser's. */
export async function holdRecords(sql: Sql): Promise<AsyncDisposable> {
  const held = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const transaction = sql.begin(async (tx) => {
    await tx`lock table artifact.artifact in exclusive mode`
    held.resolve()
    await release.promise
  })
  await held.promise
  return {
    async [Symbol.asyncDispose]() {
      release.resolve()
      await transaction
    },
  }
}

/** Whether some server waits to insert a record. */
export async function isInserting(sql: Sql): Promise<boolean> {
  const rows = await sql`
    select 1 from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
      and query like '%insert into artifact.artifact%'`
  return rows.length > 0
}
