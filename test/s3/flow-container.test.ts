/** The whole way over Postgres and S3 in containers, with the roles made as the README tells. */
import { randomBytes } from 'node:crypto'
import { it } from 'vitest'
import { openDatabase } from '../../server/records/database.ts'
import { openCli } from '../support/cli.ts'
import { findS3Image, startPostgresContainer, startS3Container } from '../support/containers.ts'
import { withDatabase } from '../support/postgres-cluster.ts'
import type { RealParts } from '../support/s3-site.ts'
import { describeFlow } from './flow.ts'

const image = findS3Image()

if (image === undefined) {
  it('goes the whole way over Postgres and S3 in containers', (context) => {
    const reason = 'ARTIFACT_TEST_S3_IMAGE is not set'
    if ((process.env.CI ?? '') !== '') throw new Error(`Cannot run: ${reason}`)
    context.skip(reason)
  })
} else {
  describeFlow('over Postgres and S3 in containers', async () => {
    await using stack = new AsyncDisposableStack()
    const { adminUrl } = stack.use(await startPostgresContainer())
    const { stop, ...s3 } = await startS3Container(image)
    stack.defer(stop)
    const addresses = await makeRoles(adminUrl)
    const held = stack.move()
    return { s3, ...addresses, [Symbol.asyncDispose]: () => held.disposeAsync() }
  })
}

/** What an administrator does once; returns the addresses that a server is started with. */
async function makeRoles(adminUrl: string): Promise<Omit<RealParts, 's3'>> {
  await using cli = await openCli()
  const { stdout } = await cli.run(['serve', '--print-roles-sql'])
  await using admin = await openDatabase({ url: adminUrl, connectionsMax: 1 })
  const password = randomBytes(16).toString('hex')
  await admin.sql.unsafe(`${stdout}; alter role artifact_server password '${password}'`)
  await admin.sql.unsafe(`alter role artifact_signer password '${password}'`)
  const database = new URL(adminUrl).pathname.slice(1)
  return {
    databaseUrl: withDatabase(adminUrl, database, 'artifact_server', password),
    signerUrl: withDatabase(adminUrl, database, 'artifact_signer', password),
    migrationUrl: adminUrl,
  }
}
