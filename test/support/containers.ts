/**
 * Real parts in containers, for the lane "containers", which runs when a Docker engine answers.
 *
 *     ARTIFACT_TEST_POSTGRES_IMAGE   [postgres:17-alpine] any image with the contract of the official one
 *     ARTIFACT_TEST_S3_IMAGE         an S3 gateway on port 9000 that takes its keys from S3_KEY and
 *                                    S3_SECRET; without it the tests of S3 in a container are skipped
 *                                    by name, and fail when CI is set
 *     DOCKER_HOST                    where the engine is, if not at its usual socket
 *     TESTCONTAINERS_RYUK_DISABLED   [true] whoever starts a container here also stops it
 */
import { randomBytes } from 'node:crypto'
import { PostgreSqlContainer } from '@testcontainers/postgresql'
import { GenericContainer, Wait } from 'testcontainers'
import { createBucket, type RunningS3 } from './ceph.ts'

process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'

const S3_PORT = 9000
const START_MS = 120_000

export interface RunningPostgres extends AsyncDisposable {
  /** As superuser. */
  adminUrl: string
}

/** Starts an empty Postgres in a container. */
export async function startPostgresContainer(): Promise<RunningPostgres> {
  const image = process.env.ARTIFACT_TEST_POSTGRES_IMAGE ?? 'postgres:17-alpine'
  const container = await new PostgreSqlContainer(image)
    .withPassword(randomBytes(16).toString('hex'))
    .withStartupTimeout(START_MS)
    .start()
  return {
    adminUrl: container.getConnectionUri(),
    async [Symbol.asyncDispose]() {
      await container.stop({ timeout: 0 })
    },
  }
}

/** The image that the environment names for S3. */
export function findS3Image(): string | undefined {
  const image = process.env.ARTIFACT_TEST_S3_IMAGE
  return image === '' ? undefined : image
}

/** Starts an S3 gateway in a container, with an empty bucket. */
export async function startS3Container(image: string): Promise<RunningS3> {
  const accessKeyId = `T${randomBytes(8).toString('hex')}`
  const secretAccessKey = randomBytes(20).toString('hex')
  const container = await new GenericContainer(image)
    .withEnvironment({ S3_KEY: accessKeyId, S3_SECRET: secretAccessKey })
    .withExposedPorts(S3_PORT)
    .withWaitStrategy(Wait.forHttp('/', S3_PORT))
    .withStartupTimeout(START_MS)
    .start()
  const account = {
    endpoint: `http://${container.getHost()}:${container.getMappedPort(S3_PORT)}`,
    region: 'us-east-1',
    bucket: 'artifacts',
    accessKeyId,
    secretAccessKey,
  }
  const stop = async () => {
    await container.stop({ timeout: 0 })
  }
  try {
    await createBucket(account)
    return { ...account, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
