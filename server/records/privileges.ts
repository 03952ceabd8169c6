/**
 * The server refuses to run as a role that could rewrite history. Everything is asked of the
 * catalog, of the role itself and of every role it is a member of: SET ROLE is one statement away.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import type { Sql } from './database.ts'

/** The write-once tables, in the schema `artifact`. */
export const SEALED_TABLES = [
  'task',
  'run',
  'artifact',
  'log_leaf',
  'log_node',
  'log_tree',
  'log_checkpoint',
  'log_key',
  'verification',
] as const

/**
 * Throws `privileges`, naming each one found, when the login role or the current role could change
 * the record, and when what guards the record is missing. The schema must be up to date.
 */
export async function checkPrivileges(sql: Sql): Promise<void> {
  const [role] = await sql<[{ session: string; current: string; version: number }]>`
    select session_user::text as session, current_user::text as current,
      current_setting('server_version_num')::int as version`
  const found = [
    ...new Set([
      ...(await findPowers(sql)),
      ...(await findOwnerships(sql)),
      ...(await findGrants(sql, role.version)),
      ...(await findDetours(sql)),
      ...(await findMissingGuards(sql)),
    ]),
  ]
  if (found.length === 0) return
  const name = role.session === role.current ? role.current : `${role.session} as ${role.current}`
  throw new ArtifactError(
    'privileges',
    `Cannot run as the database role ${name}: it could rewrite history, by ${found.join('; ')}`,
    { expected: 'SELECT and INSERT on the sealed tables, and no more', found: found.join('; ') },
  )
}

interface Finding {
  finding: string
}

/** Us, and every role that we may act as; a superuser would be in all of them, and is named alone. */
const members = (sql: Sql) => sql`
  member as (
    select distinct m.oid, m.rolname, m.rolsuper, m.rolcreaterole, m.rolreplication, m.rolbypassrls,
      case when m.rolname in (session_user, current_user) then '' else ' through role ' || m.rolname end as through
    from pg_roles us
    join pg_roles m on m.oid = us.oid or (not us.rolsuper and pg_has_role(us.oid, m.oid, 'MEMBER'))
    where us.rolname in (session_user, current_user)
  )`

const sealed = (sql: Sql) => sql`
  sealed as (
    select c.oid, c.relname, 'artifact.' || c.relname as name, c.relowner
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'artifact' and c.relname = any (${[...SEALED_TABLES]})
  )`

/** Attributes of roles, and the predefined roles that reach the files of the server. */
async function findPowers(sql: Sql): Promise<string[]> {
  const rows = await sql<Finding[]>`
    with ${members(sql)}
    select power || through as finding from member, lateral (values
      (rolsuper, 'SUPERUSER'),
      (rolcreaterole and not rolsuper, 'CREATEROLE'),
      (rolreplication and not rolsuper, 'REPLICATION'),
      (rolbypassrls and not rolsuper, 'BYPASSRLS')
    ) as power (holds, power) where holds
    union all
    select 'membership in ' || rolname from member where rolname in (
      'artifact_owner', 'pg_write_all_data', 'pg_maintain', 'pg_write_server_files',
      'pg_read_server_files', 'pg_execute_server_program', 'pg_create_subscription')
    union all
    select 'SET session_replication_role' || through from member
    where not rolsuper and has_parameter_privilege(oid, 'session_replication_role', 'SET')
    union all
    select 'ALTER SYSTEM SET ' || p.parname || through from member, pg_parameter_acl p
    where not rolsuper and has_parameter_privilege(member.oid, p.parname, 'ALTER SYSTEM')`
  return rows.map((row) => row.finding)
}

async function findOwnerships(sql: Sql): Promise<string[]> {
  const rows = await sql<Finding[]>`
    with ${members(sql)}
    select 'ownership of ' || owned.thing || through as finding from member, lateral (
      select 'database ' || datname as thing from pg_database
        where datname = current_database() and datdba = member.oid
      union all
      select 'schema ' || nspname from pg_namespace where nspname = 'artifact' and nspowner = member.oid
      union all
      select 'artifact.' || relname from pg_class
        where relnamespace = to_regnamespace('artifact') and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
          and relowner = member.oid
      union all
      select 'function ' || p.oid::regprocedure from pg_proc p
        where p.pronamespace = to_regnamespace('artifact') and p.proowner = member.oid
    ) owned where not rolsuper`
  return rows.map((row) => row.finding)
}

