/** Addresses of a database for servers that run as processes. */
import { inject } from 'vitest'
import { createBareDatabase } from './database.ts'
import { withDatabase } from './postgres-cluster.ts'

export interface RealDatabase extends AsyncDisposable {
  /** As artifact_server. */
  databaseUrl: string
  /** As superuser. */
  migrationUrl: string
  /** As artifact_signer. */
  signerUrl: string
}

/** An empty database of the lane's cluster, where the roles are and no table is. */
export async function createRealDatabase(): Promise<RealDatabase> {
  const database = await createBareDatabase()
  const { adminUrl, serverPassword, signerPassword } = inject('postgres')
  const at = (role: string, password: string) =>
    withDatabase(adminUrl, database.name, role, password)
  return {
    databaseUrl: at('artifact_server', serverPassword),
    signerUrl: at('artifact_signer', signerPassword),
    migrationUrl: database.adminUrl,
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}
