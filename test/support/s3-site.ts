/** A server as it runs for real: on a Postgres that an administrator prepared, and a bucket. */
import { randomUUID } from 'node:crypto'
import { type Bucket, openBucket } from './bucket.ts'
import type { S3Account } from './ceph.ts'
import { type Gate, openGate } from './gate.ts'
import { openSite, type Site } from './serve-process.ts'

export interface RealParts {
  s3: S3Account
  /** As artifact_server. */
  databaseUrl: string
  /** As somebody who may become artifact_owner. */
  migrationUrl: string
  /** As artifact_signer, for the server that signs the log; one of all does. */
  signerUrl?: string | undefined
}

export interface S3Site extends AsyncDisposable {
  readonly site: Site
  readonly bucket: Bucket
  /** Of the store itself, past the gate. */
  readonly endpoint: string
  readonly prefix: string
  /** Between everybody and the bucket, for tests that act in the middle. */
  readonly gate: Gate
}

/** Prepares a site whose servers reach the bucket through a gate, below a fresh prefix. */
export async function openS3Site(
  parts: RealParts,
  settings: Record<string, string> = {},
  prefix = `e2e/${randomUUID()}`,
): Promise<S3Site> {
  const { s3, databaseUrl, migrationUrl, signerUrl } = parts
  await using stack = new AsyncDisposableStack()
  const { hostname, port } = new URL(s3.endpoint)
  const gate = stack.use(await openGate(Number(port), hostname))
  const bucket = stack.use(openBucket(s3, prefix))
  const site = stack.use(
    await openSite({
      settings: {
        store: `s3://${s3.bucket}/${prefix}`,
        's3-endpoint': gate.url,
        's3-region': s3.region,
        ...settings,
      },
      env: {
        ARTIFACT_DATABASE_URL: databaseUrl,
        ARTIFACT_MIGRATION_URL: migrationUrl,
        ...(signerUrl === undefined ? {} : { ARTIFACT_SIGNER_URL: signerUrl }),
        AWS_ACCESS_KEY_ID: s3.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
      },
    }),
  )
  const held = stack.move()
  const { endpoint } = s3
  return { site, bucket, endpoint, prefix, gate, [Symbol.asyncDispose]: () => held.disposeAsync() }
}
