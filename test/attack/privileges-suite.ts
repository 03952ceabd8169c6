/** The server refuses each single dangerous privilege, and names it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDatabase } from '../../server/records/database.ts'
import { checkPrivileges, SEALED_TABLES } from '../../server/records/privileges.ts'
import {
  type Cluster,
  createDatabase,
  createTestRole,
  type TestDatabase,
} from '../support/postgres-cluster.ts'

interface Danger {
  /** Run by a superuser; `$ROLE` stands for the runtime role, `$OTHER` for a role that may be granted to it. */
  given: string
  /** Undoes what dropping the roles does not. */
  undo?: string
  /** Named in the refusal. */
  named: string
  /** The first major version that knows it. */
  since?: number
}

/** What is granted to others is out of use until SET ROLE. */
const APART = 'alter role $ROLE noinherit; grant usage on schema artifact to $ROLE'

const onTables = ['UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'].flatMap((privilege) =>
  SEALED_TABLES.map(
    (table): Danger => ({
      given: `grant ${privilege} on artifact.${table} to $ROLE`,
      named: `${privilege} on artifact.${table}`,
    }),
  ),
)

const ofRoles: Danger[] = [
  { given: 'alter role $ROLE superuser', named: 'SUPERUSER' },
  { given: 'alter role $ROLE createrole', named: 'CREATEROLE' },
  { given: 'alter role $ROLE replication', named: 'REPLICATION' },
  { given: 'alter role $ROLE bypassrls', named: 'BYPASSRLS' },
  { given: 'grant artifact_owner to $ROLE', named: 'membership in artifact_owner' },
  {
    given: 'grant artifact_owner to $ROLE with inherit false, set true',
    named: 'membership in artifact_owner',
    since: 16,
  },
  {
    given: 'grant artifact_owner to $ROLE with inherit false, set false, admin true',
    named: 'membership in artifact_owner',
    since: 16,
  },
  {
    given: `grant artifact_owner to $OTHER; grant $OTHER to $ROLE; ${APART}`,
    named: 'membership in artifact_owner',
  },
  { given: 'alter role $OTHER superuser; grant $OTHER to $ROLE', named: 'SUPERUSER through role' },
  {
    given: 'alter role $OTHER createrole; grant $OTHER to $ROLE',
    named: 'CREATEROLE through role',
  },
  {
    given: `grant delete on artifact.run to $OTHER; grant $OTHER to $ROLE; ${APART}`,
    named: 'DELETE on artifact.run through role',
  },
  ...[
    'pg_write_all_data',
    'pg_write_server_files',
    'pg_read_server_files',
    'pg_execute_server_program',
  ].map((role) => ({ given: `grant ${role} to $ROLE`, named: `membership in ${role}` })),
  { given: 'grant pg_create_subscription to $ROLE', named: 'pg_create_subscription', since: 16 },
  { given: 'grant pg_maintain to $ROLE', named: 'membership in pg_maintain', since: 17 },
  {
    given: 'grant set on parameter session_replication_role to $ROLE',
    named: 'SET session_replication_role',
  },
  { given: 'grant alter system on parameter fsync to $ROLE', named: 'ALTER SYSTEM SET fsync' },
]

const ofObjects: Danger[] = [
  ...onTables,
  {
    given: 'grant maintain on artifact.artifact to $ROLE',
    named: 'MAINTAIN on artifact.artifact',
    since: 17,
  },
  {
    given: 'grant update (blob_key) on artifact.artifact to $ROLE',
    named: 'UPDATE (blob_key) on artifact.artifact',
  },
  {
    given: 'grant update (opened_at) on artifact.task to public',
    undo: 'revoke update (opened_at) on artifact.task from public',
    named: 'UPDATE (opened_at) on artifact.task',
  },
  {
    given: 'grant references (task) on artifact.task to $ROLE',
    named: 'REFERENCES (task) on artifact.task',
  },
  {
    given: 'grant delete on artifact.artifact to public',
    undo: 'revoke delete on artifact.artifact from public',
    named: 'DELETE on artifact.artifact',
  },
  { given: 'grant create on schema artifact to $ROLE', named: 'CREATE on schema artifact' },
  { given: 'grant create on database $DATABASE to $ROLE', named: 'CREATE on database' },
  { given: 'grant temporary on database $DATABASE to $ROLE', named: 'TEMPORARY on database' },
  {
    given: 'alter database $DATABASE owner to $ROLE',
    undo: 'alter database $DATABASE owner to $ADMIN',
    named: 'ownership of database',
  },
  {
    given: 'alter schema artifact owner to $ROLE',
    undo: 'alter schema artifact owner to artifact_owner',
    named: 'ownership of schema artifact',
  },
  {
    given: 'alter table artifact.run owner to $ROLE',
    undo: 'alter table artifact.run owner to artifact_owner',
    named: 'ownership of artifact.run',
  },
  {
    given: 'alter table artifact.event owner to $ROLE',
    undo: 'alter table artifact.event owner to artifact_owner',
    named: 'ownership of artifact.event',
  },
  {
    given: 'alter function artifact.refuse_change() owner to $ROLE',
    undo: 'alter function artifact.refuse_change() owner to artifact_owner',
    named: 'ownership of function artifact.refuse_change()',
  },
]

