/** Rows to attack: sealed ones, and mutable ones that belong to them. */
import type { Sql } from '../../server/records/database.ts'

/** One artifact of three parts with everything around it, as the runtime role writes it. */
export async function seedRecord(server: Sql): Promise<void> {
  await server.begin(async (tx) => {
    await tx`insert into artifact.task (task) values ('turtle-db'), ('idle')`
    await tx`insert into artifact.run (task, run, request_id) values ('turtle-db', 0, gen_random_uuid()), ('turtle-db', 1, null)`
    await tx`
      insert into artifact.token (id, name, secret_sha256, scopes)
      values ('00000000-0000-4000-8000-000000000001', 'worker', sha256('secret'), '{upload:**/**}')`
    await tx`
      insert into artifact.upload (id, task, run, name, size, sha256, part_size, content_type, labels, policy,
        state, blob_key, store_session, token_id, token_name, expires_at)
      values ('00000000-0000-4000-8000-000000000002', 'turtle-db', 0, 'db.dump', 20000000, sha256('whole'), 8388608,
        'application/octet-stream', '{"k": "v"}', 'reread', 'sealed', 'blobs/00/upload', 's',
        '00000000-0000-4000-8000-000000000001', 'worker', now() + interval '1 day')`
    await tx`
      insert into artifact.upload_part (upload_id, number, size, sha256)
      select '00000000-0000-4000-8000-000000000002', n, 8388608, sha256(n::text::bytea) from generate_series(1, 3) n`
    await tx`
      insert into artifact.event (kind, task, run, name, upload_id, body)
      values ('upload', 'turtle-db', 0, 'db.dump', '00000000-0000-4000-8000-000000000002', '{}')`
    await tx`
      insert into artifact.artifact (task, run, name, sha256, size, part_size, part_sha256s, content_type, labels,
        policy, store, blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name)
      values ('turtle-db', 0, 'db.dump', sha256('whole'), 20000000, 8388608,
        sha256('1') || sha256('2') || sha256('3'), 'application/octet-stream', '{"k": "v"}', 'reread', 'filesystem',
        'blobs/00/upload', '"tag"', '00000000-0000-4000-8000-000000000002', now(),
        '00000000-0000-4000-8000-000000000001', 'worker')`
    await tx`
      insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
      values (0, 'seal', 'turtle-db', 0, 'db.dump', 'leaf', sha256('\\x00'::bytea || 'leaf'::bytea))`
    await tx`insert into artifact.log_node (level, idx, hash) values (1, 0, sha256('node'))`
    await tx`
      insert into artifact.log_tree (size, prev_size, root, frontier, last_idx)
      values (1, 0, sha256('root'), sha256('root'), 0)`
    await tx`
      insert into artifact.verification (task, run, name, at, outcome, bytes, seconds, server)
      values ('turtle-db', 0, 'db.dump', now(), 'agreed', 20000000, 1,
        '00000000-0000-4000-8000-000000000003')`
  })
}

/** A signed head and its key, as the signer writes them. */
export async function seedHead(signer: Sql): Promise<void> {
  await signer`insert into artifact.log_key (origin, vkey) values ('example.com/log', 'key')`
  await signer`
    insert into artifact.log_checkpoint (origin, size, note) values ('example.com/log', 1, 'note')`
}

/** What must not change: every row, and its place and transaction, so that a rewrite with equal values shows too. */
export async function readSealedRows(admin: Sql): Promise<unknown> {
  const rows = await admin<{ found: string }[]>`
    select 'task ' || ctid::text || xmin::text || t::text as found from artifact.task t
    union all select 'run ' || ctid::text || xmin::text || r::text from artifact.run r
    union all select 'artifact ' || ctid::text || xmin::text || a::text from artifact.artifact a
    union all select 'leaf ' || ctid::text || xmin::text || l::text from artifact.log_leaf l
    union all select 'node ' || ctid::text || xmin::text || n::text from artifact.log_node n
    union all select 'tree ' || ctid::text || xmin::text || t::text from artifact.log_tree t
    union all select 'head ' || ctid::text || xmin::text || c::text from artifact.log_checkpoint c
    union all select 'key ' || ctid::text || xmin::text || k::text from artifact.log_key k
    union all select 'verification ' || ctid::text || xmin::text || v::text from artifact.verification v
    union all select 'migration ' || ctid::text || xmin::text || m::text from artifact.migration m
    union all select 'token ' || ctid::text || xmin::text || t::text from artifact.token t
    order by 1`
  return rows.map((row) => row.found)
}

/** Roles and their powers, which live outside of the schema. */
export async function readRoles(admin: Sql): Promise<unknown> {
  const rows = await admin<{ found: string }[]>`
    select a::text as found from (
      select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls
      from pg_roles where rolname like 'artifact%') a
    union all select m.roleid::regrole || ' <- ' || m.member::regrole from pg_auth_members m
      join pg_roles r on r.oid = m.member where r.rolname like 'artifact%'
    union all select s::text from pg_db_role_setting s
    union all select datacl::text from pg_database where datname = current_database()
    union all select nspname || ' ' || nspacl::text from pg_namespace where nspacl is not null
    union all select 'parameter ' || p::text from pg_parameter_acl p
    union all select 'trigger ' || tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text from pg_trigger
      where tgrelid::regclass::text like 'artifact.%'
    order by 1`
  return rows.map((row) => row.found)
}
