/** What an operator, or somebody who broke in, does to a bucket by hand. */
import {
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import type { S3Account } from './ceph.ts'

export interface Bucket extends Disposable {
  readonly client: S3Client
  /** Keys of objects below the prefix. */
  listKeys(): Promise<string[]>
  /** Keys of multipart uploads that are under way below the prefix. */
  listUploads(): Promise<string[]>
  read(key: string): Promise<Uint8Array>
  write(key: string, bytes: Uint8Array): Promise<void>
  remove(key: string): Promise<void>
  setPolicy(policy: string | undefined): Promise<void>
}

export function openBucket(account: S3Account, prefix: string): Bucket {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = account
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  const place = { Bucket: bucket }
  const below = { ...place, Prefix: `${prefix}/` }
  return {
    client,
    async listKeys() {
      const { Contents } = await client.send(new ListObjectsV2Command(below))
      return (Contents ?? []).flatMap(({ Key }) => Key ?? [])
    },
    async listUploads() {
      const { Uploads } = await client.send(new ListMultipartUploadsCommand(below))
      return (Uploads ?? []).flatMap(({ Key }) => Key ?? [])
    },
    async read(key) {
      const { Body } = await client.send(new GetObjectCommand({ ...place, Key: key }))
      if (Body === undefined) throw new Error(`${key} has no body`)
      return Body.transformToByteArray()
    },
    async write(key, bytes) {
      await client.send(new PutObjectCommand({ ...place, Key: key, Body: bytes }))
    },
    async remove(key) {
      await client.send(new DeleteObjectCommand({ ...place, Key: key }))
    },
    async setPolicy(policy) {
      await (policy === undefined
        ? client.send(new DeleteBucketPolicyCommand(place))
        : client.send(new PutBucketPolicyCommand({ ...place, Policy: policy })))
    },
    [Symbol.dispose]: () => client.destroy(),
  }
}
