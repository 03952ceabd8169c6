/**
 * What Postgres counts of the use of tables, whoever uses them: also by statements that change rows,
 * by foreign keys, and by a whole server.
 */
import type { Sql } from '../../server/records/database.ts'

/** Of one table and its indexes. */
export interface TableUse {
  table: string
  /** How often it was read from end to end. */
  scans: number
  /** Pages of 8 KiB that were touched. */
  pages: number
}

/**
 * What `action` uses of every table of the record, by connections of `role`, which must have ended
 * when it resolves. Ends all connections that there are before.
 */
export async function countUse(
  admin: Sql,
  role: string,
  action: () => Promise<unknown>,
): Promise<TableUse[]> {
  // A connection counts for itself for up to ten seconds: what was done before would come later.
  await admin`
    select pg_stat_force_next_flush(), pg_terminate_backend(pid, 10_000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`
  await admin`select pg_stat_force_next_flush()`
  const before = await readUse(admin)
  await action()
  // A connection that was closed is gone a moment later, and its counts are there.
  for (;;) {
    const [row] = await admin<[{ count: bigint }]>`
      select count(*) from pg_stat_activity
      where usename = ${role} and datname = current_database()`
    if (row.count === 0n) break
  }
  const after = await readUse(admin)
  return after.map(({ table, scans, pages }) => {
    const known = before.find((each) => each.table === table)
    return { table, scans: scans - (known?.scans ?? 0), pages: pages - (known?.pages ?? 0) }
  })
}

async function readUse(admin: Sql): Promise<TableUse[]> {
  const rows = await admin<{ table: string; scans: bigint; pages: bigint }[]>`
    select relname as table, seq_scan as scans, (heap_blks_hit + heap_blks_read
      + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0))::bigint as pages
    from pg_stat_user_tables join pg_statio_user_tables using (relid, schemaname, relname)
    where schemaname = 'artifact' order by relname`
  return rows.map((row) => ({ ...row, scans: Number(row.scans), pages: Number(row.pages) }))
}
