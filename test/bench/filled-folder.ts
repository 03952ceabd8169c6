/** A data folder of `artifact serve` with very many records in its embedded Postgres, and a signed log. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { formatCheckpoint } from '../../client/verify/checkpoint.ts'
import { createFrontier, restoreFrontier } from '../../client/verify/frontier.ts'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import { splitHashes } from '../../server/log/sequencer.ts'
import { signHead } from '../../server/log/signer.ts'
import { initSigner, openSigner } from '../../server/log/signer-folder.ts'
import type { SignerState } from '../../server/log/signer-state.ts'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { startEmbeddedPostgres } from '../../server/records/embedded-postgres.ts'
import { insertLogKey, readHead } from '../../server/records/log.ts'
import { prepareDatabase } from '../../server/records/roles.ts'
import { fillRecords } from './fill-records.ts'

const BATCHES = 200
/** Uploads that ended during the last day. */
const ENDED_UPLOADS = 20_000
const SEALS_AT_ONCE = 100_000

/** Fills the folder unless it is filled already; `say` gets a line for every step. */
export async function fillFolder(
  folder: string,
  rows: number,
  say: (line: string) => void,
): Promise<void> {
  const mark = join(folder, `filled-${rows}`)
  if (existsSync(mark)) return say(`${folder} has ${rows} records already`)
  await mkdir(folder, { recursive: true })
  // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
  await chmod(folder, 0o711)
  {
    await using postgres = await startEmbeddedPostgres({ folder: join(folder, 'postgres') })
    const url = postgres.adminUrl
    await using database = await openDatabase({ url, statementTimeoutSeconds: 3600 })
    const { serverPassword, signerPassword } = postgres
    await prepareDatabase(database.sql, { serverPassword, signerPassword })
    await setDurable(database.sql, false)
    await timed(say, `${rows} records`, () => fill(url, database.sql, folder, rows, say))
    await setDurable(database.sql, true)
  }
  // What Postgres did not write through to the disk itself.
  await promisify(execFile)('sync')
  await writeFile(mark, '')
}

/** A folder that is lost to a power cut is filled again; what is measured in it later is durable. */
async function setDurable(admin: Sql, isDurable: boolean): Promise<void> {
  for (const setting of ['fsync', 'full_page_writes', 'synchronous_commit'])
    if (isDurable) await admin`alter system reset ${admin(setting)}`
    else await admin`alter system set ${admin(setting)} = off`
  await admin`select pg_reload_conf()`
}

async function fill(
  adminUrl: string,
  sql: Sql,
  folder: string,
  rows: number,
  say: (line: string) => void,
): Promise<void> {
  const until = new Date(Math.floor(Date.now() / 1000) * 1000)
  const trees = await fillRecords(adminUrl, { rows, until, batches: BATCHES })
  await fillUploads(sql, rows, until)
  await fillCare(sql, rows, until)
  await initSigner(join(folder, 'signer'), 'artifact.example.com/log')
  await using opened = await openSigner(join(folder, 'signer'))
  const { state, signer } = opened
  await timed(say, 'the memory of the signer', () => fillMemory(sql, state))
  await insertLogKey(sql, state.origin, formatNoteKey(signer.key))
  await signHead({ sql, state, signer })
  for (const { size, root, at } of trees.slice(0, -1)) {
    const note = signNote(formatCheckpoint({ origin: state.origin, size, root }), [signer])
    await sql`insert into artifact.log_checkpoint (origin, size, note, signed_at)
      values (${state.origin}, ${size}, ${note}, ${at})`
  }
  await sql`vacuum analyze artifact.log_checkpoint, artifact.upload, artifact.verification_turn, artifact.log_scrub`
}

/** What ended in the last day and is not forgotten yet; the newest records came from them. */
async function fillUploads(sql: Sql, rows: number, until: Date): Promise<void> {
  await sql`
    insert into artifact.upload (
      id, task, run, name, size, sha256, part_size, content_type, labels, policy, state, blob_key,
      claimed_size, claimed_sha256, verified_bytes, progress_bytes, progress_total, progress_at,
      token_id, token_name, opened_at, moved_at, expires_at, ended_at, purged_at)
    select upload_id, task, run, name, size, sha256, part_size, content_type, labels, policy, 'sealed',
      blob_key, size, sha256, size, size, size, ended_at, sealed_by_token, sealed_by_name,
      ended_at - interval '1 minute', ended_at, ended_at + interval '1 day', ended_at, ended_at
    from (select artifact.*,
        ${until}::timestamptz - (${rows}::bigint - idx) * interval '4 seconds' as ended_at
      from artifact.log_leaf join artifact.artifact using (task, run, name)
      where idx >= ${rows - ENDED_UPLOADS}
    ) as ended`
}

/** Every artifact waits for its turn to be read again, and every tile of the log was looked at once. */
async function fillCare(sql: Sql, rows: number, until: Date): Promise<void> {
  await sql`
    insert into artifact.verification_turn (idx, seen_at)
    select idx, ${until}::timestamptz - (${rows}::bigint - idx) * interval '1 minute'
    from generate_series(0, ${rows}::bigint - 1) as idx`
  await sql`
    insert into artifact.log_scrub (tile, checked_at, leaves)
    select tile, ${until}::timestamptz + tile * interval '1 second', least(256, ${rows}::bigint - tile * 256)
    from generate_series(0, (${rows}::bigint - 1) / 256) as tile`
}

/**
 * What a signer remembers that has signed all along. It gets the names in the order of its index, since
 * a batch in the order of the log touches nearly every page of it. The head it checks itself.
 */
async function fillMemory(sql: Sql, state: SignerState): Promise<void> {
  const { size, frontier } = await readHead(sql)
  await sql.begin(async (tx) => {
    await tx`set local work_mem = '512MB'`
    const seals = tx<{ name: string; idx: bigint }[]>`
      select spelt.name, idx
      from artifact.log_leaf as leaf
      cross join lateral (select leaf.task || '/' || leaf.run || '/' || leaf.name as name) as spelt
      order by sha256(convert_to(spelt.name, 'UTF8'))`.cursor(SEALS_AT_ONCE)
    for await (const rows of seals)
      state.accept(
        createFrontier(),
        rows.map(({ name, idx }) => ({ name, index: Number(idx) })),
      )
  })
  state.accept(restoreFrontier(size, splitHashes(frontier)), [])
}

async function timed(
  say: (line: string) => void,
  name: string,
  action: () => Promise<void>,
): Promise<void> {
  const began = performance.now()
  await action()
  say(`made ${name} in ${((performance.now() - began) / 1000).toFixed(0)} s`)
}