const ofDetours: Danger[] = [
  {
    given: `create function artifact.detour() returns void language sql security definer
      as 'delete from artifact.artifact'; alter function artifact.detour() owner to artifact_owner;
      grant execute on function artifact.detour() to $ROLE`,
    undo: 'drop function artifact.detour()',
    named: 'the SECURITY DEFINER function artifact.detour()',
  },
  {
    given: `create function public.detour() returns void language sql security definer as 'select 1'`,
    undo: 'drop function public.detour()',
    named: 'the SECURITY DEFINER function public.detour()',
  },
  {
    given:
      'create view public.detour as select * from artifact.artifact; grant delete on public.detour to $ROLE',
    undo: 'drop view public.detour',
    named: 'DELETE on the view public.detour',
  },
  {
    given:
      'create view public.detour as select * from artifact.artifact; grant update (size) on public.detour to $ROLE',
    undo: 'drop view public.detour',
    named: 'UPDATE on the view public.detour',
  },
  {
    given: `alter table artifact.run drop constraint run_task_fkey, add constraint run_task_fkey
      foreign key (task) references artifact.task on delete cascade`,
    undo: `alter table artifact.run drop constraint run_task_fkey, add constraint run_task_fkey
      foreign key (task) references artifact.task`,
    named: 'the foreign key run_task_fkey, which changes artifact.run',
  },
  {
    given: `create table public.parent (like artifact.task including constraints); alter table artifact.task inherit public.parent`,
    undo: 'alter table artifact.task no inherit public.parent; drop table public.parent',
    named: 'artifact.task being a child of public.parent',
  },
]

const ofGuards: Danger[] = [
  ...SEALED_TABLES.map((table) => ({
    given: `alter table artifact.${table} disable trigger write_once`,
    undo: `alter table artifact.${table} enable always trigger write_once`,
    named: `the missing trigger write_once of artifact.${table}`,
  })),
  {
    given: 'alter table artifact.artifact enable trigger write_once_all',
    undo: 'alter table artifact.artifact enable always trigger write_once_all',
    named: 'the missing trigger write_once_all of artifact.artifact',
  },
  {
    given: `drop trigger write_once on artifact.run; create trigger write_once before delete on artifact.run
      for each row execute function artifact.refuse_change(); alter table artifact.run enable always trigger write_once`,
    undo: `drop trigger write_once on artifact.run; create trigger write_once before update or delete on artifact.run
      for each row execute function artifact.refuse_change(); alter table artifact.run enable always trigger write_once`,
    named: 'the missing trigger write_once of artifact.run',
  },
]

export function describePrivileges(findCluster: () => Cluster): void {
  let database: TestDatabase
  let admin: string
  let version: number

  beforeAll(async () => {
    database = await createDatabase(findCluster())
    const [row] = await database.admin<[{ admin: string; version: number }]>`
      select quote_ident(current_user) as admin, current_setting('server_version_num')::int / 10000 as version`
    admin = row.admin
    version = row.version
  })
  afterAll(() => database[Symbol.asyncDispose]())

  describe('checkPrivileges()', () => {
    test('accepts the runtime role', async () => {
      await checkPrivileges(database.server)
    })

    test('accepts another login that is a member of the runtime role only', async () => {
      await using role = await createTestRole(database.admin, 'in role artifact_server')
      await using other = await openDatabase({ url: role.url(database.adminUrl) })
      await checkPrivileges(other.sql)
    })

    test('refuses a superuser who acts as the runtime role: RESET ROLE is one statement away', async () => {
      await using other = await openDatabase({ url: database.adminUrl, connectionsMax: 1 })
      await other.sql`set role artifact_server`
      await expect(checkPrivileges(other.sql)).rejects.toMatchObject({
        code: 'privileges',
        found: expect.stringMatching(/^SUPERUSER/),
      })
    })

    const dangers = [...ofRoles, ...ofObjects, ...ofDetours, ...ofGuards]
    test.for(dangers.map((danger) => [danger.named, shorten(danger.given), danger] as const))(
      'refuses %s, given by %s',
      async ([named, , { given, undo, since = 0 }], { skip }) => {
        skip(version < since, `PostgreSQL ${version} has no such privilege to refuse`)
        await using role = await createTestRole(database.admin, 'in role artifact_server')
        await using other = await createTestRole(database.admin)
        const fill = (text: string) =>
          text
            .replaceAll('$ROLE', role.name)
            .replaceAll('$OTHER', other.name)
            .replaceAll('$ADMIN', admin)
            .replaceAll('$DATABASE', new URL(database.adminUrl).pathname.slice(1))
        await using login = await openDatabase({ url: role.url(database.adminUrl) })
        await checkPrivileges(login.sql)
        await database.admin.unsafe(fill(given))
        try {
          const problem = checkPrivileges(login.sql)
          await expect(problem).rejects.toMatchObject({ code: 'privileges' })
          await expect(problem).rejects.toThrow(named)
        } finally {
          if (undo !== undefined) await database.admin.unsafe(fill(undo))
        }
        await checkPrivileges(database.server)
      },
    )
  })
}

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length <= 90 ? line : `${line.slice(0, 88)} …`
}
