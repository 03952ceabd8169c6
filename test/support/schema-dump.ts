/**
 * The schema as Postgres holds it, written as SQL in a fixed order. pg_dump is not among the programs
 * that npm brings, and its text differs from version to version.
 *
 *     npm run schema     rewrites sql/schema.sql from a fresh migration
 *
 * What it does not know how to write it refuses, so nothing is left out in silence.
 */
import { writeFile } from 'node:fs/promises'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { SQL_FOLDER } from '../../server/records/migrate.ts'
import { startTestCluster, withDatabase } from './postgres-cluster.ts'

interface TableRow {
  oid: number
  name: string
  owner: string
  comment: string | null
}

interface ColumnRow {
  name: string
  type: string
  collation: string | null
  required: boolean
  value: string | null
  identity: string
  comment: string | null
}

interface GrantRow {
  grantee: string
  privileges: string
  columns: string | null
}

const OWNER = 'artifact_owner'

const HEADER = `-- The schema after all migrations, written by "npm run schema". Never run: a test compares it with a
-- fresh migration, so that a change of the schema shows in the diff of this file.

set role ${OWNER};
set search_path = pg_catalog;
`

/** Writes the schema `artifact`; the same schema gives the same text on every Postgres from 15 on. */
export async function dumpSchema(sql: Sql): Promise<string> {
  await refuseUnknown(sql)
  const tables = await sql<TableRow[]>`
    select oid::int, relname as name, relowner::regrole::text as owner, obj_description(oid, 'pg_class') as comment
    from pg_class where relnamespace = to_regnamespace('artifact') and relkind = 'r' order by oid`
  const functions = await dumpFunctions(sql)
  const blocks = []
  for (const table of tables) blocks.push(await dumpTable(sql, table))
  return [HEADER, await dumpSchemaGrants(sql), functions, ...blocks].join('\n')
}

async function dumpSchemaGrants(sql: Sql): Promise<string> {
  const [schema] = await sql<[{ owner: string }]>`
    select nspowner::regrole::text as owner from pg_namespace where nspname = 'artifact'`
  const grants = await sql<GrantRow[]>`
    select grantee::regrole::text as grantee, null as columns,
      string_agg(lower(privilege_type), ', ' order by privilege_type) as privileges
    from pg_namespace, aclexplode(nspacl)
    where nspname = 'artifact' and grantee <> nspowner group by grantee order by grantee::regrole::text`
  const defaults = await sql<{ words: string }[]>`
    select 'default privileges of ' || defaclrole::regrole || ', kind ' || defaclobjtype::text || ': ' || defaclacl::text as words
    from pg_default_acl order by 1`
  const lines = [
    `-- Schema artifact, owned by ${schema.owner}.`,
    ...defaults.map((row) => `-- ${row.words}`),
    ...grants.map((grant) => formatGrant(grant, 'schema artifact')),
  ]
  return `${lines.join('\n')}\n`
}

async function dumpFunctions(sql: Sql): Promise<string> {
  const rows = await sql<
    {
      definition: string
      name: string
      owner: string
      acl: string | null
      comment: string | null
    }[]
  >`
    select pg_get_functiondef(oid) as definition, oid::regprocedure::text as name, proowner::regrole::text as owner,
      proacl::text as acl, obj_description(oid, 'pg_proc') as comment
    from pg_proc where pronamespace = to_regnamespace('artifact') order by 2`
  return rows
    .map((row) =>
      [
        ...formatOwner('function', row.name, row.owner),
        `${row.definition.trim()};`,
        ...formatComment(`function ${row.name}`, row.comment),
        `-- grants: ${row.acl ?? 'execute to public'}`,
        '',
      ].join('\n'),
    )
    .join('\n')
}

async function dumpTable(sql: Sql, table: TableRow): Promise<string> {
  const name = `artifact.${table.name}`
  const columns = await readColumns(sql, table.oid)
  const constraints = await sql<{ name: string; definition: string; comment: string | null }[]>`
    select conname as name, pg_get_constraintdef(oid) as definition, obj_description(oid, 'pg_constraint') as comment
    from pg_constraint where conrelid = ${table.oid} and contype in ('p', 'u', 'f', 'c', 'x')
    order by position(contype::text in 'pufcx'), conname`
  const body = [
    ...columns.map(formatColumn),
    ...constraints.map((row) => `constraint ${row.name} ${row.definition}`),
  ]
  return [
    ...formatOwner('table', name, table.owner),
    `create table ${name} (\n  ${body.join(',\n  ')}\n);`,
    ...formatComment(`table ${name}`, table.comment),
    ...columns.flatMap((row) => formatComment(`column ${name}.${row.name}`, row.comment)),
    ...constraints.flatMap((row) =>
      formatComment(`constraint ${row.name} on ${name}`, row.comment),
    ),
    ...(await dumpIndexes(sql, table.oid)),
    ...(await dumpTriggers(sql, table.oid, name)),
    ...(await dumpGrants(sql, table.oid, name)),
    '',
  ].join('\n')
}

