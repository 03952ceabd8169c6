/**
 * A process with an embedded Postgres of its own, for tests that end it roughly.
 *
 *     node embedded-postgres-parent.ts FOLDER [throw]
 *
 * Writes one line of JSON when Postgres is ready, then waits to be killed, or throws.
 */
import { openDatabase } from '../../server/records/database.ts'
import { startEmbeddedPostgres } from '../../server/records/embedded-postgres.ts'

const [folder = '', end] = process.argv.slice(2)
const notes: string[] = []
const embedded = await startEmbeddedPostgres({ folder, log: (message) => notes.push(message) })
const admin = await openDatabase({ url: embedded.adminUrl, connectionsMax: 1 })
await admin.sql`create table if not exists public.mark (number integer)`
await admin.sql`insert into public.mark select count(*) from public.mark`
const [row] = await admin.sql<[{ marks: number; program: string }]>`
  select count(*)::int as marks, current_setting('data_directory') as program from public.mark`
process.stdout.write(`${JSON.stringify({ ...row, notes, uid: process.getuid?.() })}\n`)
if (end === 'throw') throw new Error('on purpose')
// Postgres alone keeps no process alive.
setInterval(() => {}, 60_000)
