/** The thread that hashes open files. */
import { readSync } from 'node:fs'
import { serveHashJobs } from './hash-jobs.ts'

/** A file is read when what was read before is hashed: two at a time take a tenth less, and twice the processors. */
const READ_BYTES = 1024 ** 2

/** A file that is open, and stays so until its digest is known. */
export interface FileToHash {
  fd: number
  /** So much of it, or less when it ends before. */
  sizeBytes: number
}

// For all files: one is read at a time, and hashed before the next one is.
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)

serveHashJobs(readFile)

function* readFile({ fd, sizeBytes }: FileToHash): Generator<Uint8Array, undefined> {
  for (let at = 0; at < sizeBytes; ) {
    const read = readSync(fd, buffer, 0, Math.min(buffer.length, sizeBytes - at), at)
    if (read === 0) return
    yield buffer.subarray(0, read)
    at += read
  }
}
