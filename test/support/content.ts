/** Bytes for tests that look random, are the same for the same seed, and take no time to make. */
import { createCipheriv, createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'

export const MIB = 1024 ** 2

export function makeBytes(sizeBytes: number, seed = 'seed'): Buffer {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16)
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes))
}

/** Writes such bytes; returns them. */
export async function writeBytes(path: string, sizeBytes: number, seed?: string): Promise<Buffer> {
  const bytes = makeBytes(sizeBytes, seed)
  await writeFile(path, bytes)
  return bytes
}

export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: MIB })) hash.update(chunk)
  return hash.digest('hex')
}