async function readColumns(sql: Sql, table: number): Promise<ColumnRow[]> {
  return sql<ColumnRow[]>`
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
      case when a.attcollation <> t.typcollation then quote_ident(c.collname) end as collation,
      a.attnotnull as required, pg_get_expr(d.adbin, d.adrelid) as value, a.attidentity::text as identity,
      col_description(a.attrelid, a.attnum) as comment
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    left join pg_collation c on c.oid = a.attcollation
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = ${table} and a.attnum > 0 and not a.attisdropped order by a.attnum`
}

function formatColumn(column: ColumnRow): string {
  const identity = { a: 'generated always as identity', d: 'generated by default as identity' }
  const generated = Object.entries(identity).find(([letter]) => letter === column.identity)?.[1]
  return [
    column.name,
    column.type,
    ...(column.collation === null ? [] : [`collate ${column.collation}`]),
    ...(column.required ? ['not null'] : []),
    ...(column.value === null ? [] : [`default ${column.value}`]),
    ...(generated === undefined ? [] : [generated]),
  ].join(' ')
}

async function dumpIndexes(sql: Sql, table: number): Promise<string[]> {
  const rows = await sql<{ definition: string }[]>`
    select pg_get_indexdef(indexrelid) as definition from pg_index
    where indrelid = ${table}
      and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u', 'x'))
    order by 1`
  return rows.map((row) => `${row.definition};`)
}

async function dumpTriggers(sql: Sql, table: number, name: string): Promise<string[]> {
  const rows = await sql<{ name: string; definition: string; enabled: string }[]>`
    select tgname as name, pg_get_triggerdef(oid) as definition, tgenabled::text as enabled
    from pg_trigger where tgrelid = ${table} and not tgisinternal order by tgname`
  const words = { A: 'enable always', R: 'enable replica', D: 'disable' }
  return rows.flatMap((row) => {
    const word = Object.entries(words).find(([letter]) => letter === row.enabled)?.[1]
    const mode = word === undefined ? [] : [`alter table ${name} ${word} trigger ${row.name};`]
    return [`${row.definition};`, ...mode]
  })
}

async function dumpGrants(sql: Sql, table: number, name: string): Promise<string[]> {
  const rows = await sql<GrantRow[]>`
    select case when grantee = 0 then 'public' else grantee::regrole::text end as grantee, columns,
      string_agg(lower(privilege_type) || case when is_grantable then ' with grant option' else '' end, ', '
        order by privilege_type) as privileges
    from (
      select acl.grantee, acl.privilege_type, acl.is_grantable, null as columns, relowner
      from pg_class, aclexplode(relacl) acl where oid = ${table}
      union all
      select acl.grantee, acl.privilege_type, acl.is_grantable, attname::text, relowner
      from pg_class c join pg_attribute a on a.attrelid = c.oid, aclexplode(attacl) acl where c.oid = ${table}
    ) granted where grantee <> relowner
    group by grantee, columns order by 1, columns nulls first`
  return rows.map((row) => formatGrant(row, name))
}

function formatGrant(grant: GrantRow, on: string): string {
  const columns = grant.columns === null ? '' : ` (${grant.columns})`
  return `grant ${grant.privileges}${columns} on ${on} to ${grant.grantee};`
}

function formatOwner(kind: string, name: string, owner: string): string[] {
  return owner === OWNER ? [] : [`-- the ${kind} ${name} is owned by ${owner}`]
}

function formatComment(on: string, comment: string | null): string[] {
  return comment === null ? [] : [`comment on ${on} is '${comment.replaceAll("'", "''")}';`]
}

/** Views, types, policies, rules and the like would be left out. */
async function refuseUnknown(sql: Sql): Promise<void> {
  const rows = await sql<{ thing: string }[]>`
    select relname || ' (kind ' || relkind::text || ')' as thing from pg_class c
    where relnamespace = to_regnamespace('artifact') and relkind not in ('r', 'i')
      and not (relkind = 'S' and exists (
        select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'i'))
    union all
    select typname || ' (type)' from pg_type t
    where typnamespace = to_regnamespace('artifact') and typelem = 0
      and (typrelid = 0 or exists (select from pg_class where oid = typrelid and relkind = 'c'))
    union all
    select polname || ' (policy)' from pg_policy p join pg_class c on c.oid = polrelid
    where relnamespace = to_regnamespace('artifact')
    union all
    select rulename || ' (rule)' from pg_rewrite r join pg_class c on c.oid = ev_class
    where relnamespace = to_regnamespace('artifact')
    union all
    select relname || ' (child)' from pg_inherits join pg_class c on c.oid = inhrelid
    where relnamespace = to_regnamespace('artifact')
    union all
    select stxname || ' (statistics)' from pg_statistic_ext where stxnamespace = to_regnamespace('artifact')
    order by 1`
  if (rows.length > 0)
    throw new Error(`Cannot dump the schema: ${rows.map((row) => row.thing).join(', ')} unknown`)
}

if (import.meta.main) {
  await using prepared = await startTestCluster()
  const { adminUrl, template } = prepared.cluster
  await using database = await openDatabase({ url: withDatabase(adminUrl, template) })
  await writeFile(new URL('schema.sql', SQL_FOLDER), await dumpSchema(database.sql))
}
