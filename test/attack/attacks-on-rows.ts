/** Attacks that would change, remove or forge a row. */
import { ARTIFACT, type Attack, attack, DIGEST, denied } from './attack.ts'

const COLUMNS = [
  ...['task', 'run', 'name', 'sha256', 'size', 'part_size', 'part_sha256s', 'content_type'],
  ...['labels', 'policy', 'store', 'blob_key', 'blob_tag', 'upload_id', 'opened_at'],
  ...['sealed_by_token', 'sealed_by_name'],
]
/** A row of the same name with another digest. */
const RIVAL = `
  insert into ${ARTIFACT} (task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy,
    store, blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name)
  select task, run, name, ${DIGEST}, 7, part_size, ${DIGEST}, content_type, labels, policy, store,
    blob_key || '2', blob_tag, gen_random_uuid(), opened_at, sealed_by_token, sealed_by_name
  from ${ARTIFACT} limit 1`

const changes: Attack[] = [
  ...denied(
    'UPDATE',
    `update ${ARTIFACT} set sha256 = ${DIGEST}`,
    `update ${ARTIFACT} set name = name`,
    `update only ${ARTIFACT} set blob_key = 'blobs/other'`,
    `update ${ARTIFACT} set sealed_at = default`,
    `update ${ARTIFACT} set size = 1 where false`,
    'update artifact.run set run = run + 1',
    'update artifact.run set request_id = null',
    `update artifact.task set task = 'other'`,
    `update artifact.migration set sha256 = ${DIGEST}`,
    `with changed as (update ${ARTIFACT} set size = 1 returning *) select * from changed`,
    `explain analyze update ${ARTIFACT} set size = 1`,
  ),
  ...denied(
    'DELETE',
    `delete from ${ARTIFACT}`,
    `delete from ${ARTIFACT} where false`,
    'delete from artifact.run',
    'delete from artifact.task',
    'delete from artifact.migration',
    `with gone as (delete from ${ARTIFACT} returning *) select * from gone`,
    `delete from ${ARTIFACT} using artifact.upload u where u.id = upload_id`,
  ),
  ...denied(
    'TRUNCATE',
    `truncate ${ARTIFACT}`,
    `truncate ${ARTIFACT} cascade`,
    'truncate artifact.run cascade',
    'truncate artifact.task cascade',
    'truncate artifact.task, artifact.run, artifact.artifact',
    'truncate artifact.upload cascade',
    'truncate artifact.event restart identity cascade',
  ),
  ...denied(
    'MERGE',
    `merge into ${ARTIFACT} a using (values (1)) v on true when matched then update set size = 1`,
    `merge into ${ARTIFACT} a using (values (1)) v on true when matched then delete`,
    `merge into artifact.run r using (values (1)) v on true when matched then delete`,
  ),
  ...denied(
    'upsert',
    `${RIVAL} on conflict (task, run, name) do update set sha256 = excluded.sha256`,
    `${RIVAL} on conflict (task, run, name) do update set size = excluded.size where false`,
    `insert into artifact.task (task) select task from artifact.task on conflict (task) do update set opened_at = now()`,
  ),
  ...denied(
    'COPY',
    `copy ${ARTIFACT} from '/etc/passwd'`,
    `copy ${ARTIFACT} from program 'true'`,
    `copy ${ARTIFACT} to '/tmp/artifact'`,
    `copy ${ARTIFACT} to program 'cat'`,
    `copy (delete from ${ARTIFACT} returning *) to stdout`,
  ),
  attack('second row', '23505', RIVAL),
  attack('second row', '23505', 'insert into artifact.run select * from artifact.run'),
  attack(
    'second row',
    '23505',
    `merge into ${ARTIFACT} a using ${ARTIFACT} b on false when not matched then
      insert values (b.task, b.run, b.name, ${DIGEST}, 7, b.part_size, ${DIGEST}, b.content_type, b.labels, b.policy,
        b.store, 'k', b.blob_tag, gen_random_uuid(), b.opened_at, now(), b.sealed_by_token, b.sealed_by_name)`,
  ),
]

/** A sealed row under a free name with some values exchanged: `columns` and `values` are lists with commas. */
const insertWith = (columns: string, values: string) => {
  const fresh = new Map([
    ['name', `'free'`],
    ['blob_key', `'blobs/free'`],
    ['upload_id', 'gen_random_uuid()'],
  ])
  const exchanged = columns.split(', ')
  const kept = COLUMNS.filter((column) => !exchanged.includes(column))
  return `insert into ${ARTIFACT} (${[...kept, columns].join(', ')})
    select ${[...kept.map((column) => fresh.get(column) ?? column), values].join(', ')} from ${ARTIFACT} limit 1`
}

const malformed: Attack[] = [
  ['sha256', String.raw`'\x00'::bytea`, '23514'],
  ['sha256', `sha256 || '\\x00'::bytea`, '23514'],
  ['sha256', 'null', '23502'],
  ['size', '-1', '23514'],
  ['size', '9223372036854775808', '22003'],
  ['size', 'null', '23502'],
  ['part_size', '0', '22012'],
  ['part_sha256s', `''::bytea`, '23514'],
  ['part_sha256s', 'part_sha256s || part_sha256s', '23514'],
  ['part_sha256s', DIGEST, '23514'],
  ['name', `''`, '23514'],
  ['name', `repeat('n', 513)`, '23514'],
  ['task', `'unknown'`, '23503'],
  ['run', '-1', '23503'],
  ['policy', `'none'`, '23514'],
  ['labels', `'[]'::jsonb`, '23514'],
  ['labels', `jsonb_build_object('k', repeat('v', 70000))`, '23514'],
  ['blob_key', 'blob_key', '23505'],
  ['upload_id', 'upload_id', '23505'],
  // One part: its digest is the whole digest.
  ['sha256, size, part_sha256s', `sha256, 7, ${DIGEST}`, '23514'],
].map(([column = '', value = '', state = '']) =>
  attack('malformed row', state, insertWith(column, value)),
)

export const ATTACKS_ON_ROWS: readonly Attack[] = [...changes, ...malformed]

/** What Postgres answers with a warning at most: nothing may change, and nothing may be granted. */
export const HARMLESS: readonly string[] = [
  `${RIVAL} on conflict do nothing`,
  `grant update on ${ARTIFACT} to artifact_server`,
  `grant all on all tables in schema artifact to artifact_server`,
  `grant create on schema artifact to artifact_server`,
  `grant create on schema public to artifact_server`,
  `grant create, temporary on database $DATABASE to artifact_server`,
  `revoke select on ${ARTIFACT} from artifact_reader`,
  `revoke all on ${ARTIFACT} from artifact_owner`,
  'select lo_unlink(lo_create(0))',
  `vacuum ${ARTIFACT}`,
  `analyze ${ARTIFACT}`,
]
