/**
 * Every statement we can think of by which the runtime role might change the record, or make it
 * possible to. `$ADMIN` stands for the superuser's name, `$DATABASE` for the database.
 */

export interface Attack {
  area: string
  /** Run one after the other on one connection; the last one must be refused, those before are set-up. */
  statements: readonly string[]
  /** SQLSTATE of the refusal: 42501 is insufficient_privilege. */
  state: string
}

const DENIED = '42501'

const attack = (area: string, state: string, ...statements: string[]): Attack => ({
  area,
  statements,
  state,
})
/** Each statement is an attack of its own, and is denied. */
const denied = (area: string, ...statements: string[]): Attack[] =>
  statements.map((statement) => attack(area, DENIED, statement))

const ARTIFACT = 'artifact.artifact'
const DIGEST = `sha256('another'::bytea)`
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

const definitions: Attack[] = [
  ...denied(
    'ALTER TABLE',
    ...[
      'disable trigger all',
      'disable trigger write_once',
      'disable trigger user',
      'enable replica trigger write_once',
      'owner to artifact_server',
      'rename to artifact_old',
      'rename column sha256 to sha1',
      'add column extra text',
      'drop column sha256',
      'alter column sha256 type text using null',
      `alter column sealed_at set default 'epoch'`,
      'drop constraint artifact_pkey',
      'drop constraint artifact_sha256_check',
      'set schema public',
      'set unlogged',
      'inherit artifact.upload',
      'enable row level security',
      'replica identity nothing',
      'cluster on artifact_pkey',
      'set (autovacuum_enabled = off)',
    ].map((action) => `alter table ${ARTIFACT} ${action}`),
    'alter index artifact.artifact_pkey rename to other',
    'alter index artifact.artifact_latest set (fillfactor = 50)',
    'alter trigger write_once on artifact.artifact rename to once',
    'alter function artifact.refuse_change() owner to artifact_server',
    `alter function artifact.refuse_change() set session_replication_role = 'replica'`,
    'alter schema artifact owner to artifact_server',
    'alter schema artifact rename to artifact_old',
    `comment on table ${ARTIFACT} is 'mutable'`,
  ),
  ...denied(
    'DROP',
    `drop table ${ARTIFACT}`,
    `drop table ${ARTIFACT} cascade`,
    'drop table artifact.task cascade',
    'drop table artifact.upload cascade',
    'drop schema artifact cascade',
    'drop function artifact.refuse_change() cascade',
    `drop trigger write_once on ${ARTIFACT}`,
    `drop trigger write_once_all on ${ARTIFACT}`,
    'drop index artifact.artifact_latest',
    'drop owned by artifact_owner cascade',
    'drop role artifact_owner',
    'drop database $DATABASE',
  ),
  ...denied(
    'CREATE',
    `create trigger ours before update on ${ARTIFACT} for each row execute function suppress_redundant_updates_trigger()`,
    `create trigger ours after insert on ${ARTIFACT} for each row execute function artifact.refuse_change()`,
    `create rule ours as on insert to ${ARTIFACT} do instead nothing`,
    `create rule ours as on insert to ${ARTIFACT} do also delete from ${ARTIFACT}`,
    `create rule "_RETURN" as on select to ${ARTIFACT} do instead select * from ${ARTIFACT}`,
    `create policy ours on ${ARTIFACT} using (false)`,
    `create index on ${ARTIFACT} (sha256)`,
    `create unique index on ${ARTIFACT} ((true))`,
    `create statistics artifact.ours on task, run from ${ARTIFACT}`,
    `create table artifact.ours (task text references artifact.task on delete cascade on update cascade)`,
    `create table artifact.ours () inherits (${ARTIFACT})`,
    `create table artifact.ours (like ${ARTIFACT} including all)`,
    `create table artifact.ours as select * from ${ARTIFACT}`,
    `select * into artifact.ours from ${ARTIFACT}`,
    `create view artifact.ours as select * from ${ARTIFACT}`,
    `create materialized view artifact.ours as select * from ${ARTIFACT}`,
    'create sequence artifact.ours',
    'create type artifact.ours as (a text)',
    'create domain artifact.ours as text',
    'create schema ours',
    'create schema if not exists ours authorization artifact_server',
    `create or replace function artifact.refuse_change() returns trigger language plpgsql as 'begin return new; end'`,
    `create event trigger ours on ddl_command_start execute function artifact.refuse_change()`,
    `create publication ours for table ${ARTIFACT}`,
    `create subscription ours connection 'host=127.0.0.1' publication p with (connect = false)`,
    'create language ours handler plpgsql_call_handler',
    'create foreign data wrapper ours',
    'create access method ours type index handler bthandler',
    'create cast (text as bytea) without function',
    `create tablespace ours location '/tmp'`,
    'create database ours template $DATABASE',
    'create extension if not exists pg_trgm',
  ),
]

