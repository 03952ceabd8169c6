/**
 * Real S3 for tests: a Ceph of our own, or any endpoint that the environment names:
 *
 *     ARTIFACT_TEST_S3_ENDPOINT            for example https://s3.example.org
 *     ARTIFACT_TEST_S3_BUCKET              must exist; only keys below a fresh prefix are touched
 *     ARTIFACT_TEST_S3_ACCESS_KEY_ID
 *     ARTIFACT_TEST_S3_SECRET_ACCESS_KEY
 *     ARTIFACT_TEST_S3_REGION              [us-east-1]
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { inject } from 'vitest'
import type { TestProject } from 'vitest/node'
import { z } from 'zod'
import { S3_ENDPOINT_VARIABLE } from './lanes.ts'

declare module 'vitest' {
  interface ProvidedContext {
    s3: S3Account
  }
}

/** What a test file needs to know; plain data, since it crosses from one process to another. */
export interface S3Account {
  endpoint: string
  region: string
  bucket: string
  accessKeyId: string
  secretAccessKey: string
}

export interface RunningS3 extends S3Account {
  stop(): Promise<void>
}

const Ready = z.object({
  endpoint: z.string(),
  accessKeyId: z.string(),
  secretAccessKey: z.string(),
})

/** Runs once before a lane, in the process of vitest. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { stop, ...account } = findGivenS3() ?? (await startCeph())
  project.provide('s3', account)
  return stop
}

/** The S3 of this lane. */
export function getTestS3(): S3Account {
  return inject('s3')
}

/** Starts a Ceph with an empty bucket in a process of its own, which dies with this one. */
export async function startCeph(): Promise<RunningS3> {
  const node = spawn(process.execPath, [join(import.meta.dirname, 'ceph-node.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Ctrl-C is for the tests; the node then sees its input end and cleans up.
    detached: true,
  })
  const exited = once(node, 'exit')
  const stop = async () => {
    node.stdin.end()
    await exited
  }
  try {
    const first = once(createInterface(node.stdout), 'line')
    const [line] = await Promise.race([
      first,
      exited.then(([code]) => {
        throw new Error(`Cannot start Ceph: it ended with ${code}, see above`)
      }),
    ])
    const account = {
      ...Ready.parse(JSON.parse(String(line))),
      region: 'us-east-1',
      bucket: 'artifacts',
    }
    await createBucket(account)
    return { ...account, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Makes the bucket of an account. */
export async function createBucket(account: S3Account): Promise<void> {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = account
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  })
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }))
  } finally {
    client.destroy()
  }
}

function findGivenS3(): RunningS3 | undefined {
  const endpoint = process.env[S3_ENDPOINT_VARIABLE]
  if (endpoint === undefined || endpoint === '') return undefined
  return {
    endpoint,
    region: process.env.ARTIFACT_TEST_S3_REGION ?? 'us-east-1',
    bucket: demandVariable('ARTIFACT_TEST_S3_BUCKET'),
    accessKeyId: demandVariable('ARTIFACT_TEST_S3_ACCESS_KEY_ID'),
    secretAccessKey: demandVariable('ARTIFACT_TEST_S3_SECRET_ACCESS_KEY'),
    stop: async () => undefined,
  }
}

function demandVariable(name: string): string {
  const value = process.env[name]
  if (value === undefined || value === '')
    throw new Error(`Cannot use ${S3_ENDPOINT_VARIABLE}: ${name} is not set`)
  return value
}
