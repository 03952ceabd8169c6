/**
 * A Postgres cluster for tests, with a migrated template from which every test file gets a database of
 * its own in a few milliseconds.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { startEmbeddedPostgres } from '../../server/records/embedded-postgres.ts'
import { prepareDatabase } from '../../server/records/roles.ts'

/** What a test file needs to know; plain data, since it crosses from one process to another. */
export interface Cluster {
  /** As superuser. */
  adminUrl: string
  /** Migrated, and connected to by nobody. */
  template: string
  serverPassword: string
  signerPassword: string
  readerPassword: string
}

export interface PreparedCluster extends AsyncDisposable {
  cluster: Cluster
}

export interface TestDatabase extends AsyncDisposable {
  /** As superuser. */
  admin: Sql
  /** As artifact_server, the role that the server runs as. */
  server: Sql
  /** As artifact_signer. */
  signerUrl: string
  /** As artifact_reader. */
  reader: Sql
  adminUrl: string
  serverUrl: string
  readerUrl: string
}

export interface EmptyDatabase extends AsyncDisposable {
  /** As superuser. */
  admin: Sql
  adminUrl: string
  name: string
}

/** Starts the embedded Postgres in a temporary folder. */
export async function startTestCluster(): Promise<PreparedCluster> {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'artifact-postgres-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  await chmod(folder, 0o700)
  const embedded = opened.use(await startEmbeddedPostgres({ folder: join(folder, 'postgres') }))
  const { cluster } = opened.use(await prepareCluster(embedded.adminUrl))
  const owned = opened.move()
  return { cluster, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/**
 * Makes roles and template in a cluster that runs already. The passwords of artifact_server and
 * artifact_reader are set anew, so it must not be one in use.
 */
export async function prepareCluster(adminUrl: string): Promise<PreparedCluster> {
  const template = `artifact_template_${randomUUID().slice(0, 8)}`
  const serverPassword = randomBytes(16).toString('base64url')
  const signerPassword = randomBytes(16).toString('base64url')
  const readerPassword = randomBytes(16).toString('base64url')
  await using maintenance = await openDatabase({ url: adminUrl, connectionsMax: 1 })
  await maintenance.sql`create database ${maintenance.sql(template)}`
  {
    await using database = await openDatabase({ url: withDatabase(adminUrl, template) })
    await prepareDatabase(database.sql, { serverPassword, signerPassword, readerPassword })
  }
  return {
    cluster: { adminUrl, template, serverPassword, signerPassword, readerPassword },
    [Symbol.asyncDispose]: () => dropDatabase(adminUrl, template),
  }
}

/** A fresh migrated database. Disposing of it drops it, whoever is connected. */
export async function createDatabase(cluster: Cluster): Promise<TestDatabase> {
  await using opened = new AsyncDisposableStack()
  const { admin, adminUrl, name } = opened.use(
    await createEmptyDatabase(cluster.adminUrl, cluster.template),
  )
  // Privileges on the database itself do not come with the template.
  await prepareDatabase(admin)
  const serverUrl = withDatabase(cluster.adminUrl, name, 'artifact_server', cluster.serverPassword)
  const signerUrl = withDatabase(cluster.adminUrl, name, 'artifact_signer', cluster.signerPassword)
  const readerUrl = withDatabase(cluster.adminUrl, name, 'artifact_reader', cluster.readerPassword)
  const { sql: server } = opened.use(await openDatabase({ url: serverUrl }))
  const { sql: reader } = opened.use(await openDatabase({ url: readerUrl, connectionsMax: 2 }))
  const owned = opened.move()
  return {
    admin,
    server,
    reader,
    adminUrl,
    serverUrl,
    signerUrl,
    readerUrl,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** A fresh database from a template; without one an empty database as Postgres makes it. */
export async function createEmptyDatabase(
  clusterAdminUrl: string,
  template = 'template1',
): Promise<EmptyDatabase> {
  await using opened = new AsyncDisposableStack()
  const name = `test_${randomUUID().replaceAll('-', '')}`
  {
    await using maintenance = await openDatabase({ url: clusterAdminUrl, connectionsMax: 1 })
    const { sql } = maintenance
    await sql`create database ${sql(name)} template ${sql(template)}`
  }
  opened.defer(() => dropDatabase(clusterAdminUrl, name))
  const adminUrl = withDatabase(clusterAdminUrl, name)
  const { sql: admin } = opened.use(await openDatabase({ url: adminUrl, connectionsMax: 4 }))
  const owned = opened.move()
  return { admin, adminUrl, name, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** A role of the cluster that lives for one test; disposing of it drops it with all its grants. */
export interface TestRole extends AsyncDisposable {
  name: string
  url(adminUrl: string): string
}

/** `admin` is a superuser in the database in which the role is granted things. */
export async function createTestRole(admin: Sql, attributes = ''): Promise<TestRole> {
  const name = `test_role_${randomUUID().replaceAll('-', '')}`
  const password = randomBytes(16).toString('base64url')
  await admin.unsafe(`create role ${name} login ${attributes} password '${password}'`)
  return {
    name,
    url: (adminUrl) => withDatabase(adminUrl, new URL(adminUrl).pathname.slice(1), name, password),
    async [Symbol.asyncDispose]() {
      const [row] = await admin<[{ admin: string }]>`select current_user as admin`
      await admin.unsafe(`reassign owned by ${name} to ${row.admin}; drop owned by ${name}`)
      await admin.unsafe(`drop role ${name}`)
    },
  }
}

/** The same server, another database, and perhaps another role. */
export function withDatabase(
  url: string,
  database: string,
  user?: string,
  password?: string,
): string {
  const changed = new URL(url)
  changed.pathname = `/${database}`
  if (user !== undefined) changed.username = user
  if (password !== undefined) changed.password = password
  return changed.href
}

async function dropDatabase(clusterAdminUrl: string, name: string): Promise<void> {
  await using maintenance = await openDatabase({ url: clusterAdminUrl, connectionsMax: 1 })
  const { sql } = maintenance
  await sql`drop database if exists ${sql(name)} with (force)`
}