const rights: Attack[] = [
  ...denied(
    'session_replication_role',
    `set session_replication_role = 'replica'`,
    `set local session_replication_role = 'replica'`,
    `select set_config('session_replication_role', 'replica', false)`,
    `alter role artifact_server set session_replication_role = 'replica'`,
    `alter role all set session_replication_role = 'replica'`,
    `alter database $DATABASE set session_replication_role = 'replica'`,
    `alter system set session_replication_role = 'replica'`,
  ),
  ...denied(
    'SET ROLE',
    'set role artifact_owner',
    'set local role artifact_owner',
    'set role "$ADMIN"',
    'set role pg_write_all_data',
    'set role pg_database_owner',
    'set session authorization artifact_owner',
    'set session authorization "$ADMIN"',
    `select set_config('role', 'artifact_owner', false)`,
    `select set_config('session_authorization', '$ADMIN', false)`,
  ),
  ...denied(
    'GRANT',
    'grant artifact_owner to artifact_server',
    'grant "$ADMIN" to artifact_server',
    'grant pg_write_all_data to artifact_server',
    'grant pg_execute_server_program to artifact_server',
    'grant all on function artifact.refuse_change() to public',
    `grant set on parameter session_replication_role to artifact_server`,
    'alter default privileges for role artifact_owner grant update on tables to artifact_server',
    'reassign owned by artifact_owner to artifact_server',
  ),
  ...denied(
    'ALTER ROLE',
    'alter role artifact_server superuser',
    'alter role artifact_server bypassrls',
    'alter role artifact_server createrole',
    'alter role artifact_server replication',
    'alter role artifact_server createdb',
    `alter role artifact_owner login password 'x'`,
    `alter role "$ADMIN" password 'x'`,
    'alter role artifact_owner rename to owner',
    'create role ours superuser',
    'create role ours in role artifact_owner',
    'alter database $DATABASE owner to artifact_server',
  ),
  ...denied(
    'system',
    'alter system set fsync = off',
    'alter system reset all',
    'set allow_system_table_mods = on',
    'set zero_damaged_pages = on',
    'set ignore_checksum_failure = on',
    `set session_preload_libraries = 'evil'`,
    `load '/tmp/evil.so'`,
    'checkpoint',
    'select pg_reload_conf()',
    'select pg_switch_wal()',
    `select pg_create_restore_point('ours')`,
    `update pg_class set relacl = null where relname = 'artifact'`,
    `update pg_trigger set tgenabled = 'D'`,
    'delete from pg_trigger',
    `update pg_authid set rolsuper = true where rolname = 'artifact_server'`,
    'select rolpassword from pg_authid',
    `update pg_database set datistemplate = true`,
  ),
  ...denied(
    'replication',
    `select pg_create_logical_replication_slot('ours', 'pgoutput')`,
    `select pg_create_physical_replication_slot('ours')`,
    `select pg_replication_origin_create('ours')`,
    `select pg_replication_origin_session_setup('ours')`,
  ),
]

