/** The suites that make up the promise, once more on a Postgres that somebody else made. */
import { afterAll, beforeAll } from 'vitest'
import { describeAttacks } from '../attack/attack-suite.ts'
import { describePrivileges } from '../attack/privileges-suite.ts'
import { startPostgresContainer } from '../support/containers.ts'
import { type Cluster, type PreparedCluster, prepareCluster } from '../support/postgres-cluster.ts'
import { describeMigrations } from './migrations-suite.ts'

const opened = new AsyncDisposableStack()
let prepared: PreparedCluster | undefined

beforeAll(async () => {
  const container = opened.use(await startPostgresContainer())
  prepared = opened.use(await prepareCluster(container.adminUrl))
}, 180_000)
afterAll(() => opened.disposeAsync())

const findCluster = (): Cluster => {
  if (prepared === undefined) throw new Error('The container has not started')
  return prepared.cluster
}

describeMigrations(findCluster)
describePrivileges(findCluster)
describeAttacks(findCluster)
