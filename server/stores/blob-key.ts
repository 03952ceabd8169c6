/**
 * Keys of blobs: `blobs/<last 2 of the upload id>/<upload id>`.
 *
 *     key     = "blobs" 1*4("/" segment)
 *     segment = 1*64(ALPHA / DIGIT / "_" / "-")
 *
 * Without a dot and without anything to escape, a key is a safe path, a safe URL and a safe S3 key,
 * and names beside it that hold a dot are the store's own.
 */
import { ArtifactError } from '../../schemas/problems.ts'

const KEY = /^blobs(?:\/[A-Za-z0-9_-]{1,64}){1,4}$/

/** Where the HTTP door for blobs begins; a key follows. */
const DOOR = '/v1/'

/**
 * The key of a new upload's bytes. What follows the slash after `blobs` spreads them over folders, and
 * is taken from the end of the id: at its beginning ids that clients make have the time.
 */
export function blobKeyOf(uploadId: string): string {
  return `blobs/${uploadId.slice(-2)}/${uploadId}`
}

/** Whether a text has the shape of a key; nothing is looked up. */
export function isBlobKey(text: string): boolean {
  return KEY.test(text)
}

/** The segments of a key. Throws `internal` for anything else: keys come from the record alone. */
export function splitBlobKey(key: string): string[] {
  if (!isBlobKey(key))
    throw new ArtifactError('internal', 'Cannot use blob key: it is not one', {
      expected: 'blobs/<two digits>/<upload id>',
      found: key.slice(0, 100),
    })
  return key.split('/')
}

/** The path of a blob on this server, for example `/v1/blobs/0a/019b…0a`. */
export function formatBlobPath(key: string): string {
  return `${DOOR}${splitBlobKey(key).join('/')}`
}

/** The inverse of {@link formatBlobPath}; `undefined` for any other path. */
export function parseBlobPath(path: string): string | undefined {
  const key = path.startsWith(DOOR) ? path.slice(DOOR.length) : ''
  return isBlobKey(key) ? key : undefined
}