const detours: Attack[] = [
  ...denied(
    'SECURITY DEFINER',
    `create function artifact.ours() returns void language sql security definer as 'delete from artifact.artifact'`,
    `create function public.ours() returns void language sql security definer as 'delete from artifact.artifact'`,
    `create function pg_catalog.ours() returns void language sql as 'select 1'`,
    `create procedure public.ours() language sql as 'delete from artifact.artifact'`,
    'alter function artifact.refuse_change() security definer',
    'select artifact.refuse_change()',
    `do $$ begin update artifact.artifact set size = 1; end $$`,
    `do $$ begin execute 'delete from artifact.artifact'; end $$`,
    `do $$ begin set local role artifact_owner; update artifact.artifact set size = 1; end $$`,
  ),
  ...denied(
    'shadowing',
    `create temporary table artifact (task text)`,
    `create temporary view artifact as select 1`,
    `create function pg_temp.octet_length(text) returns integer language sql as 'select 32'`,
    `create function public.octet_length(text) returns integer language sql as 'select 32'`,
    `create function pg_catalog.octet_length(text) returns integer language sql as 'select 32'`,
    `create operator public.= (leftarg = text, rightarg = text, function = texteq)`,
    `create table public.artifact (task text)`,
    `create collation pg_catalog."C2" from "C"`,
  ),
  attack(
    'shadowing',
    DENIED,
    `set search_path = pg_temp, public, artifact`,
    'update artifact set size = 1',
  ),
  attack('shadowing', DENIED, `set search_path = artifact`, 'delete from artifact'),
  ...denied(
    'locks',
    `select from ${ARTIFACT} for update`,
    `select from ${ARTIFACT} for no key update`,
    `select from ${ARTIFACT} for share`,
    `select from ${ARTIFACT} for key share`,
  ),
  attack('locks', DENIED, 'begin', `lock table ${ARTIFACT}`),
  attack('locks', DENIED, 'begin', `lock table ${ARTIFACT} in exclusive mode`),
  attack('locks', DENIED, 'begin', `lock table ${ARTIFACT} in share mode`),
  attack('locks', DENIED, 'begin', 'lock table artifact.task, artifact.run, artifact.artifact'),
  ...denied(
    'files',
    `select pg_read_file('/etc/passwd')`,
    `select pg_read_binary_file('PG_VERSION')`,
    `select pg_ls_dir('base')`,
    `select lo_import('/etc/passwd')`,
    `select lo_export(1, '/tmp/x')`,
    `select pg_stat_file('PG_VERSION')`,
    `select pg_ls_waldir()`,
  ),
  ...denied(
    'maintenance',
    `reindex table ${ARTIFACT}`,
    'reindex schema artifact',
    `cluster ${ARTIFACT} using artifact_pkey`,
  ),
  ...denied(
    'sequences',
    'alter sequence artifact.event_id_seq restart',
    'alter table artifact.event alter column id drop identity',
    `select setval('artifact.event_id_seq', 1)`,
    'drop sequence artifact.event_id_seq cascade',
  ),
  ...denied(
    'tokens',
    `update artifact.token set secret_sha256 = ${DIGEST}`,
    `update artifact.token set scopes = '{admin}'`,
    'update artifact.token set expires_at = null',
    'delete from artifact.token',
  ),
  ...denied(
    'ledger',
    `insert into artifact.migration (version, name, sha256) values (99, 'ours', ${DIGEST})`,
  ),
  attack(
    'prepared statement',
    DENIED,
    `prepare ours as update ${ARTIFACT} set size = 1`,
    'execute ours',
  ),
  attack('cursor', DENIED, 'begin', `declare ours cursor for select * from ${ARTIFACT} for update`),
  attack(
    'cursor',
    DENIED,
    'begin',
    `declare ours cursor for select * from ${ARTIFACT}`,
    'fetch ours',
    `delete from ${ARTIFACT} where current of ours`,
  ),
  attack(
    'two-phase',
    '55000',
    'begin',
    `insert into artifact.task values ('two-phase')`,
    `prepare transaction 'ours'`,
  ),
  attack(
    'deferred',
    DENIED,
    'begin',
    'set constraints all deferred',
    `update artifact.run set run = run + 1`,
  ),
]

export const ATTACKS: readonly Attack[] = [
  ...changes,
  ...malformed,
  ...definitions,
  ...rights,
  ...detours,
]

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
  `vacuum ${ARTIFACT}`,
  `analyze ${ARTIFACT}`,
]