/** Privileges on the sealed tables, their columns, the schema and the database; those of PUBLIC count. */
async function findGrants(sql: Sql, version: number): Promise<string[]> {
  const maintain = version >= 170_000 ? ['MAINTAIN'] : []
  const onTable = ['UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', ...maintain]
  const rows = await sql<Finding[]>`
    with ${members(sql)}, ${sealed(sql)}
    select p || ' on ' || sealed.name || through as finding
    from member, sealed, unnest(${onTable}::text[]) p
    where not rolsuper and has_table_privilege(member.oid, sealed.oid, p)
    union all
    select p || ' (' || a.attname || ') on ' || sealed.name || through
    from member, sealed, unnest(array['UPDATE', 'REFERENCES']) p, pg_attribute a
    where not rolsuper and a.attrelid = sealed.oid and a.attnum > 0 and not a.attisdropped
      and has_column_privilege(member.oid, sealed.oid, a.attnum, p)
      and not has_table_privilege(member.oid, sealed.oid, p)
    union all
    select 'CREATE on schema artifact' || through from member
    where not rolsuper and has_schema_privilege(member.oid, 'artifact', 'CREATE')
    union all
    select p || ' on database ' || current_database() || through
    from member, unnest(array['CREATE', 'TEMPORARY']) p
    where not rolsuper and has_database_privilege(member.oid, current_database(), p)`
  return rows.map((row) => row.finding)
}

/** Ways that run with the rights of somebody else. */
async function findDetours(sql: Sql): Promise<string[]> {
  const rows = await sql<Finding[]>`
    with ${members(sql)}, ${sealed(sql)}
    select 'EXECUTE on the SECURITY DEFINER function ' || p.oid::regprocedure || through as finding
    from member, pg_proc p join pg_roles definer on definer.oid = p.proowner
    where not member.rolsuper and p.prosecdef and has_function_privilege(member.oid, p.oid, 'EXECUTE')
      and (definer.rolsuper or pg_has_role(definer.oid, (select relowner from sealed limit 1), 'MEMBER'))
      and not exists (select from pg_depend d
        where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
      and p.pronamespace not in (to_regnamespace('pg_catalog'), to_regnamespace('information_schema'))
    union all
    select w || ' on the view ' || v.oid::regclass || through
    from member, unnest(array['UPDATE', 'DELETE']) w, (
      select distinct c.oid from pg_depend d
      join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
      join pg_class c on c.oid = r.ev_class and c.relkind = 'v'
      where d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from sealed)
    ) v
    where not rolsuper and has_any_column_privilege(member.oid, v.oid, 'UPDATE') and w = 'UPDATE'
      or not rolsuper and has_table_privilege(member.oid, v.oid, 'DELETE') and w = 'DELETE'
    union all
    select 'the foreign key ' || f.conname || ', which changes ' || sealed.name
    from sealed join pg_constraint f on f.conrelid = sealed.oid and f.contype = 'f'
    where f.confdeltype not in ('a', 'r') or f.confupdtype not in ('a', 'r')
    union all
    select sealed.name || ' being a child of ' || i.inhparent::regclass
    from sealed join pg_inherits i on i.inhrelid = sealed.oid`
  return rows.map((row) => row.finding)
}

/**
 * The triggers behind the grants: before update or delete of each row, and before truncate, always
 * enabled. Bits of `tgtype` (src/include/catalog/pg_trigger.h): row 1, before 2, insert 4, delete 8,
 * update 16, truncate 32.
 */
async function findMissingGuards(sql: Sql): Promise<string[]> {
  const rows = await sql<Finding[]>`
    with ${sealed(sql)},
    guard (tgname, tgtype) as (values ('write_once', 1 | 2 | 8 | 16), ('write_once_all', 2 | 32))
    select case when wanted.t is null then 'the missing table artifact.' || wanted.relname
      else 'the missing trigger ' || guard.tgname || ' of ' || wanted.t end as finding
    from (
      select names.relname, sealed.oid, sealed.name as t
      from unnest(${[...SEALED_TABLES]}::text[]) names (relname) left join sealed using (relname)
    ) wanted cross join guard
    left join pg_trigger g on g.tgrelid = wanted.oid and g.tgname = guard.tgname
      and g.tgtype = guard.tgtype and g.tgenabled = 'A' and g.tgqual is null and g.tgattr = ''
      and g.tgfoid = to_regproc('artifact.refuse_change')
    where g.oid is null`
  return rows.map((row) => row.finding)
}
