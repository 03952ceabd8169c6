/** Ids of uploads, chosen here so that a request that is repeated opens the same upload. */
import { randomBytes } from 'node:crypto'

/**
 * A new id: a UUID of version 7 (RFC 9562, section 5.7), the time in milliseconds before 74 random
 * bits. Records are found by it, and by the key of the bytes that is made of it: ids in order of time
 * let the database add to the end of these indexes, where random ones would touch pages all over them.
 */
export function newUploadId(milliseconds = Date.now()): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(milliseconds, 0, 6)
  bytes.writeUInt8(0x70 | (bytes.readUInt8(6) & 0x0f), 6)
  bytes.writeUInt8(0x80 | (bytes.readUInt8(8) & 0x3f), 8)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
