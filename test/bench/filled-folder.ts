/** A data folder of `artifact serve` with very many records in its embedded Postgres, and a signed log. */
import { existsSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatCheckpoint } from '../../client/verify/checkpoint.ts'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import { signHead } from '../../server/log/signer.ts'
import { initSigner, openSigner } from '../../server/log/signer-folder.ts'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { startEmbeddedPostgres } from '../../server/records/embedded-postgres.ts'
import { prepareDatabase } from '../../server/records/roles.ts'
import { fillRecords } from './fill-records.ts'

const BATCHES = 200
const DAY_MS = 86_400_000
/** Uploads that ended during the last day. */
const ENDED_UPLOADS = 20_000

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
  await using postgres = await startEmbeddedPostgres({ folder: join(folder, 'postgres') })
  {
    await using database = await openDatabase({ url: postgres.adminUrl })
    const { serverPassword, signerPassword } = postgres
    await prepareDatabase(database.sql, { serverPassword, signerPassword })
    await timed(say, `${rows} records`, () => fill(postgres.adminUrl, database.sql, folder, rows))
  }
  await writeFile(mark, '')
}

async function fill(adminUrl: string, sql: Sql, folder: string, rows: number): Promise<void> {
  const until = new Date(Math.floor(Date.now() / 1000) * 1000)
  const trees = await fillRecords(adminUrl, { rows, until, batches: BATCHES })
  await fillUploads(sql, until)
  await initSigner(join(folder, 'signer'), 'artifact.example.com/log')
  await using opened = await openSigner(join(folder, 'signer'))
  const { state, signer } = opened
  await sql`insert into artifact.log_key (origin, vkey)
    values (${state.origin}, ${formatNoteKey(signer.key)}) on conflict do nothing`
  await signHead({ sql, state, signer })
  for (const { size, root, at } of trees.slice(0, -1)) {
    const note = signNote(formatCheckpoint({ origin: state.origin, size, root }), [signer])
    await sql`insert into artifact.log_checkpoint (origin, size, note, signed_at)
      values (${state.origin}, ${size}, ${note}, ${at})`
  }
}

/** What ended in the last day and is not forgotten yet; the newest records came from them. */
async function fillUploads(sql: Sql, until: Date): Promise<void> {
  await sql`
    insert into artifact.upload (
      id, task, run, name, size, sha256, part_size, content_type, labels, policy, state, blob_key,
      claimed_size, claimed_sha256, verified_bytes, progress_bytes, progress_total, progress_at,
      token_id, token_name, opened_at, moved_at, expires_at, ended_at, purged_at)
    select upload_id, task, run, name, size, sha256, part_size, content_type, labels, policy, 'sealed',
      blob_key, size, sha256, size, size, size, ended_at, sealed_by_token, sealed_by_name,
      ended_at - interval '1 minute', ended_at, ended_at + interval '1 day', ended_at, ended_at
    from (select artifact.*, ${new Date(until.getTime() - DAY_MS)}::timestamptz
        + row_number() over (order by sealed_at) * interval '4 seconds' as ended_at
      from (select * from artifact.artifact order by sealed_at desc limit ${ENDED_UPLOADS}) as artifact
    ) as ended`
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
