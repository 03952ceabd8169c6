// What a program on the AWS SDK does, run as a peer of the benchmark:
//
//     node lib-storage-peer.mjs upload|get FILE BUCKET KEY, with S3_ENDPOINT and AWS_* variables
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'

const [, , verb, file, Bucket, Key] = process.argv
const client = new S3Client({ endpoint: process.env.S3_ENDPOINT, forcePathStyle: true })
if (verb === 'upload') {
  const params = { Bucket, Key, Body: createReadStream(file, { highWaterMark: 1024 * 1024 }) }
  await new Upload({ client, params, partSize: 16 * 1024 * 1024, queueSize: 4 }).done()
} else {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
  await pipeline(Body, createWriteStream(file))
}
client.destroy()
